"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const root = document.documentElement;
  const themes = read("themes");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isCoarse = matchMedia("(pointer: coarse)").matches;
  const charts = [...document.querySelectorAll(".chart")];
  let printing = false;

  // -- charts: the visible ones first, then one at a time, so that the page can be read at once --

  const mode = () => {
    if (printing) return "light";
    return root.dataset.theme || (prefersDark.matches ? "dark" : "light");
  };
  const draw = (chart) => {
    const figure = read(chart.dataset.figure);
    const layout = { ...figure.layout, template: themes[mode()], autosize: true };
    if (isCoarse) layout.dragmode = false; // a finger scrolls the page
    if (printing) layout.width = paper();
    chart.dataset.drawn = chart.dataset.figure;
    chart.style.height = `${layout.height}px`;
    return Plotly.react(chart, figure.data, layout, {
      displayModeBar: false, responsive: true, showTips: false,
    });
  };
  const paper = () => Math.min(680, root.clientWidth);
  let drawing = false;
  const drawNext = () => {
    drawing = true;
    const waiting = charts.filter((chart) => chart.dataset.drawn !== chart.dataset.figure);
    if (!waiting.length) {
      drawing = false;
      root.dataset.drawn = "all";
      return;
    }
    const near = (chart) => Math.abs(chart.getBoundingClientRect().top);
    waiting.sort((a, b) => near(a) - near(b));
    draw(waiting[0]);
    setTimeout(drawNext, 0);
  };
  const redraw = () => {
    delete root.dataset.drawn;
    charts.forEach((chart) => delete chart.dataset.drawn);
    if (!drawing) drawNext();
  };

  // -- light and dark --------------------------------------------------------------------------

  const button = byId("theme");
  const nameButton = () => { button.textContent = mode() === "dark" ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = mode() === "dark" ? "light" : "dark";
    nameButton();
    redraw();
  });
  prefersDark.addEventListener("change", () => { nameButton(); redraw(); });
  nameButton();

  // -- paper: always light, no wider than the sheet --------------------------------------------

  let themeOnScreen;
  addEventListener("beforeprint", () => {
    themeOnScreen = root.dataset.theme;
    root.dataset.theme = "light";
    printing = true;
    charts.forEach(draw);
  });
  addEventListener("afterprint", () => {
    printing = false;
    if (themeOnScreen) root.dataset.theme = themeOnScreen;
    else delete root.dataset.theme;
    charts.forEach(draw);
  });

  // -- the price of another asset ----------------------------------------------------------------

  const asset = byId("price-asset");
  if (asset) {
    const notes = read("price-notes");
    const chart = byId("chart-price-0");
    asset.addEventListener("change", () => {
      chart.dataset.figure = asset.value;
      const meta = notes[asset.selectedIndex];
      chart.setAttribute("aria-label", meta.alt);
      let caption = chart.parentNode.querySelector("figcaption");
      if (!caption) caption = chart.parentNode.appendChild(document.createElement("figcaption"));
      caption.textContent = meta.note;
      draw(chart);
    });
  }

  // -- trades: sort, filter, explain ---------------------------------------------------------------

  const table = byId("trade-table");
  if (table) {
    const { texts, trades } = read("explanations");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const find = byId("trade-find"), side = byId("trade-side"), outcome = byId("trade-outcome");
    const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    find.closest(".controls").hidden = false;

    const close = (row) => {
      const next = row.nextElementSibling;
      if (next && next.classList.contains("detail")) next.remove();
      row.querySelector("button").setAttribute("aria-expanded", "false");
    };
    const open = (row) => {
      const detail = document.createElement("tr");
      detail.className = "detail";
      const cell = detail.insertCell();
      cell.colSpan = heads.length;
      const box = cell.appendChild(document.createElement("div"));
      trades[row.dataset.trade].forEach((place, i) => {
        const said = box.appendChild(document.createElement("pre"));
        const title = said.appendChild(document.createElement("strong"));
        title.textContent = i ? "Exit" : "Entry";
        said.append(texts[place]);
      });
      row.after(detail);
      row.querySelector("button").setAttribute("aria-expanded", "true");
    };
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-trade]");
      if (!row || String(getSelection())) return;
      const isOpen = row.querySelector("button").getAttribute("aria-expanded") === "true";
      (isOpen ? close : open)(row);
    });

    const filter = () => {
      const wanted = find.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const fits = words.get(row).includes(wanted)
          && (!side.value || row.dataset.side === side.value)
          && (!outcome.value || row.dataset.outcome === outcome.value);
        if (!fits) close(row);
        row.hidden = !fits;
        shown += fits;
      }
      byId("trade-count").textContent = `${shown} of ${rows.length} shown`;
    };
    for (const control of [find, side, outcome]) control.addEventListener("input", filter);

    const value = (row, column) => {
      const cell = row.cells[column];
      if (cell.dataset.value === undefined) return cell.textContent.toLowerCase();
      return cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      if (typeof a === "string") return a < b ? -1 : a > b ? 1 : 0;
      return a - b;
    };
    heads.forEach((head, column) => head.addEventListener("click", () => {
      const isNumber = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const down = before === "none" ? isNumber && column > 0 : before === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.forEach(close);
      const keyed = rows.map((row) => [value(row, column), row]);
      keyed.sort(([a], [b]) => {
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return down ? compare(b, a) : compare(a, b);
      });
      rows.splice(0, rows.length, ...keyed.map(([, row]) => row));
      body.append(...rows);
    }));
  }

  drawNext();
})();
