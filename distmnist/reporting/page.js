"use strict";
// The charts of the report: one uPlot for each, with one legend and one cursor for all.
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const controls = document.querySelector(".controls");
  const switches = [...controls.querySelectorAll(".legend input")];
  const figures = [...document.querySelectorAll("[data-chart]")];
  const plots = [];
  const HEIGHT = 260;
  const DIGITS = { maximumSignificantDigits: 5 };

  const color = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const visible = (index) => switches[index].checked;
  const number = (value) => value.toLocaleString("en", DIGITS);

  /** Returns the columns of a chart: x, and y for each curve of the legend. */
  function columns(chart, axis, log) {
    return uPlot.join(data.legend.map((_, index) => {
      const curve = chart.curves[index];
      if (!curve || !curve.x[axis]) return [[], []];
      // A logarithmic axis has no place for 0.
      const y = log ? curve.y.map((value) => (value > 0 ? value : null)) : curve.y;
      return [curve.x[axis], y];
    }));
  }

  /** Returns the end of an x axis. */
  function longest(axis) {
    const curves = data.charts.flatMap((chart) => Object.values(chart.curves));
    return Math.max(...curves.map((curve) => curve.x[axis]?.at(-1) ?? 0)) || 1;
  }

  /** Returns the point of a curve next to x, or null if the curve does not reach it. */
  function nearest(plot, series, index, x) {
    const [xs, ys] = [plot.data[0], plot.data[series]];
    let [left, right] = [index, index];
    while (left >= 0 && ys[left] == null) left--;
    while (right < ys.length && ys[right] == null) right++;
    const distance = (i) => (i in xs ? Math.abs(xs[i] - x) : Infinity);
    const best = distance(left) <= distance(right) ? left : right;
    const reached = left >= 0 && right < ys.length;
    const near = (plot.scales.x.max - plot.scales.x.min) / 50;
    return reached || distance(best) < near ? best : null;
  }

  /** Shows the values at the cursor: of the curve next to it, and in the legend. */
  function showValues(plot, figure, focus) {
    const { idx, idxs, left } = plot.cursor;
    const line = figure.querySelector(".readout");
    const at = idxs?.[focus];
    const shown = left >= 0 && idx != null;
    line.textContent = "\u00a0";
    if (shown && at != null) {
      const [x, y] = [plot.data[0][at], plot.data[focus][at]].map(number);
      const name = data.legend[focus - 1];
      line.textContent = `${y} at ${x} ${controls.elements.axis.value}: ${name}`;
    }
    if (shown && !figure.matches(":hover")) return;
    switches.forEach((input, index) => {
      const i = idxs?.[index + 1];
      const value = shown && i != null && visible(index) ? plot.data[index + 1][i] : null;
      const label = input.parentElement;
      label.querySelector("output").textContent = value == null ? "" : number(value);
      label.classList.toggle("nearest", shown && index + 1 === focus);
    });
  }

  /** Returns the width of the labels of the y axis. */
  function labelWidth(plot, values, axis) {
    plot.ctx.font = plot.axes[axis].font[0];
    const widths = (values ?? []).map((value) => plot.ctx.measureText(value ?? "").width);
    return 16 + Math.max(0, ...widths) / devicePixelRatio;
  }

  function draw(figure) {
    const chart = data.charts[figure.dataset.chart];
    const axis = controls.elements.axis.value;
    const log = figure.querySelector("[name=log]").checked;
    const element = figure.querySelector(".plot");
    let focus = null; // the curve next to the cursor
    const lines = { stroke: () => color("--line"), width: 1 };
    const axes = { stroke: () => color("--muted"), grid: lines, ticks: lines };
    plots[figure.dataset.chart]?.destroy();
    plots[figure.dataset.chart] = new uPlot({
      width: element.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      focus: { alpha: 0.3 },
      cursor: {
        y: false,
        sync: { key: "report", setSeries: true },
        focus: { prox: 1e6 },
        dataIdx: nearest,
      },
      scales: {
        x: {
          time: false,
          // All charts show the same range, until one is zoomed, and all with it.
          range: (plot, low, high) => {
            const xs = plot.data[0];
            return low == null || (low === xs[0] && high === xs.at(-1))
              ? [0, longest(axis)] : [low, high];
          },
        },
        y: {
          distr: log ? 3 : 1,
          ...(log && { range: (_, low, high) =>
            low == null ? [0.1, 1] : uPlot.rangeLog(low, high, 10, false) }),
        },
      },
      axes: [
        { ...axes, label: data.axes[axis], labelSize: 20, size: 34 },
        { ...axes, label: chart.unit, labelSize: 20, size: labelWidth },
      ],
      series: [
        {},
        ...data.legend.map((label, index) => ({
          label,
          show: visible(index),
          stroke: () => color(`--curve-${index % data.colors}`),
          width: 1.75,
          dash: data.dashes[index],
          points: {
            show: (chart.curves[index]?.y.length ?? 0) < 20,
            size: 6,
            fill: () => color("--page"),
          },
        })),
      ],
      hooks: {
        setCursor: [(plot) => showValues(plot, figure, focus)],
        setSeries: [(plot, series, options) => {
          if ("focus" in options) focus = series;
          showValues(plot, figure, focus);
        }],
      },
    }, columns(chart, axis, log), element);
  }

  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.elements.axis.addEventListener("change", () => figures.forEach(draw));
  const show = (index) => plots.forEach((plot) =>
    plot.setSeries(index + 1, { show: visible(index) }, false));
  switches.forEach((input, index) => {
    input.addEventListener("change", () => show(index));
    input.parentElement.addEventListener("mouseenter", () => plots.forEach((plot) =>
      plot.setSeries(index + 1, { focus: true }, false)));
    input.parentElement.addEventListener("mouseleave", () => plots.forEach((plot) =>
      plot.setSeries(null, { focus: true }, false)));
  });
  controls.querySelectorAll("[data-show]").forEach((button) =>
    button.addEventListener("click", () => switches.forEach((input, index) => {
      input.checked = Boolean(button.dataset.show);
      show(index);
    })));
  figures.forEach((figure) =>
    figure.querySelector("[name=log]").addEventListener("change", () => draw(figure)));

  document.querySelector(".curves").hidden = false;
  figures.forEach(draw);
  new ResizeObserver(() => figures.forEach((figure) => plots[figure.dataset.chart].setSize({
    width: figure.querySelector(".plot").clientWidth, height: HEIGHT,
  }))).observe(document.querySelector(".charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    plots.forEach((plot) => plot.redraw(false, true)));
}
