// The table beside the graph: functions below the zoomed box, by self or total.

const MOST_ROWS = 300;

class Top {
  // picked(entity): a row was chosen
  constructor(body, heads, picked) {
    Object.assign(this, { body, heads, picked, by: "own", falling: true });
    body.addEventListener("click", (event) => this.pick(event.target.closest("tr")));
    body.addEventListener("keydown", (event) => {
      const row = event.target.closest("tr");
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); this.pick(row); }
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault(); event.stopPropagation();
        (event.key === "ArrowDown" ? row.nextSibling : row.previousSibling)?.focus?.();
      }
    });
  }

  pick(row) { if (row && row.dataset.entity) this.picked(Number(row.dataset.entity)); }

  // sums: of tally(); whole, before: what shares are of; marked: only these, null: all
  show({ entities, sums, whole, before, unit, marked, chosen, colour }) {
    this.last = arguments[0];
    const diff = before !== null;
    const change = (i) => sums.total[i] / (whole || 1) - sums.was[i] / (before || 1);
    const value = { own: (i) => sums.own[i], total: (i) => sums.total[i], change, name: () => 0 }[this.by];
    const list = [];
    for (let i = 0; i < entities.processes; i++) {
      if ((sums.total[i] || sums.was[i]) && (!marked || marked[i])) list.push(i);
    }
    const names = (a, b) => entities.list[a].name.localeCompare(entities.list[b].name);
    const turn = this.falling ? 1 : -1;
    list.sort((a, b) => turn * (this.by === "name" ? names(a, b) : value(b) - value(a)) || sums.total[b] - sums.total[a] || a - b);
    this.head(diff);
    const rows = list.slice(0, MOST_ROWS).map((i) => {
      const one = entities.list[i];
      const dot = element("span", "dot"); dot.style.background = colour(one);
      const first = element("td", "", dot, isolated(one.name || "(no name)"), element("small", "", isolated(whereOf(one))));
      const figure = (sum) => element("td", "", percent(whole ? sum / whole : 0), element("small", "", amount(sum, unit)));
      const row = element("tr", "", first, figure(sums.own[i]), figure(sums.total[i]));
      if (diff) row.append(element("td", change(i) > 0.00005 ? "up" : change(i) < -0.00005 ? "down" : "", points(change(i))));
      row.title = `${one.name}\n${whereOf(one)}`;
      row.tabIndex = 0;
      row.dataset.entity = i;
      row.setAttribute("aria-selected", String(i === chosen));
      return row;
    });
    if (list.length > MOST_ROWS || !list.length) {
      const rest = list.length ? `… and ${(list.length - MOST_ROWS).toLocaleString("en")} more: search narrows the list` : "No function matches.";
      const cell = element("td", "", rest); cell.colSpan = diff ? 4 : 3;
      rows.push(element("tr", "more", cell));
    }
    this.body.replaceChildren(...rows);
  }

  head(diff) {
    const heads = [["name", "Function", ""], ["own", "Self", "figure"], ["total", "Total", "figure"]];
    if (diff) heads.push(["change", "Change", "change"]);
    this.heads.replaceChildren(...heads.map(([by, word, name]) => {
      const button = element("button", "", word);
      button.type = "button";
      if (by === "change") button.title = "Change of its share of all, in points, callees included";
      button.addEventListener("click", () => {
        this.falling = this.by === by ? !this.falling : true;
        this.by = by;
        this.show(this.last);
        [...this.heads.querySelectorAll("button")][heads.findIndex((one) => one[0] === by)].focus();
      });
      const head = element("th", name, button);
      head.scope = "col";
      if (this.by === by) head.setAttribute("aria-sort", this.falling === (by !== "name") ? "descending" : "ascending");
      return head;
    }));
  }
}
