"use strict";
// Whatever a model wrote comes in as JSON and goes out as textContent: nothing here makes markup of text.
const { problems, traces, total } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const shown = { rows: [], at: 0, step: 0, beside: -1 };
const decisions = new Map(); // trace id -> array with true (accepted), false (flagged) or null for each step
const CHOICES = { run: "u", verdict: "v", origin: "o", round: "r" };
const TOGGLES = ["mistaken", "disagree", "leak", "decided"];

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// What each source says of a step: above one half is right. Scores are one more source.
const sources = (trace) => [...Object.entries(trace.L), ...Object.entries(trace.S)];
function disagreement(trace) {
  let steps = 0;
  for (let step = 0; step < trace.s.length; step++) {
    const said = sources(trace).map(([, values]) => values[step]).filter((value) => value !== null && value !== undefined);
    if (said.some((value) => value >= 0.5) && said.some((value) => value < 0.5)) steps++;
  }
  return steps;
}
for (const trace of traces) {
  const scores = Object.values(trace.S).flat();
  trace.low = scores.length ? Math.min(...scores) : null;
  trace.odd = disagreement(trace);
  trace.mistakes = Object.values(trace.W ?? {}).flat().sort((a, b) => a - b);
  trace.missed = trace.mistakes.filter((at) => trace.T[at] === 0);
}
const haystack = (trace) => (trace.hay ??= [problems[trace.p].t, problems[trace.p].g, trace.x, trace.id, ...trace.s].join("\n").toLowerCase());

function fillChoices() {
  for (const [id, key] of Object.entries(CHOICES)) {
    const counts = new Map();
    for (const trace of traces) counts.set(trace[key], (counts.get(trace[key]) || 0) + 1);
    const values = [...counts.keys()].sort((a, b) => (a < b ? -1 : 1));
    for (const value of values) {
      const option = make("option", "", `${value} (${counts.get(value)})`);
      option.value = String(value);
      $(id).append(option);
    }
    if (id === "run" && values.length < 2) $("runs").hidden = true;
  }
}

function matches(trace) {
  for (const [id, key] of Object.entries(CHOICES)) if ($(id).value && String(trace[key]) !== $(id).value) return false;
  const below = parseFloat($("below").value);
  if (!Number.isNaN(below) && !(trace.low !== null && trace.low < below)) return false;
  if ($("disagree").checked && !trace.odd) return false;
  if ($("leak").checked && !trace.l.length) return false;
  if ($("decided").checked && !decisions.has(trace.id)) return false;
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => haystack(trace).includes(word));
}

const ORDERS = {
  problem: null,
  score: (a, b) => (a.low ?? 2) - (b.low ?? 2),
  disagree: (a, b) => b.odd - a.odd,
  // A wrong step that goes through does more harm than a right one that is doubted.
  mistaken: (a, b) => b.missed.length - a.missed.length || b.mistakes.length - a.mistakes.length,
};

function filter() {
  const found = traces.filter(matches);
  const kept = $("mistaken").checked ? distinct(found.filter((trace) => trace.mistakes.length)) : found;
  const order = ORDERS[$("order").value];
  shown.rows = order ? kept.sort(order) : kept;
  const list = document.createDocumentFragment();
  shown.rows.forEach((trace, at) => list.append(row(trace, at)));
  $("list").replaceChildren(list);
  $("list").scrollTop = 0;
  const left = total > traces.length ? ` of ${total} in the records` : "";
  $("count").textContent = `${shown.rows.length} of ${traces.length} traces${left}${judgement(found)}`;
  select(0);
}

// One trace of those that say the same of the same problem: they are one mistake, however often it was drawn.
function distinct(rows) {
  const groups = new Map();
  for (const trace of rows) {
    const key = JSON.stringify([trace.u, trace.p, trace.s]);
    groups.set(key, [...(groups.get(key) ?? []), trace]);
  }
  return [...groups.values()].map((group) => Object.assign(group[0], { times: group.length }));
}

// How often each scorer is wrong, over the steps whose labels are sure: of what the other filters leave.
function judgement(rows) {
  const scorers = new Map();
  for (const trace of rows) {
    for (const [name, wrong] of Object.entries(trace.W ?? {})) {
      const found = scorers.get(name) ?? { missed: 0, doubted: 0, wrong: 0, right: 0 };
      scorers.set(name, found);
      for (const value of trace.T) if (value !== null) found[value ? "right" : "wrong"]++;
      for (const step of wrong) found[trace.T[step] ? "doubted" : "missed"]++;
    }
  }
  return [...scorers].map(([name, found]) => ` · ${name} misses ${found.missed} of ${found.wrong} wrong steps and doubts ${found.doubted} of ${found.right} right ones`).join("");
}

