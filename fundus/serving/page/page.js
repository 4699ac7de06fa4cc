// The page: files come in, grades go into the table, one photograph's details beside it.

import * as ask from "./ask.js";
import * as details from "./details.js";
import { Table, made } from "./table.js";

const at = (id) => document.getElementById(id);
const AT_ONCE = 4;
const table = new Table(at("head"), at("rows"), choose);
const waiting = [];
const order = new WeakMap();
let model = null;
let working = 0;
let done = 0;
let asked = 0;
let sent = 0;
// what was asked before a Clear is dropped when it comes
let round = new AbortController();

function tell(text) { at("status").textContent = text; }

async function begin() {
  try {
    model = await ask.model();
  } catch (error) {
    if (error.problem?.status === 401) {
      at("token").hidden = false;
      at("model").textContent = "";
      at("token-text").focus();
      return false;
    }
    const problem = problemOf(error);
    at("model").textContent = `${problem.title}. ${problem.advice}`;
    failed = problem;
    return false;
  }
  at("token").hidden = true;
  const parts = [`${model.grades.length} grades`];
  if (model.folds) parts.push(`${model.folds} folds`);
  parts.push(`${model.image_size} pixels`, `fundus-zoo ${model.fundus}`);
  at("model").textContent = `${model.name} · ${parts.join(" · ")}`;
  const size = Math.floor(model.limits.max_bytes / 2 ** 20) || (model.limits.max_bytes / 2 ** 20).toFixed(2);
  const pixels = Math.round(model.limits.max_pixels / 1e6);
  at("limits").textContent = `JPEG, PNG, TIFF, WebP, BMP, DICOM, up to ${size} MiB and ${pixels} megapixels. They stay in this server's memory and are forgotten when they are graded.`;
  at("point-line").hidden = !model.operating_points.length;
  at("point").replaceChildren(...model.operating_points.map((point, k) => made("option", {
    value: String(k),
    text: `${point.condition}, ${point.wanted} ${point.goal.toFixed(2)} (from ${point.threshold.toFixed(2)}; out of fold sensitivity ${point.sensitivity.toFixed(2)}, specificity ${point.specificity.toFixed(2)})`,
  })));
  table.begin(model);
  return true;
}

let failed = null;
let ready = begin();

at("token").addEventListener("submit", async (event) => {
  event.preventDefault();
  ask.setToken(at("token-text").value);
  failed = null;
  if (await begin()) at("files").focus();
  else at("token-told").textContent = failed ? `${failed.title}. ${failed.advice}` : "That is not the token of this server.";
});

async function take(files) {
  if (!files.length) return;
  if (!model && !(await ready) && at("token").hidden) ready = begin(); // it may be there by now
  if (!model && !(await ready)) {
    tell("The server has not answered yet, so nothing was sent.");
    return;
  }
  for (const file of files) {
    asked += 1;
    order.set(file, sent += 1);
    if (file.size > model.limits.max_bytes) {
      refuse(file.name, {
        title: "The file is too large",
        detail: `It has ${(file.size / 2 ** 20).toFixed(1)} MiB; ${(model.limits.max_bytes / 2 ** 20).toFixed(1)} MiB may be sent.`,
        advice: "Save it as JPEG, or smaller.",
      });
    } else waiting.push(file);
  }
  progress();
  while (working < AT_ONCE && waiting.length) work();
}

async function work() {
  working += 1;
  for (let file = waiting.shift(); file; file = waiting.shift()) {
    const mine = round;
    try {
      await readable(file);
      const found = await ask.grade(file, mine.signal);
      if (mine !== round) continue;
      const row = { ...found, order: order.get(file), source: file, thumb: thumbnail(file) };
      at("results").hidden = false;
      at("main").classList.remove("empty");
      table.add(row);
      if (!table.chosen) choose(row, { quietly: true });
      done += 1;
    } catch (error) {
      if (mine !== round) continue;
      refuse(file.name, problemOf(error));
    }
    progress();
  }
  working -= 1;
}

const problemOf = (error) => error.problem ?? { title: "The page could not show it", detail: String(error), advice: "" };

// a folder, for example, which browsers let one drop as if it were a file
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new ask.Refused({
      title: "The file cannot be read", detail: "It is a folder, or it was moved or changed since it was chosen.",
      advice: "Choose the photographs in it.",
    });
  }
}

function refuse(name, problem) {
  done += 1;
  at("problems").hidden = false;
  at("problem-list").append(made("li", {},
    made("strong", { text: `${name}: ${problem.title}` }),
    made("p", { text: problem.detail }), made("p", { text: problem.advice })));
  progress();
}

function progress() {
  const over = done >= asked;
  at("progress").hidden = over;
  at("progress").max = Math.max(1, asked);
  at("progress").value = done;
  const bad = at("problem-list").children.length;
  const graded = `${table.rows.length} graded`;
  tell(over ? (asked ? `${graded}${bad ? `, ${bad} not graded` : ""}.` : "") : `${done} of ${asked} photographs …`);
}

function choose(row, { quietly = false } = {}) {
  table.chosen = row;
  table.show();
  details.show(at("details"), row, model, table.place);
  if (quietly) return;
  tell(`Details of ${row.file}: ${row.name}.`);
  if (matchMedia("(max-width: 64rem)").matches) {
    at("details").scrollIntoView({ block: "start" });
    at("details").focus({ preventScroll: true });
  }
}

// a small picture, so that many large photographs do not fill the memory
function thumbnail(file) {
  const canvas = made("canvas", { class: "thumb", width: "92", height: "92", "aria-hidden": "true" });
  createImageBitmap(file, { resizeWidth: 138, resizeQuality: "medium" }).then((bitmap) => {
    const side = Math.min(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 92, 92);
    bitmap.close();
  }).catch(() => { /* a kind of file that this browser does not show; the map shows it */ });
  return canvas;
}

at("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" || !event.relatedTarget) at("drop").classList.remove("over");
  });
}
document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
document.addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])]));

at("point").addEventListener("change", (event) => {
  table.place = Number(event.target.value);
  table.show();
  if (table.chosen) details.show(at("details"), table.chosen, model, table.place);
});

at("download").addEventListener("click", () => {
  const link = made("a", { download: "grades.csv", href: URL.createObjectURL(new Blob(["\ufeff", table.csv()], { type: "text/csv;charset=utf-8" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

at("clear").addEventListener("click", () => {
  round.abort();
  round = new AbortController();
  waiting.length = 0;
  table.rows = [];
  table.chosen = null;
  table.show();
  at("details").replaceChildren();
  at("problem-list").replaceChildren();
  at("problems").hidden = true;
  at("results").hidden = true;
  at("main").classList.add("empty");
  asked = 0;
  done = 0;
  progress();
  at("files").focus();
});
