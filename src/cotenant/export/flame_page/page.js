// What the reader does, and what it changes: one state, shown anew after each step.

const data = JSON.parse(document.getElementById("profile").textContent);
const at = (id) => document.getElementById(id);
const state = {
  tenant: -1, zoom: 0, flame: false, byLine: false, before: false, wanted: "", kind: -1, chosen: -1,
  selected: -1, hovered: -1, past: [],
};
const graph = new Graph(at("graph"), at("scroll"), at("tall"));
const table = new Top(at("top"), at("heads"), (entity) => {
  state.chosen = state.chosen === entity ? -1 : entity;
  state.kind = -1;
  show();
});
const entities = new Map(), trees = new Map();
let tree;

function treeNow() {
  const lines = state.byLine;
  if (!entities.has(lines)) entities.set(lines, entitiesOf(data, lines));
  const key = `${state.tenant} ${lines}`;
  if (!trees.has(key)) {
    if (trees.size > 6) trees.clear(); // a tree of a large profile is some 50 MB
    trees.set(key, grow(data, entities.get(lines), state.tenant));
  }
  return trees.get(key);
}

const weightNow = () => (state.before ? tree.was : tree.total);
const change = (node) => tree.total[node] / (tree.total[0] || 1) - tree.was[node] / (tree.was[0] || 1);

// --- what is marked: a search, one function, or a kind of code

function markedNow() {
  const { list } = tree.entities;
  if (state.chosen >= 0) return { marked: list.map((_, i) => i === state.chosen), names: 1 };
  if (state.wanted) return search(tree.entities, state.wanted);
  if (state.kind >= 0) return { marked: list.map((one) => one.kind === state.kind), names: 0 };
  return { marked: null, names: 0 };
}

function showMatched(found) {
  if (!found) return replaceIn("matched", element("span", "bad", "Not a valid pattern."));
  if (!found.marked) return replaceIn("matched");
  const weight = weightNow(), sum = weightOf(tree, state.zoom, found.marked, weight);
  const inside = [element("b", "", percent(weight[state.zoom] ? sum / weight[state.zoom] : 0)), ` ${amount(sum, data.unit)}`];
  if (data.base) {
    const other = state.before ? tree.total : tree.was;
    const before = weightOf(tree, state.zoom, found.marked, other);
    inside.push(` (${state.before ? "now" : "before"} ${percent(other[state.zoom] ? before / other[state.zoom] : 0)})`);
  }
  if (state.wanted && state.chosen < 0) inside.push(` in ${found.names.toLocaleString("en")} ${found.names === 1 ? "name" : "names"}`);
  replaceIn("matched", ...inside);
}

// --- showing

function show() {
  tree = treeNow();
  const found = markedNow();
  const marked = found && found.marked;
  const weight = weightNow();
  graph.show({
    tree, zoom: state.zoom, weight, flame: state.flame, marked, selected: state.selected, hovered: state.hovered,
    diff: Boolean(data.base), change,
  });
  const sums = tally(tree, state.zoom);
  const dark = graph.dark.matches;
  table.show({
    entities: tree.entities, sums, whole: tree.total[state.zoom], before: data.base ? tree.was[state.zoom] : null,
    unit: data.unit, marked: state.chosen < 0 ? marked : null, chosen: state.chosen,
    colour: (one) => hueOf(KINDS[one.kind], one.module || one.file || one.name, dark),
  });
  showMatched(found);
  showLegend(sums);
  showWay();
  for (const tab of at("tabs").children) {
    const own = Number(tab.dataset.tenant) === state.tenant;
    tab.setAttribute("aria-selected", String(own));
    tab.tabIndex = own ? 0 : -1;
  }
  at("graph").setAttribute("aria-label", `Flame graph of ${tree.entities.list[tree.entity[state.zoom]].name}, ${amount(tree.total[state.zoom], data.unit)}`);
}

