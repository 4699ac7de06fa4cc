// What is told of one photograph, and the map on it.

import * as ask from "./ask.js";
import { chip, dot, made, referral } from "./table.js";

const SVG = "http://www.w3.org/2000/svg";
const drawn = (tag, attributes, text = "") => {
  const found = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.textContent = text;
  return found;
};
const percent = (share) => `${(100 * share).toFixed((share > 0 && share < 0.095) || (share > 0.905 && share < 1) ? 1 : 0)} %`;
let opacity = 60;

export function show(place, row, model, point) {
  const parts = [head(row, model, point), warnings(row), map(row), numbers(row, model, point)];
  place.replaceChildren(...parts.filter(Boolean));
}

function head(row, model, point) {
  const at = referral(row, point);
  const grade = made("p", { class: "large" }, dot(row.grade, model.grades), row.name);
  const told = made("div", { class: "told" }, grade, at ? chip(row, at.refer) : null);
  const why = [];
  if (at) why.push(`Severity ${row.severity.toFixed(2)}, ${at.refer ? "at or above" : "below"} the threshold ${at.threshold.toFixed(2)} for ${at.condition} disease.`);
  if (row.set) why.push(setText(row, model));
  if (row.folds) why.push(foldsText(row));
  return made("div", { class: "head" },
    made("h3", { id: "details-title", class: "file", text: `${row.file} · ${row.width} × ${row.height} pixels` }),
    told, ...why.map((text) => made("p", { class: "why", text })));
}

function setText(row, model) {
  const names = row.set.map((k) => model.grades[k]).join(", ");
  const level = `${Number((100 * model.confidence_level).toFixed(3))} %`;
  return row.defer
    ? `Undecided: the set of grades is ${names}, made to hold the true grade ${level} of the time. Let a human grade it.`
    : `The set of grades is ${names} alone, made to hold the true grade ${level} of the time.`;
}

function foldsText(row) {
  const { grades, agreeing, severities } = row.folds;
  const low = Math.min(...severities).toFixed(2);
  const high = Math.max(...severities).toFixed(2);
  return `${agreeing} of ${grades.length} folds say this grade; their severities go from ${low} to ${high}.`;
}

function warnings(row) {
  if (!row.warnings.length) return null;
  return made("ul", { class: "warned" }, ...row.warnings.map((warning) => made("li", { text: warning.text })));
}

function map(row) {
  const stage = made("div", { class: "stage" }, made("p", { text: "Looking where the model looks …" }));
  const slider = made("input", { type: "range", id: "opacity", min: "0", max: "100", value: String(opacity) });
  const output = made("output", { for: "opacity" });
  const slide = made("div", { class: "slide", hidden: "" }, made("label", { for: "opacity", text: "Map" }), slider, output);
  const caption = made("figcaption");
  const figure = made("figure", { class: "look" }, stage, slide, caption);
  const set = () => {
    opacity = Number(slider.value);
    output.textContent = `${opacity} %`;
    slider.setAttribute("aria-valuetext", `${opacity} % of the map's colour`);
    const over = stage.querySelector(".over");
    if (over) over.style.opacity = opacity / 100;
  };
  slider.addEventListener("input", set);
  row.map ??= ask.explain(row.source);
  row.map.then((found) => {
    stage.replaceChildren(
      made("img", { src: found.photograph, alt: `The photograph ${row.file}` }),
      made("img", { src: found.overlay, class: "over", alt: `Map of the ${found.of}: what raises it is orange, what lowers it blue` }),
    );
    slide.hidden = false;
    const key = (name) => made("span", { class: `key ${name}`, "aria-hidden": "true" });
    caption.replaceChildren(
      key("raises"), ` raises the ${found.of} by ${found.raised.toFixed(2)}, `, key("lowers"),
      ` lowers it by ${Math.abs(found.lowered).toFixed(2)}, from ${found.bias.toFixed(2)} to ${found.value.toFixed(2)} (${found.method}). What the model uses, not where disease is.`,
    );
    set();
  }).catch((error) => {
    row.map = null;
    const problem = error.problem ?? { title: "There is no map", detail: String(error), advice: "" };
    stage.replaceChildren(made("p", { text: `${problem.title}. ${problem.detail} ${problem.advice}` }));
  });
  return figure;
}