function row(trace, at) {
  const element = make("div", "row");
  element.setAttribute("role", "option");
  element.dataset.at = at;
  const first = make("div", "line");
  first.append(make("span", trace.v, trace.v.replace("_", " ")));
  for (const [does, steps] of [["misses", trace.missed], ["doubts", trace.mistakes.filter((at) => trace.T[at])]]) {
    if (steps.length) first.append(make("span", "odd", ` · PRM ${does} ${steps.map((at) => at + 1).join(", ")}`));
  }
  if ($("mistaken").checked && trace.times > 1) first.append(` · ${trace.times} times`);
  first.append(` · ${trace.o} · round ${trace.r}`);
  if (trace.low !== null) first.append(` · low ${trace.low.toFixed(2)}`);
  if (trace.odd) first.append(make("span", "odd", ` · ${trace.odd} disagree`));
  if (trace.l.length) first.append(make("span", "odd", " · leak"));
  if (decisions.has(trace.id)) first.append(make("span", "decided", " · decided"));
  element.append(first, make("div", "line soft", problems[trace.p].t));
  return element;
}

function select(at) {
  const rows = $("list").children;
  rows[shown.at]?.setAttribute("aria-selected", "false");
  Object.assign(shown, { at: Math.max(0, Math.min(at, shown.rows.length - 1)), step: 0, beside: -1 });
  if ($("mistaken").checked) shown.step = shown.rows[shown.at]?.missed[0] ?? shown.rows[shown.at]?.mistakes[0] ?? 0;
  rows[shown.at]?.setAttribute("aria-selected", "true");
  rows[shown.at]?.scrollIntoView({ block: "nearest" });
  draw();
}

const others = (trace) => traces.filter((other) => other.p === trace.p && other !== trace);

function draw() {
  const detail = $("detail");
  const trace = shown.rows[shown.at];
  if (!trace) return detail.replaceChildren(make("p", "soft", "No trace fits the filters."));
  const problem = problems[trace.p];
  const rest = others(trace);
  const sides = make("div", "sides");
  sides.append(side(trace, true));
  if (shown.beside >= 0) sides.append(side(rest[shown.beside], false));
  const bar = make("label", "others");
  bar.hidden = !rest.length;
  const picker = make("select", "");
  picker.append(new Option(`none of ${rest.length}`, -1));
  rest.forEach((other, place) => picker.append(new Option(`${other.u} · ${other.o} · ${other.v.replace("_", " ")} · round ${other.r}`, place)));
  picker.value = shown.beside;
  picker.id = "beside";
  picker.addEventListener("change", () => beside(Number(picker.value)));
  bar.append("beside, of the same problem:", picker);
  const about = [`gold ${problem.g}`, problem.s, problem.d && `difficulty ${problem.d}`].filter(Boolean).join(" · ");
  detail.replaceChildren(make("p", "prompt", problem.t), make("p", "soft", about), bar, sides);
}

function beside(place) {
  shown.beside = place;
  draw();
}

function side(trace, main) {
  const element = make("section", "side");
  const head = make("p", "");
  head.append(make("b", trace.v, trace.v.replace("_", " ")), `, answer ${trace.x || "none"}`);
  const facts = [trace.e && `decided by ${trace.e}`, trace.k && `selection: ${trace.k.replace("_", " ")}`, trace.l.length && `leak tests: ${trace.l.join(", ")}`,
    `${trace.n} tokens by ${trace.m}, round ${trace.r}`, `finished by ${trace.f}`, trace.u, trace.id].filter(Boolean).join(" · ");
  element.append(head, make("p", "soft", facts));
  trace.s.forEach((_, place) => element.append(step(trace, place, main)));
  return element;
}

function step(trace, place, main) {
  const element = make("div", main && place === shown.step ? "step current" : "step");
  const score = Object.values(trace.S).map((values) => values[place]).find((value) => value !== undefined);
  const label = Object.values(trace.L).map((values) => values[place]).find((value) => value !== null);
  const tone = score ?? label;
  if (tone !== undefined) element.style.setProperty("--tone", `hsl(${Math.round(120 * tone)} 65% 45%)`);
  element.append(make("div", "text", trace.s[place].replace(/\n+$/, "")));
  const chips = make("div", "chips");
  chips.append(make("span", "soft", `step ${place + 1}`));
  for (const [name, values] of Object.entries(trace.L)) chips.append(chip(name.replace("_", " "), values[place], values[place] === 1 ? "right" : values[place] === 0 ? "wrong" : ""));
  for (const [name, values] of Object.entries(trace.S)) chips.append(chip(name, values[place], "", trace.B?.[name]));
  for (const [name, wrong] of Object.entries(trace.W ?? {})) if (wrong.includes(place)) chips.append(make("span", "chip odd", `${name} ${trace.T[place] ? "doubts a right step" : "misses a wrong step"}${trace.B[name] === undefined ? "" : `, its line is ${trace.B[name].toFixed(2)}`}`));
  const said = decisions.get(trace.id)?.[place] ?? null;
  if (said !== null) chips.append(make("span", `chip decided ${said ? "right" : "wrong"}`, said ? "you: accepted" : "you: flagged"));
  if (main) {
    for (const [name, value] of [["accept", true], ["flag", false]]) {
      const button = make("button", "", name);
      button.addEventListener("click", (event) => { event.stopPropagation(); shown.step = place; decide(value); });
      chips.append(button);
    }
    element.addEventListener("click", () => { shown.step = place; draw(); });
  }
  element.append(chips);
  return element;
}

