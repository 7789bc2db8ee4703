// Draws the plots of the page from the data beside it; touches nothing but this page.
"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  // Okabe and Ito's colours, safe for colour-blind eyes; the order puts the most distinct first.
  const light = ["#0072b2", "#d55e00", "#009e73", "#b2569a", "#b07b00", "#3a94c9", "#5c5c5c", "#7a4fbf"];
  const dark = ["#56b4e9", "#ff8a4c", "#2ec99a", "#e08fc0", "#e6b93d", "#9fd3f5", "#b9b9b9", "#b794f6"];
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const hidden = new Set();
  // Plotly reads a little HTML in labels; ours are plain text.
  const text = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colour = (point) => (night.matches ? dark : light)[point % light.length];
  const dash = (point) => ["solid", "dash", "dot", "dashdot"][Math.floor(point / light.length) % 4];
  const faint = (point) => colour(point) + "2b";
  const number = (value) => (value === null || value === undefined ? "?" : Number(value.toPrecision(4)).toString());

  function lines(figure) {
    const traces = [];
    for (const series of figure.series) {
      if (hidden.has(series.point)) continue;
      const x = figure.x;
      if (series.low) {
        const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", connectgaps: true };
        traces.push({ ...edge, y: series.low });
        traces.push({ ...edge, y: series.high, fill: "tonexty", fillcolor: faint(series.point) });
      }
      const range = series.low ? x.map((_, i) => ` (${number(series.low[i])} to ${number(series.high[i])})`) : x.map(() => "");
      traces.push({
        x, y: series.y, text: range, name: text(series.name), connectgaps: true,
        mode: x.length < 2 ? "markers" : "lines",
        line: { color: colour(series.point), width: 2, dash: dash(series.point) },
        hovertemplate: "%{y:.4g}%{text}",
      });
    }
    return traces;
  }

  function heat(figure) {
    if (hidden.has(figure.point)) return [];
    const rows = figure.rows.map(text);
    return [{
      type: "heatmap", x: figure.x, y: rows.map((_, i) => i), z: figure.z, text: figure.z.map((row, i) => row.map(() => rows[i])),
      zmin: figure.range && figure.range[0], zmax: figure.range && figure.range[1], colorscale: "Cividis",
      colorbar: { thickness: 10, outlinewidth: 0, title: { text: text(figure.z_title), side: "right" } },
      hovertemplate: `%{text}<br>${text(figure.x_title)} %{x}: %{z:.4g}<extra></extra>`,
    }];
  }

  function profile(figure) {
    return figure.series.filter((series) => !hidden.has(series.point)).map((series) => ({
      type: "scatter", mode: "markers", x: series.x.map(text), y: series.y, name: text(series.name),
      marker: { color: colour(series.point), size: 9 },
      error_y: {
        type: "data", symmetric: false, color: colour(series.point), thickness: 1.5,
        array: series.high.map((high, i) => (high === null ? 0 : high - series.y[i])),
        arrayminus: series.low.map((low, i) => (low === null ? 0 : series.y[i] - low)),
      },
      hovertemplate: "%{y:.4g}",
    }));
  }

  function layout(figure) {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const soft = style.getPropertyValue("--soft").trim();
    const rule = style.getPropertyValue("--rule").trim();
    const paper = style.getPropertyValue("--card").trim();
    const axis = { gridcolor: rule, linecolor: rule, zeroline: false, automargin: true, tickfont: { color: soft, size: 11 } };
    const title = (words) => ({ text: text(words), font: { size: 12, color: soft }, standoff: 8 });
    const made = {
      height: figure.height || 260, margin: { l: 48, r: 12, t: figure.title ? 34 : 10, b: 42 }, showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: style.fontFamily, color: ink, size: 12 },
      title: { text: text(figure.title), font: { size: 13, color: ink }, x: 0, xref: "paper", xanchor: "left", y: 0.97, yanchor: "top" },
      hoverlabel: { bgcolor: paper, bordercolor: rule, font: { color: ink, size: 12 }, namelength: -1 },
      xaxis: { ...axis, title: title(figure.x_title) }, yaxis: { ...axis, title: title(figure.y_title || "") },
      dragmode: coarse ? false : "zoom",
    };
    if (figure.kind === "lines") {
      made.hovermode = "x unified";
      made.xaxis.type = figure.x_log ? "log" : "linear";
      made.xaxis.title = title(figure.x_title);
      made.xaxis.unifiedhovertitle = { text: `${text(figure.x_title)} %{x}` };
    }
    // no epoch two and a half
    if (figure.x && figure.x.every(Number.isInteger) && figure.x.at(-1) - figure.x[0] <= 8) made.xaxis.dtick = 1;
    if (figure.kind === "profile") made.xaxis.type = "category";
    if (figure.kind === "heat") {
      const step = Math.max(1, Math.ceil(figure.rows.length / 26));
      const places = figure.rows.map((_, i) => i).filter((i) => i % step === 0);
      Object.assign(made.yaxis, {
        autorange: "reversed", showgrid: false, tickvals: places,
        // long module paths keep their end, which tells them apart
        ticktext: places.map((i) => text(figure.rows[i].length > 24 ? "…" + figure.rows[i].slice(-23) : figure.rows[i])),
      });
      made.xaxis.showgrid = false;
    } else if (figure.range) {
      made.yaxis.range = figure.range;
    }
    return made;
  }

  const makers = { lines, heat, profile };
  const options = {
    responsive: true, displaylogo: false, displayModeBar: false,
  };
  const draw = () => Promise.all(figures.map((figure, i) =>
    Plotly.react(document.getElementById(`figure-${i}`), makers[figure.kind](figure), layout(figure), options)));

  for (const chip of document.querySelectorAll("[data-point]")) {
    chip.style.setProperty("--light", light[chip.dataset.point % light.length]);
    chip.style.setProperty("--dark", dark[chip.dataset.point % dark.length]);
    if (chip.tagName !== "BUTTON") continue;
    chip.addEventListener("click", () => {
      const point = Number(chip.dataset.point);
      if (!hidden.delete(point)) hidden.add(point);
      chip.setAttribute("aria-pressed", String(!hidden.has(point)));
      draw();
    });
  }
  night.addEventListener("change", draw);
  draw().then(() => { document.documentElement.dataset.drawn = String(figures.length); });
})();
