// The profile as a tree: columns of numbers, a node is its place in them. Parents come before
// children, so one walk from the end sums up.

const KINDS = ["kernel", "native", "python", "jit", "note", "process", "tenant", "root"];
const PROCESS = 5, TENANT = 6, ROOT = 7;

// What boxes can stand for: functions (or their single lines), then processes, tenants, and the root.
function entitiesOf(data, byLine) {
  const text = data.strings;
  const made = data.functions.map(([name, kind, file, first, module]) => ({
    name: text[name], kind, file: text[file], line: first, module: text[module],
  }));
  const out = !byLine ? made : [];
  if (byLine) for (let i = 0; i < data.frames.length; i += 2) {
    const own = made[data.frames[i]];
    out.push({ ...own, line: data.frames[i + 1] || own.line });
  }
  const processes = out.length;
  for (const name of data.processes) out.push({ name: text[name], kind: PROCESS });
  const tenants = out.length;
  for (const name of data.tenants) out.push({ name: text[name], kind: TENANT });
  const root = out.push({ name: "all tenants", kind: ROOT }) - 1;
  return { list: out, processes, tenants, root, byLine };
}

// tenant: its place in data.tenants; -1: all of them, each below the root.
function grow(data, entities, tenant) {
  const size = entities.list.length;
  const top = tenant < 0 ? entities.root : entities.tenants + tenant;
  const tree = {
    entity: [top], parent: [-1], depth: [0], own: [0], count: [0], before: [0], first: [-1], next: [-1],
    entities, sorted: new Map(),
  };
  const known = new Map();
  const child = (parent, entity) => {
    const key = parent * size + entity;
    let node = known.get(key);
    if (node === undefined) {
      node = tree.entity.length;
      known.set(key, node);
      tree.entity.push(entity); tree.parent.push(parent); tree.depth.push(tree.depth[parent] + 1);
      tree.own.push(0); tree.count.push(0); tree.before.push(0);
      tree.first.push(-1); tree.next.push(tree.first[parent]);
      tree.first[parent] = node;
    }
    return node;
  };
  // A row: tenant, process, frames shared with the row before, number of other frames, these, samples, weight.
  const add = (rows, weights, counts) => {
    const path = [];
    for (let at = 0; at < rows.length;) {
      const who = rows[at++], process = rows[at++], kept = rows[at++], end = at + 1 + rows[at++];
      if (tenant >= 0 && who !== tenant) { at = end + 2; path.length = 0; continue; }
      if (kept === 0) {
        const owner = tenant < 0 ? child(0, entities.tenants + who) : 0;
        path[0] = child(owner, entities.processes + process);
      }
      path.length = kept + 1;
      let node = path[kept];
      for (; at < end; at++) {
        node = child(node, entities.byLine ? rows[at] : data.frames[2 * rows[at]]);
        path.push(node);
      }
      counts[node] += rows[at++];
      weights[node] += rows[at++];
    }
  };
  add(data.rows, tree.own, tree.count);
  if (data.base) add(data.base.rows, tree.before, []);
  tree.total = Float64Array.from(tree.own);
  tree.count = Float64Array.from(tree.count);
  tree.was = Float64Array.from(tree.before);
  for (let node = tree.entity.length - 1; node > 0; node--) {
    const parent = tree.parent[node];
    tree.total[parent] += tree.total[node];
    tree.count[parent] += tree.count[node];
    tree.was[parent] += tree.was[node];
  }
  return tree;
}

// Children of a node, heaviest first; sorted when first looked at.
function childrenOf(tree, node, weight) {
  const known = tree.sorted.get(weight) || tree.sorted.set(weight, new Map()).get(weight);
  let list = known.get(node);
  if (!list) {
    list = [];
    for (let c = tree.first[node]; c >= 0; c = tree.next[c]) list.push(c);
    list.sort((a, b) => weight[b] - weight[a] || a - b);
    known.set(node, list);
  }
  return list;
}

function ancestors(tree, node) {
  const path = [];
  for (; node >= 0; node = tree.parent[node]) path.unshift(node);
  return path;
}

// Sums by function below a node; a recursive one counts once in `total`.
function tally(tree, from) {
  const size = tree.entities.list.length;
  const own = new Float64Array(size), total = new Float64Array(size);
  const ownWas = new Float64Array(size), was = new Float64Array(size);
  const above = new Int32Array(size);
  const left = [from];
  while (left.length) {
    const node = left.pop();
    if (node < 0) { above[tree.entity[~node]]--; continue; }
    const entity = tree.entity[node];
    own[entity] += tree.own[node]; ownWas[entity] += tree.before[node];
    if (above[entity]++ === 0) { total[entity] += tree.total[node]; was[entity] += tree.was[node]; }
    left.push(~node);
    for (let c = tree.first[node]; c >= 0; c = tree.next[c]) left.push(c);
  }
  return { own, total, ownWas, was };
}

// Weight of all that has a marked entity on its stack, below a node, counted once.
function weightOf(tree, from, marked, weight) {
  let sum = 0;
  const left = [from];
  while (left.length) {
    const node = left.pop();
    if (marked[tree.entity[node]]) sum += weight[node];
    else for (let c = tree.first[node]; c >= 0; c = tree.next[c]) left.push(c);
  }
  return sum;
}

// Which entities a search means: text anywhere in name, file or module, or /a pattern/.
function search(entities, wanted) {
  const marked = new Uint8Array(entities.list.length);
  let fits;
  const pattern = /^\/(.+)\/$/.exec(wanted);
  try {
    const found = pattern && new RegExp(pattern[1], "i");
    const lower = wanted.toLowerCase();
    fits = found ? (text) => found.test(text) : (text) => text.toLowerCase().includes(lower);
  } catch { return null; }
  let names = 0;
  entities.list.forEach((one, i) => {
    if (one.kind === ROOT) return;
    if (fits(one.name) || (one.file && fits(one.file)) || (one.module && fits(one.module))) { marked[i] = 1; names++; }
  });
  return { marked, names };
}
