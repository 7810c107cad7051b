// The graph on a canvas: only boxes wide enough to be seen are laid out, only rows in sight drawn.

const ROW = 19, LEAST = 0.7, PAD = 5;
const HUES = { kernel: [14, 78], native: [42, 80], python: [212, 68], jit: [146, 46], note: [0, 0], process: [222, 10], tenant: [222, 14], root: [222, 8] };

function hueOf(kind, name, dark) {
  const [hue, full] = HUES[kind];
  let mix = 0;
  for (let i = 0; i < name.length && i < 40; i++) mix = (mix * 31 + name.charCodeAt(i)) & 0xffff;
  const sway = (mix % 97) / 97 - 0.5;
  const level = dark ? 31 + sway * 9 : (full ? 77 : 82) + sway * 10;
  return `hsl(${(hue + sway * 11).toFixed(1)} ${dark ? full * 0.62 : full}% ${level.toFixed(1)}%)`;
}

// Change of share as red (more) or blue (less); ten points are full colour.
function changeColour(change, dark) {
  const strength = Math.min(1, Math.sqrt(Math.abs(change) / 0.1));
  const hue = change > 0 ? 4 : 215;
  if (Math.abs(change) < 0.00005) return dark ? "hsl(220 6% 27%)" : "hsl(220 8% 89%)";
  return dark ? `hsl(${hue} ${Math.round(15 + strength * 60)}% ${Math.round(27 + strength * 13)}%)`
    : `hsl(${hue} ${Math.round(30 + strength * 58)}% ${Math.round(90 - strength * 24)}%)`;
}

