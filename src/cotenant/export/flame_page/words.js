// Numbers and things in words. Whatever a tenant named goes into the page as text, never as markup.

function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  return `${(100 * share).toFixed(share === 0 || share >= 0.9995 ? 0 : 1)} %`;
}
const points = (change) => `${change > 0 ? "+" : change < 0 ? "−" : "±"}${Math.abs(100 * change).toFixed(Math.abs(change) < 0.0995 ? 2 : 1)}`;
const whole = (number) => Math.round(number).toLocaleString("en");

const SCALES = {
  nanoseconds: [[6e11, "min", 60e9], [1e9, "s", 1e9], [1e6, "ms", 1e6], [1e3, "µs", 1e3], [0, "ns", 1]],
  bytes: [[2 ** 40, "TiB", 2 ** 40], [2 ** 30, "GiB", 2 ** 30], [2 ** 20, "MiB", 2 ** 20], [2 ** 10, "KiB", 2 ** 10], [0, "B", 1]],
};

function amount(value, unit) {
  if (!value) return "0";
  for (const [from, word, size] of SCALES[unit] || []) {
    if (value < from) continue;
    const number = value / size;
    return `${size === 1 ? whole(number) : number.toFixed(number < 9.995 ? 2 : number < 99.95 ? 1 : 0)} ${word}`;
  }
  return whole(value);
}

// element("td", "figure", "text", child, ...)
function element(tag, name, ...inside) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...inside.filter((one) => one !== null && one !== undefined && one !== ""));
  return made;
}

const isolated = (text) => element("bdi", "", text);

function whereOf(one) {
  const parts = [];
  if (one.file) parts.push(one.file + (one.line ? `:${one.line}` : ""));
  if (one.module) parts.push(one.module);
  return parts.join(" · ");
}

function replaceIn(id, ...inside) { document.getElementById(id).replaceChildren(...inside); }
