// The table of grades: its rows, their order, and the same as CSV.

export const made = (tag, attributes = {}, ...children) => {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") found.textContent = value;
    else if (value !== null && value !== false) found.setAttribute(name, value);
  }
  found.append(...children.filter((child) => child !== null));
  return found;
};

export const dot = (grade, grades) => {
  const found = made("span", { class: "dot", "aria-hidden": "true" });
  const step = grades.length > 1 ? Math.round((4 * grade) / (grades.length - 1)) : 0;
  found.style.background = `var(--grade${step})`;
  return found;
};

export const referral = (row, place) => row.referrals[place] ?? null;
const refers = (row, place) => referral(row, place)?.refer ?? null;

// what a column shows, how it sorts, and whether narrow screens leave it out
const COLUMNS = [
  { name: "Photograph", key: (row) => row.file.toLowerCase() },
  { name: "Grade", key: (row) => row.grade },
  { name: "Severity", key: (row) => row.severity ?? -Infinity, number: true, wide: true },
  { name: "Refer", key: (row, place) => Number(refers(row, place) ?? -1), needs: "referrals" },
  { name: "Set", key: (row) => row.set?.length ?? 0, needs: "set", wide: true },
  { name: "Folds", key: (row) => row.folds?.agreeing ?? 0, needs: "folds", wide: true, number: true },
  { name: "Picture", key: (row) => row.warnings.length, wide: true },
];

export class Table {
  constructor(head, body, choose) {
    this.head = head;
    this.body = body;
    this.choose = choose;
    this.rows = [];
    this.sorted = { column: null, down: false };
    this.place = 0;
    this.chosen = null;
  }

  begin(model) {
    this.model = model;
    const has = { referrals: model.operating_points.length, set: model.confidence_level, folds: model.folds };
    this.columns = COLUMNS.filter((column) => !column.needs || has[column.needs]);
    this.head.replaceChildren(...this.columns.map((column) => {
      const button = made("button", { type: "button" }, column.name, made("span", { "aria-hidden": "true" }));
      button.addEventListener("click", () => this.sort(column));
      return made("th", { scope: "col", class: css(column) }, button);
    }));
  }

  sort(column) {
    const again = this.sorted.column === column;
    this.sorted = { column, down: again && !this.sorted.down };
    this.show();
  }

  add(row) {
    this.rows.push(row);
    this.show();
  }

  ordered() {
    const { column, down } = this.sorted;
    if (!column) return [...this.rows].sort((a, b) => a.order - b.order);
    const keyed = this.rows.map((row) => [column.key(row, this.place), row]);
    const by = ([a], [b]) => (a < b ? -1 : a > b ? 1 : 0);
    keyed.sort((a, b) => (down ? by(b, a) : by(a, b)));
    return keyed.map(([, row]) => row);
  }

  show() {
    this.columns.forEach((column, place) => {
      const cell = this.head.children[place];
      const sorted = this.sorted.column === column;
      if (sorted) cell.setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.querySelector("span").textContent = sorted ? (this.sorted.down ? "↓" : "↑") : "";
    });
    const focused = document.activeElement?.closest?.("tr")?.row;
    this.body.replaceChildren(...this.ordered().map((row) => this.line(row)));
    const again = [...this.body.children].find((line) => line.row === focused);
    again?.querySelector("button").focus({ preventScroll: true });
  }

  line(row) {
    const chosen = row === this.chosen;
    const button = made("button", { type: "button", "aria-pressed": String(chosen) }, row.thumb, made("span", { class: "name", text: row.file, title: row.file }));
    const line = made("tr", { class: chosen ? "chosen" : null }, made("th", { scope: "row" }, button));
    line.row = row;
    for (const column of this.columns.slice(1)) line.append(made("td", { class: css(column) }, this.cell(column, row)));
    line.addEventListener("click", () => this.choose(row));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
      if (!step) return;
      event.preventDefault();
      line[step]?.querySelector("button").focus();
    });
    return line;
  }

  cell(column, row) {
    if (column.name === "Grade") return made("span", { class: "grade" }, dot(row.grade, this.model.grades), row.name);
    if (column.name === "Severity") return row.severity === null ? "–" : row.severity.toFixed(2);
    if (column.name === "Refer") return chip(row, refers(row, this.place), "no");
    if (column.name === "Set") return row.set.length > 1 ? `${row.set[0]}–${row.set.at(-1)}` : String(row.set[0]);
    if (column.name === "Folds") return row.folds ? `${row.folds.agreeing} of ${row.folds.grades.length}` : "–";
    const issues = row.warnings.map((warning) => warning.issue.replaceAll("_", " "));
    return issues.length ? made("span", { class: "chip warn", text: issues.join(", ") }) : "good";
  }

  csv() {
    const model = this.model;
    const header = ["file", "grade", "name", "severity", ...model.grades.map((_, k) => `probability_${k}`)];
    const point = model.operating_points[this.place];
    if (point) header.push("referred", "threshold", "referred_for");
    if (model.confidence_level) header.push("grades_set", "defer");
    if (model.folds) header.push("folds_agreeing", "folds");
    header.push("warnings", "notice");
    const lines = this.ordered().map((row) => {
      const at = referral(row, this.place);
      const cells = [row.file, row.grade, row.name, row.severity, ...(row.probabilities ?? model.grades.map(() => ""))];
      if (point) cells.push(at?.refer ?? "", at?.threshold ?? "", `${point.condition}, ${point.wanted} ${point.goal.toFixed(2)}`);
      if (model.confidence_level) cells.push(row.set?.join(";") ?? "", row.defer ?? "");
      if (model.folds) cells.push(row.folds?.agreeing ?? "", row.folds?.grades.length ?? "");
      return [...cells, row.warnings.map((warning) => warning.issue).join(";"), row.notice];
    });
    return [header, ...lines].map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
  }
}

const css = (column) => [column.wide && "wide", column.number && "number"].filter(Boolean).join(" ") || null;

// whether to refer; where the picture or the model is in doubt, "no" does not look reassuring
export const chip = (row, refer, not = "do not refer") => {
  if (refer === null) return "–";
  const doubt = row.defer ? "undecided" : row.warnings.length ? "poor picture" : "";
  if (refer || !doubt) return made("span", { class: `chip ${refer ? "refer" : "not"}`, text: refer ? "refer" : not });
  return made("span", { class: "chip warn", text: `${not}: ${doubt}` });
};

function quoted(value) {
  let text = String(value ?? "");
  // what spreadsheets would run as a formula
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