function numbers(row, model, point) {
  const parts = [];
  if (row.severity !== null) {
    parts.push(made("div", {}, made("h4", { class: "sub", text: "Severity" }), axis(row, model, referral(row, point))));
  }
  if (row.probabilities) {
    const most = row.probabilities.indexOf(Math.max(...row.probabilities));
    const bars = row.probabilities.map((share, k) => {
      const fill = made("span", { class: "fill" });
      fill.style.width = `${100 * share}%`;
      return made("li", { class: k === row.grade ? "most" : null },
        made("span", { text: model.grades[k] }), made("span", { class: "track", "aria-hidden": "true" }, fill),
        made("span", { class: "percent", text: percent(share) }));
    });
    parts.push(made("div", {}, made("h4", { class: "sub", text: "Probabilities" }), made("ul", { class: "bars" }, ...bars),
      most === row.grade ? null : made("p", { class: "why", text: `The grade is where the severity lies, though ${model.grades[most]} is more probable.` })));
  }
  return made("div", { class: "numbers" }, ...parts);
}

// the server has this number where a grade begins below every severity, and null where it never does
const LOWEST = -1e6;
const beginning = (cut) => {
  if (cut === null) return "no severity";
  return cut <= LOWEST ? "the lowest severity" : cut.toFixed(2);
};

// Bands of grades between the cutpoints, folds as ticks, and the photograph as a dot.
function axis(row, model, at) {
  const last = model.grades.length - 1;
  const low = Math.min(-0.5, row.severity - 0.2);
  const high = Math.max(last + 0.5, row.severity + 0.2);
  const width = 520;
  const x = (value) => ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * width;
  const words = `Severity ${row.severity.toFixed(2)} on a scale from 0 to ${last}`;
  const cut = model.cutpoints ? `; grades begin at ${model.cutpoints.map((c) => beginning(c)).join(", ")}` : "";
  const picture = drawn("svg", { class: "axis", viewBox: `0 0 ${width} 96`, role: "img", "aria-label": words + cut });
  if (model.cutpoints) {
    let start = low;
    for (let k = 0; k <= last; k += 1) {
      let end = high;
      for (const later of model.cutpoints.slice(k)) if (later !== null) { end = later; break; }
      if (k > 0 && model.cutpoints[k - 1] === null) continue;
      const band = drawn("rect", { class: "band", x: x(start), y: 30, width: Math.max(0, x(end) - x(start)), height: 22, rx: 3 });
      band.style.fill = `var(--grade${Math.round((4 * k) / Math.max(1, last))})`;
      picture.append(band);
      if (x(end) - x(start) > 16) {
        const name = drawn("text", { x: (x(start) + x(end)) / 2, y: 71 }, String(k));
        picture.append(name);
      }
      start = end;
    }
  } else {
    picture.append(drawn("rect", { class: "band plain", x: 0, y: 36, width, height: 10, rx: 5, fill: "var(--line)" }));
    for (let k = 0; k <= last; k += 1) picture.append(drawn("text", { x: x(k), y: 68 }, String(k)));
  }
  for (const severity of row.folds?.severities ?? []) {
    picture.append(drawn("line", { class: "fold", x1: x(severity), x2: x(severity), y1: 26, y2: 56 }));
  }
  if (at) {
    picture.append(drawn("line", { class: "point", x1: x(at.threshold), x2: x(at.threshold), y1: 22, y2: 76 }));
    picture.append(inside(drawn("text", { class: "point-name", y: 92 }, `refer from ${at.threshold.toFixed(2)}`), x(at.threshold), width));
  }
  picture.append(drawn("circle", { class: "here", cx: x(row.severity), cy: 41, r: 8 }));
  picture.append(inside(drawn("text", { class: "value", y: 17 }, row.severity.toFixed(2)), x(row.severity), width));
  return picture;
}

function inside(text, at, width) {
  text.setAttribute("x", at);
  if (at > width - 55) text.style.textAnchor = "end";
  else if (at < 55) text.style.textAnchor = "start";
  return text;
}