function showLegend(sums) {
  const own = new Float64Array(KINDS.length), dark = graph.dark.matches;
  tree.entities.list.forEach((one, i) => { own[one.kind] += sums.own[i]; });
  const all = tree.total[state.zoom] || 1;
  const parts = KINDS.slice(0, PROCESS).map((kind, i) => {
    const dot = element("span", "dot");
    dot.style.background = hueOf(kind, kind, dark);
    const button = element("button", "", dot, `${kind} ${percent(own[i] / all)}`);
    button.type = "button";
    button.hidden = !own[i] && state.kind !== i;
    button.setAttribute("aria-pressed", String(state.kind === i));
    button.addEventListener("click", () => { state.kind = state.kind === i ? -1 : i; state.chosen = -1; setSearch(""); });
    return button;
  });
  if (data.base) {
    for (const [sign, word] of [[1, "more"], [-1, "less"]]) {
      const dot = element("span", "dot");
      dot.style.background = changeColour(sign * 0.06, dark);
      parts.unshift(element("span", "", dot, `${word} than before`));
    }
  }
  replaceIn("legend", ...parts);
}

function showWay() {
  const path = ancestors(tree, state.zoom);
  const few = path.length > 6 ? [...path.slice(0, 2), -1, ...path.slice(-3)] : path;
  replaceIn("crumbs", ...few.map((node) => {
    if (node < 0) return element("li", "", "…");
    const name = tree.entities.list[tree.entity[node]].name || "(no name)";
    const button = element("button", "", isolated(name));
    button.type = "button"; button.title = name;
    button.addEventListener("click", () => zoom(node));
    return element("li", "", button);
  }));
  at("back").disabled = !state.past.length;
}

function tipOf(node) {
  const one = tree.entities.list[tree.entity[node]];
  const rows = [["", "total", "self"]];
  const root = tree.total[0] || 1, zoomed = tree.total[state.zoom] || 1;
  rows.push([data.base ? "now" : "", amount(tree.total[node], data.unit), amount(tree.own[node], data.unit)]);
  rows.push([`of ${tree.entities.list[tree.entity[0]].name}`, percent(tree.total[node] / root), percent(tree.own[node] / root)]);
  if (state.zoom) rows.push(["of what is zoomed", percent(tree.total[node] / zoomed), percent(tree.own[node] / zoomed)]);
  if (data.base) {
    const was = tree.was[0] || 1;
    rows.push(["before", amount(tree.was[node], data.base.unit), amount(tree.before[node], data.base.unit)]);
    rows.push(["of all before", percent(tree.was[node] / was), percent(tree.before[node] / was)]);
    rows.push(["change, in points", points(change(node)), points(tree.own[node] / root - tree.before[node] / was)]);
  }
  const head = element("div", "name", one.name || "(no name)");
  const where = element("div", "where", `${KINDS[one.kind]}${whereOf(one) ? " · " : ""}`, isolated(whereOf(one)), ` · ${whole(tree.count[node])} samples`);
  const lines = element("table", "", ...rows.map((row) => element("tr", "", ...row.map((cell) => element("td", "", isolated(cell))))));
  return [head, where, lines];
}

function showTip(node, x, y) {
  const tip = at("tip");
  tip.hidden = node < 0;
  if (node < 0) return;
  tip.replaceChildren(...tipOf(node));
  const left = x + 14 + tip.offsetWidth > innerWidth ? Math.max(4, x - tip.offsetWidth - 10) : x + 14;
  const top = y + 16 + tip.offsetHeight > innerHeight ? Math.max(4, y - tip.offsetHeight - 10) : y + 16;
  tip.style.left = `${left}px`;
  tip.style.top = `${top}px`;
}

// --- steps

function remember() {
  const { tenant, zoom: node, byLine, flame } = state;
  state.past.push({ tenant, zoom: node, byLine, flame });
  if (state.past.length > 200) state.past.shift();
}

function go(changes) {
  Object.assign(state, { selected: -1, hovered: -1, chosen: changes.byLine === undefined || changes.byLine === state.byLine ? state.chosen : -1 }, changes);
  showTip(-1);
  show();
}

function zoom(node) {
  if (node < 0 || node === state.zoom) return;
  remember();
  go({ zoom: node, selected: node });
  if (!state.flame) at("scroll").scrollTop = 0;
  graph.reveal(node);
}