class Graph {
  constructor(canvas, scroll, tall) {
    Object.assign(this, { canvas, scroll, tall, rows: [], colours: new Map(), widths: new Map() });
    this.context = canvas.getContext("2d");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => { this.colours.clear(); this.draw(); });
    scroll.addEventListener("scroll", () => this.draw());
  }

  // view: tree, zoom (node), weight (column of widths), flame (true: root below), marked, diff, change(node)
  show(view) {
    if (this.view?.tree !== view.tree) this.colours.clear();
    this.view = view;
    this.layout();
  }

  layout() {
    if (!this.view) return;
    const { tree, zoom, weight, flame } = this.view;
    const width = this.width = this.scroll.clientWidth;
    const up = ancestors(tree, zoom);
    this.rows = up.map((node) => [{ node, x: 0, w: width }]);
    const scale = weight[zoom] ? width / weight[zoom] : 0;
    const left = [[zoom, 0]];
    while (left.length) {
      const [node, x] = left.pop();
      let at = x;
      const depth = tree.depth[node] + 1;
      for (const child of childrenOf(tree, node, weight)) {
        const w = weight[child] * scale;
        if (w < LEAST) break; // heaviest first: no later one is wider
        (this.rows[depth] ||= []).push({ node: child, x: at, w });
        left.push([child, at]);
        at += w;
      }
    }
    for (const row of this.rows) row.sort((a, b) => a.x - b.x);
    const height = Math.max(this.scroll.clientHeight, this.rows.length * ROW + 2);
    this.tall.style.height = `${height}px`;
    this.height = height;
    if (flame) this.scroll.scrollTop = height;
    this.draw();
  }

  top(depth) { return this.view.flame ? this.height - (depth + 1) * ROW : depth * ROW; }

  draw() {
    if (!this.view || this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
  }

  paint() {
    const { canvas, context, scroll } = this;
    const ratio = devicePixelRatio || 1, tall = scroll.clientHeight;
    const sized = [Math.round(this.width * ratio), Math.round(tall * ratio)];
    if (canvas.width !== sized[0] || canvas.height !== sized[1]) {
      [canvas.width, canvas.height] = sized;
      canvas.style.height = `${tall}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, tall);
    context.font = "11.5px system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif";
    context.textBaseline = "middle";
    context.direction = "ltr";
    const dark = this.dark.matches;
    this.rows.forEach((row, depth) => {
      const y = this.top(depth) - scroll.scrollTop;
      if (y > -ROW && y < tall) for (const box of row) this.box(box, y, depth, dark);
    });
  }

  box({ node, x, w }, y, depth, dark) {
    const { context, view } = this;
    const { tree, marked, selected, hovered } = view;
    const one = tree.entities.list[tree.entity[node]];
    const hit = marked && marked[tree.entity[node]];
    const above = depth < tree.depth[view.zoom];
    context.globalAlpha = marked && !hit ? 0.3 : above ? 0.55 : 1;
    context.fillStyle = hit ? (dark ? "hsl(292 55% 44%)" : "hsl(292 74% 76%)") : this.colour(node, one, dark);
    const wide = Math.max(w - (w > 3 ? 1 : 0.3), 0.5);
    context.fillRect(x, y, wide, ROW - 1);
    if (node === selected || node === hovered) {
      context.globalAlpha = 1;
      context.lineWidth = node === selected ? 2 : 1;
      context.strokeStyle = dark ? "#ffffff" : "#101418";
      context.strokeRect(x + 1, y + 1, Math.max(wide - 2, 0.5), ROW - 3);
    }
    if (w > 22) this.label(one, x, y, wide, marked && !hit, dark);
    context.globalAlpha = 1;
  }

  colour(node, one, dark) {
    if (this.view.diff) return changeColour(this.view.change(node), dark);
    let colour = this.colours.get(one);
    if (!colour) this.colours.set(one, colour = hueOf(KINDS[one.kind], one.module || one.file || one.name, dark));
    return colour;
  }

  label(one, x, y, w, faded, dark) {
    const { context } = this;
    const name = one.name || "(no name)";
    context.globalAlpha = faded ? 0.55 : Math.max(context.globalAlpha, 0.8);
    context.fillStyle = dark ? "#f2f4f6" : "#14171a";
    const room = w - 2 * PAD, full = this.measure(name), middle = y + ROW / 2;
    if (full <= room) {
      context.fillText(name, x + PAD, middle);
      if (!one.file) return;
      const where = one.file.slice(one.file.lastIndexOf("/") + 1) + (one.line ? `:${one.line}` : "");
      const wide = this.measure(where);
      if (full + 14 + wide > room) return;
      context.globalAlpha *= 0.6;
      context.fillText(where, x + PAD + full + 10, middle);
      return;
    }
    const fits = Math.floor((name.length * (room - 8)) / full);
    if (fits >= 2) context.fillText(`${name.slice(0, fits)}…`, x + PAD, middle);
  }

  measure(text) {
    let width = this.widths.get(text);
    if (width === undefined) this.widths.set(text, width = this.context.measureText(text.slice(0, 400)).width * Math.max(1, text.length / 400));
    return width;
  }

  // The node under the pointer, or -1.
  at(event) {
    const edge = this.scroll.getBoundingClientRect();
    const y = event.clientY - edge.top + this.scroll.scrollTop, x = event.clientX - edge.left;
    const depth = Math.floor((this.view.flame ? this.height - y : y) / ROW);
    const row = this.rows[depth] || [];
    let low = 0, high = row.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1, box = row[middle];
      if (x < box.x) high = middle - 1;
      else if (x >= box.x + box.w) low = middle + 1;
      else return box.node;
    }
    return -1;
  }

  boxOf(node) { return (this.rows[this.view.tree.depth[node]] || []).find((box) => box.node === node); }

  // Its neighbour in the same row, by `step` boxes.
  beside(node, step) {
    const row = this.rows[this.view.tree.depth[node]] || [];
    return row[row.findIndex((box) => box.node === node) + step]?.node ?? -1;
  }

  reveal(node) {
    const y = this.top(this.view.tree.depth[node]), { scroll } = this;
    if (y < scroll.scrollTop) scroll.scrollTop = y;
    else if (y + ROW > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = y + ROW - scroll.clientHeight;
    this.draw();
  }
}
