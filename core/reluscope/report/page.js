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

  // Colours of a declared figure: distinct for names, from dark to light for numbers.
  function shade(figure, index, dusk = night.matches) {
    if (!figure.ordered) return (dusk ? dark : light)[index % light.length];
    const scale = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
    const share = index / (figure.colours - 1);
    const place = 4 * (dusk ? 0.25 + 0.75 * share : 0.88 * share);
    const below = Math.min(3, Math.floor(place));
    const mixed = scale[below].map((part, i) => Math.round(part + (place - below) * (scale[below + 1][i] - part)));
    return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
  }

  function line(figure) {
    const traces = [];
    for (const series of figure.series) {
      const stroke = shade(figure, series.colour);
      const known = figure.x.at.map((_, i) => i).filter((i) => series.y[i] !== null);
      const take = (values) => known.map((i) => values[i]);
      const x = take(figure.x.at);
      if (series.low) {
        const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
        traces.push({ ...edge, y: take(series.low) });
        traces.push({ ...edge, y: take(series.high), fill: "tonexty", fillcolor: stroke + "2b" });
      }
      const few = figure.x.at.length <= 40;
      traces.push({
        x, y: take(series.y), text: take(figure.x.text).map(text), mode: few ? "lines+markers" : "lines",
        line: { color: stroke, width: 2 }, marker: { color: stroke, size: 5 },
        hovertemplate: `${text(figure.x.title)} %{text}: %{y:.4g}<extra></extra>`,
      });
    }
    return traces;
  }

  function box(figure) {
    const traces = [];
    const wide = 0.8 / figure.colours;
    for (const series of figure.series) {
      const stroke = shade(figure, series.colour);
      const aside = (series.colour - (figure.colours - 1) / 2) * wide;
      const x = series.boxes.map((one) => figure.x.at[one.place] + aside);
      const part = (key) => series.boxes.map((one) => one[key]);
      traces.push({
        type: "box", x, median: part("median"), q1: part("low"), q3: part("high"), lowerfence: part("bottom"), upperfence: part("top"),
        width: 0.75 * wide, whiskerwidth: 0.5, line: { color: stroke, width: 1.5 }, fillcolor: stroke + "2b", hoverinfo: "y",
      });
      const beyond = series.boxes.flatMap((one, i) => one.outliers.map((y) => [x[i], y]));
      if (beyond.length) {
        traces.push({
          type: "scatter", mode: "markers", x: beyond.map((at) => at[0]), y: beyond.map((at) => at[1]),
          marker: { color: stroke, size: 5, symbol: "circle-open" }, hovertemplate: "%{y:.4g}<extra></extra>",
        });
      }
    }
    return traces;
  }

  function heatmap(figure) {
    const [low, high] = figure.range;
    const labels = figure.y.text.map((row) => figure.x.text.map((column) =>
      `${text(figure.y.title)} ${text(row)}<br>${text(figure.x.title)} ${text(column)}`));
    const traces = [{
      type: "heatmap", x: figure.x.edges, y: figure.y.edges, z: figure.z, text: labels, zmin: low, zmax: high, colorscale: "Viridis",
      colorbar: { thickness: 10, outlinewidth: 0, exponentformat: "SI", tickfont: { size: 11 }, title: { text: text(figure.z_title), side: "right", font: { size: 12 } } },
      hovertemplate: "%{text}: %{z:.4g}<extra></extra>", hoverongaps: false,
    }];
    if (figure.beyond) {
      traces.push({
        type: "heatmap", x: figure.x.edges, y: figure.y.edges, hoverinfo: "skip", showscale: false, colorscale: [[0, "#d62728"], [1, "#d62728"]],
        z: figure.z.map((row) => row.map((value) => (value !== null && (value < low || value > high) ? 1 : null))),
      });
    }
    if (figure.over) {
      const { x, y } = figure.over;
      traces.push({
        type: "scatter", mode: y.filter((value) => value !== null).length === 1 ? "markers" : "lines", x, y, hoverinfo: "skip",
        line: { color: "#ffffff", width: 2 }, marker: { color: "#ffffff", size: 7 },
      });
    }
    return traces;
  }

  function picture(figure) {
    const [x, y] = figure.points || [[], []];
    return [{
      type: "scatter", mode: "markers", x, y, hovertemplate: "%{x:.4g}, %{y:.4g}<extra></extra>",
      marker: { color: "#ff0000", size: 8, line: { color: "#ffffff", width: 1.5 } },
    }];
  }

  // Lays out a declared figure: places with names, scales as the recipe has them, square pictures.
  function declare(figure, made, title, width) {
    const cut = (label, most) => text(label.length > most ? "…" + label.slice(1 - most) : label);
    for (const [key, most] of [["x", 16], ["y", 24]]) {
      const axis = figure[key];
      const place = made[`${key}axis`];
      Object.assign(place, { title: title(axis.title), type: axis.log ? "log" : "linear", exponentformat: axis.log ? "power" : "SI" });
      const reach = key === "y" && figure.range ? figure.range : axis.at;
      if (axis.log && reach && Math.log10(reach.at(-1) / reach[0]) > 1.5) {
        Object.assign(place, { dtick: 1, minor: { dtick: "D1", ticks: "outside", ticklen: 3, tickcolor: place.linecolor } });
      }
      if (axis.named) {
        const step = Math.ceil(axis.at.length / 26);
        const shown = axis.at.map((_, i) => i).filter((i) => i % step === 0);
        Object.assign(place, { tickvals: shown.map((i) => axis.at[i]), ticktext: shown.map((i) => cut(axis.text[i], most)), showgrid: key === "y" });
      } else if (!axis.log && axis.at && axis.at.every(Number.isInteger) && axis.at.at(-1) - axis.at[0] <= 10) {
        place.dtick = 1;
      }
    }
    if (figure.kind === "heatmap") {
      Object.assign(made, { height: Math.min(620, Math.max(260, 110 + 11 * figure.y.most)) });
      made.xaxis.showgrid = made.yaxis.showgrid = false;
      for (const key of figure.over ? ["x", "y"] : []) {
        const ends = [figure[key].edges[0], figure[key].edges.at(-1)];
        made[`${key}axis`].range = figure[key].log ? ends.map(Math.log10) : ends;
      }
    } else if (figure.kind === "picture") {
      Object.assign(made.xaxis, { range: figure.x.range, showgrid: false, constrain: "domain" });
      Object.assign(made.yaxis, { range: figure.y.range, showgrid: false, constrain: "domain", scaleanchor: "x" });
      const [left, right] = figure.x.range;
      const [bottom, top] = figure.y.range;
      made.images = [{ source: figure.image, xref: "x", yref: "y", x: left, y: top, sizex: right - left, sizey: top - bottom, sizing: "stretch", layer: "below" }];
      Object.assign(made, { height: Math.min(width, 560) + 14, hovermode: figure.points ? "closest" : false });
      Object.assign(made.margin, { l: 40, r: 12, b: 36 });
    } else {
      made.yaxis.range = figure.y.log ? figure.range.map(Math.log10) : figure.range;
      made.height = 300;
    }
    if (figure.kind === "box") made.xaxis.range = [0.4, figure.x.at.length + 0.6];
    return made;
  }

  function layout(figure, width) {
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
      xaxis: { ...axis, title: title(figure.x_title || "") }, yaxis: { ...axis, title: title(figure.y_title || "") },
      dragmode: coarse ? false : "zoom",
    };
    if (figure.kind in declared) return declare(figure, made, title, width);
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

  const declared = { line, box, heatmap, picture };
  const makers = { lines, heat, profile, ...declared };
  const options = {
    responsive: true, displaylogo: false, displayModeBar: false,
  };
  const draw = () => Promise.all(figures.map((figure, i) => {
    const place = document.getElementById(`figure-${i}`);
    return Plotly.react(place, makers[figure.kind](figure), layout(figure, place.clientWidth), options);
  }));

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
  for (const dot of document.querySelectorAll("[data-shade]")) {
    const figure = figures[dot.dataset.figure];
    dot.style.setProperty("--light", shade(figure, Number(dot.dataset.shade), false));
    dot.style.setProperty("--dark", shade(figure, Number(dot.dataset.shade), true));
  }
  night.addEventListener("change", draw);
  draw().then(() => { document.documentElement.dataset.drawn = String(figures.length); });
})();