function back() {
  const last = state.past.pop();
  if (last) { go(last); showChoices(); }
}

function tab(tenant) {
  if (tenant === state.tenant) return;
  remember();
  go({ tenant, zoom: 0 });
}

let typing = 0;
function setSearch(text) {
  at("search").value = text;
  clearTimeout(typing);
  state.wanted = text;
  show();
}

function select(node) {
  if (node < 0) return;
  state.selected = node;
  graph.view.selected = node;
  graph.reveal(node);
  const box = graph.boxOf(node), edge = at("scroll").getBoundingClientRect();
  if (box) showTip(node, edge.left + box.x + Math.min(box.w, 260) / 2, edge.top + graph.top(tree.depth[node]) - at("scroll").scrollTop + ROW);
  const one = tree.entities.list[tree.entity[node]];
  at("told").textContent = `${one.name}, ${KINDS[one.kind]}, ${percent(tree.total[node] / (tree.total[0] || 1))}, self ${percent(tree.own[node] / (tree.total[0] || 1))}`;
}

function walk(key) {
  const from = state.selected >= 0 && graph.boxOf(state.selected) ? state.selected : state.zoom;
  if (state.selected < 0) return select(from);
  if (key === "ArrowLeft" || key === "ArrowRight") return select(graph.beside(from, key === "ArrowLeft" ? -1 : 1));
  const inward = (key === "ArrowDown") !== state.flame;
  if (!inward) return select(tree.parent[from]);
  const child = childrenOf(tree, from, weightNow())[0];
  if (child !== undefined && graph.boxOf(child)) select(child);
}

function escape() {
  if (!at("tip").hidden && state.selected < 0) showTip(-1);
  if (state.wanted || state.chosen >= 0 || state.kind >= 0) {
    state.chosen = state.kind = -1;
    setSearch("");
    at("search").blur();
  } else if (state.zoom) zoom(tree.parent[state.zoom]);
  else if (document.activeElement === at("search")) at("search").blur();
  else { state.selected = -1; showTip(-1); show(); }
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = event.target === at("search");
  if (event.key === "Escape") { event.preventDefault(); return escape(); }
  if (writing && event.key === "Enter") { clearTimeout(typing); setSearch(at("search").value); at("graph").focus(); return; }
  if (writing) return;
  const tabs = event.target.closest?.("#tabs");
  if (tabs && /^Arrow(Left|Right)$/.test(event.key)) {
    const next = tabs.querySelector('[aria-selected="true"]')[event.key === "ArrowLeft" ? "previousSibling" : "nextSibling"];
    if (next) { tab(Number(next.dataset.tenant)); next.focus(); }
  } else if (event.target.closest?.("button") && event.key === "Enter") return;
  else if (event.key === "/") at("search").focus(), at("search").select();
  else if (event.key === "Backspace") back();
  else if (event.key === "i") choose("flame", !state.flame);
  else if (event.key.startsWith("Arrow")) walk(event.key);
  else if (event.key === "Enter") zoom(state.selected);
  else if (/^[1-9]$/.test(event.key)) { const one = at("tabs").children[event.key - 1]; if (one) tab(Number(one.dataset.tenant)); } else return;
  event.preventDefault();
}

// --- set-up

const CHOICES = {
  direction: ["flame", [[false, "Icicle", "Callers above"], [true, "Flame", "Callers below"]]],
  detail: ["byLine", [[false, "Functions", "One box per function"], [true, "Lines", "One box per line that ran"]]],
  widths: ["before", [[false, "Now", "Widths from this profile"], [true, "Before", "Widths from the profile compared with: shows what is gone"]]],
};

function choose(name, value) {
  if (state[name] === value) return;
  if (name === "byLine") { remember(); go({ byLine: value, zoom: 0 }); } else go({ [name]: value, selected: state.selected });
  showChoices();
}

function showChoices() {
  for (const [id, [name, choices]] of Object.entries(CHOICES)) {
    replaceIn(id, ...choices.map(([value, word, title]) => {
      const button = element("button", "", word);
      button.type = "button"; button.title = title;
      button.setAttribute("aria-pressed", String(state[name] === value));
      button.addEventListener("click", () => choose(name, value));
      return button;
    }));
  }
  at("widths").hidden = !data.base;
}