function chip(name, value, word, line = 0.5) {
  const none = value === null || value === undefined;
  const text = none ? `${name} –` : `${name} ${word || value.toFixed(2)}`;
  return make("span", `chip ${none ? "soft" : value >= line ? "right" : "wrong"}`, text);
}

const KEPT = "stepstar audit " + (traces.length ? traces[0].id + traces.length : "");
function decide(value, all = false) {
  const trace = shown.rows[shown.at];
  // A step of white space alone can be no label.
  if (!trace || trace.s.some((text) => !text.trim())) return;
  const said = decisions.get(trace.id) || trace.s.map(() => null);
  said.forEach((_, place) => { if (all || place === shown.step) said[place] = value; });
  if (said.every((one) => one === null)) decisions.delete(trace.id);
  else decisions.set(trace.id, said);
  keep();
  const old = $("list").children[shown.at];
  const fresh = row(trace, shown.at);
  fresh.setAttribute("aria-selected", "true");
  old.replaceWith(fresh);
  if (!all && value !== null && shown.step < trace.s.length - 1) shown.step++;
  draw();
}

function keep() {
  $("download").disabled = !decisions.size;
  $("download").textContent = decisions.size ? `download decisions (${decisions.size})` : "download decisions";
  try { localStorage.setItem(KEPT, JSON.stringify([...decisions])); } catch { /* Some browsers give files no storage. */ }
}

function restore() {
  try {
    for (const [id, said] of JSON.parse(localStorage.getItem(KEPT) || "[]")) decisions.set(id, said);
  } catch { /* As above. */ }
  keep();
}

// One line a trace, in the form of `stepstar` label files.
function labelLines() {
  return traces.filter((trace) => decisions.has(trace.id)).map((trace) => {
    const said = decisions.get(trace.id);
    const problem = problems[trace.p];
    return JSON.stringify({
      problem: problem.t, steps: trace.s, values: said.map((one) => (one === null ? null : Number(one))),
      ratings: said.map((one) => (one === null ? null : one ? 1 : -1)), source: "human", dataset: "audit",
      row_id: trace.id, generator: trace.m, gold: problem.g,
      outcome: trace.v === "correct" ? true : trace.v === "incorrect" ? false : null,
    }) + "\n";
  });
}

function download() {
  if (!decisions.size) return;
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob(labelLines(), { type: "application/jsonl" }));
  link.download = "audit.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const KEYS = {
  j: () => select(shown.at + 1), ArrowDown: () => select(shown.at + 1), k: () => select(shown.at - 1), ArrowUp: () => select(shown.at - 1),
  n: () => move(1), ArrowRight: () => move(1), p: () => move(-1), ArrowLeft: () => move(-1),
  a: () => decide(true), f: () => decide(false), u: () => decide(null), A: () => decide(true, true), d: download,
  b: () => { const count = others(shown.rows[shown.at] ?? {}).length; beside(shown.beside + 1 < count ? shown.beside + 1 : -1); },
  "/": () => $("search").focus(),
};

function move(by) {
  const trace = shown.rows[shown.at];
  if (!trace) return;
  shown.step = Math.max(0, Math.min(shown.step + by, trace.s.length - 1));
  draw();
  document.querySelector(".step.current")?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // The report's link to a filter puts the focus on its box, which takes no letters.
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});
$("list").addEventListener("click", (event) => { const found = event.target.closest(".row"); if (found) select(Number(found.dataset.at)); });
for (const id of [...Object.keys(CHOICES), ...TOGGLES, "below", "order"]) $(id).addEventListener("change", filter);
for (const id of ["search", "below"]) $(id).addEventListener("input", filter);
$("download").addEventListener("click", download);
$("reset").addEventListener("click", () => {
  for (const id of [...Object.keys(CHOICES), "search", "below"]) $(id).value = "";
  for (const id of TOGGLES) $(id).checked = false;
  $("order").selectedIndex = 0;
  filter();
});
fillChoices();
restore();
// `audit.html#mistaken` opens with that filter set: the report links to it.
for (const id of TOGGLES) if (location.hash === `#${id}`) $(id).checked = true;
if ($("mistaken").checked) $("order").value = "mistaken";
$("mistakes").hidden = !traces.some((trace) => trace.W);
filter();