function time(seconds, until) {
  const options = { dateStyle: "medium", timeStyle: "medium" };
  const [from, to] = [new Date(seconds * 1000), new Date(until * 1000)];
  return new Intl.DateTimeFormat("en-GB", options).formatRange(from, to);
}

function length(seconds) { return seconds < 120 ? `${Number(seconds.toFixed(1))} s` : `${(seconds / 60).toFixed(1)} min`; }

function showHead() {
  const spans = (parts) => parts.filter(Boolean).map((part) => element("span", "", part));
  const about = (one) => [
    one.from && time(one.from, one.until), one.until > one.from && length(one.until - one.from),
    `${whole(one.samples)} samples`, `${amount(one.weight, one.unit)} in all`,
  ];
  const facts = spans(about(data));
  if (data.host) facts.unshift(element("span", "", element("b", "", isolated(data.host))));
  if (data.period && data.unit === "nanoseconds" && data.type === "cpu") facts.push(element("span", "", `${Math.round(1e9 / data.period)} Hz`));
  if (data.base) facts.push(element("span", "", element("b", "", "before: "), about(data.base).filter(Boolean).join(", ")));
  replaceIn("facts", ...facts);
  const quality = [];
  const complete = data.ends.find(([end]) => end === "complete");
  if (data.samples) quality.push(element("span", "", "unwound fully ", element("b", "", percent((complete ? complete[1] : 0) / data.samples))));
  const cut = data.ends.filter(([end]) => end !== "complete");
  if (cut.length) quality.push(element("span", "", `cut: ${cut.slice(0, 6).map(([end, n]) => `${end} ${percent(n / data.samples)}`).join(", ")}`));
  for (const [name, number, title] of data.lost) {
    const part = element("span", name === "idle" || name === "kthreads" ? "" : "bad", `${name} ${whole(number)}`);
    part.title = title;
    quality.push(part);
  }
  replaceIn("quality", ...quality);
  replaceIn("notes", ...data.notes.map((note) => element("li", "", isolated(note))));
}

function showTabs() {
  const weights = new Float64Array(data.tenants.length);
  for (let i = 0; i < data.rows.length;) {
    const who = data.rows[i], end = i + 4 + data.rows[i + 3];
    weights[who] += data.rows[end + 1];
    i = end + 2;
  }
  const all = weights.reduce((a, b) => a + b, 0) || 1;
  const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a] || a - b);
  const made = (tenant, name, share) => {
    const button = element("button", "", isolated(name), element("small", "", share));
    button.type = "button"; button.title = name;
    button.setAttribute("role", "tab");
    button.dataset.tenant = tenant;
    button.addEventListener("click", () => tab(tenant));
    return button;
  };
  const tabs = order.map((i) => made(i, data.strings[data.tenants[i]], percent(weights[i] / all)));
  if (order.length === 1) state.tenant = order[0];
  else tabs.unshift(made(-1, "All", `${order.length} tenants`));
  replaceIn("tabs", ...tabs);
}

showHead();
showTabs();
showChoices();
show();
at("graph").addEventListener("mousemove", (event) => {
  const node = graph.at(event);
  if (node !== state.hovered) { state.hovered = graph.view.hovered = node; graph.draw(); }
  at("graph").style.cursor = node < 0 ? "default" : "pointer";
  showTip(node, event.clientX, event.clientY);
});
at("graph").addEventListener("mouseleave", () => { state.hovered = graph.view.hovered = -1; showTip(-1); graph.draw(); });
at("graph").addEventListener("click", (event) => zoom(graph.at(event)));
at("search").addEventListener("input", () => {
  clearTimeout(typing);
  state.chosen = state.kind = -1;
  typing = setTimeout(() => setSearch(at("search").value), 120);
});
at("back").addEventListener("click", back);
document.addEventListener("keydown", key);
graph.dark.addEventListener("change", show);
new ResizeObserver(() => graph.layout()).observe(at("scroll"));
