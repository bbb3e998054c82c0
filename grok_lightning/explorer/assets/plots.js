/** What all plots drawn by Plotly share: their frame, their planes and their axis of steps. */
(function (explorer) {
  "use strict";

  const CONFIG = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    showEditInChartStudio: false,
    plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

  /** Text as it is written: Plotly would read tags in it. */
  function plain(text) {
    return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  /** One axis; what is given overrides the common style. */
  function axis(title, more = {}) {
    const { ofPage } = explorer.colours;
    return {
      title: { text: plain(title), standoff: 6, font: { size: 13 } },
      gridcolor: ofPage("grid"),
      zerolinecolor: ofPage("line"),
      linecolor: ofPage("line"),
      ...more,
    };
  }

  /** The frame of a plot without its axes. No drag mode: a finger on a plot scrolls the page. A zoom lasts. */
  function frame(more) {
    const { ofPage } = explorer.colours;
    return {
      autosize: true,
      dragmode: false,
      uirevision: "kept",
      hovermode: "closest",
      showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: FONT, size: 13, color: ofPage("ink") },
      margin: { l: 64, r: 14, t: 10, b: 44 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ofPage("line"), activecolor: ofPage("ink") },
      ...more,
    };
  }

  /** The frame of a plane around the origin, as wide as high. */
  function plane(names, half) {
    const common = { range: [-half, half], constrain: "domain", zeroline: true, nticks: 7 };
    return frame({
      xaxis: axis(names[0], common),
      yaxis: axis(names[1], { ...common, scaleanchor: "x" }),
    });
  }

  /**
   * The axis of steps. On a logarithmic one, step 0 lies at the left end, half way before the first positive step.
   * @param {number[]} steps all of them
   * @param {boolean} logarithmic
   * @returns {{place: (step: number) => number, along: (place: number) => number, layout: object}} the place of a step
   *   in Plotly's terms, how far along the axis a place is, and Plotly's axis
   */
  function stepAxis(steps, logarithmic) {
    const first = steps.reduce((least, step) => (step > 0 && step < least ? step : least), Infinity);
    const last = steps.reduce((most, step) => Math.max(most, step), 0);
    if (!logarithmic || !(first < last)) {
      const same = (step) => step;
      return { place: same, along: same, layout: { range: [-0.01 * last, 1.01 * last || 1], tickformat: "," } };
    }
    const left = first / 2;
    const ticks = roundValues(first, last);
    const layout = {
      type: "log",
      range: [Math.log10(left), Math.log10(1.03 * last)],
      tickvals: [left, ...ticks],
      ticktext: ["0", ...ticks.map((tick) => tick.toLocaleString("en"))],
    };
    return { place: (step) => Math.max(step, left), along: Math.log10, layout };
  }

  /** Powers of ten between two values, six at most; where these are close, twice and five times those too. */
  function roundValues(first, last) {
    const digits = last >= 50 * first ? [1] : [1, 2, 5];
    const [low, high] = [Math.floor(Math.log10(first)), Math.floor(Math.log10(last))];
    const stride = Math.ceil((high - low) / 6) || 1;
    const ticks = [];
    for (let power = low; power <= high; power += stride) {
      ticks.push(...digits.map((digit) => Number(`${digit}e${power}`)));
    }
    return ticks.filter((tick) => tick >= first && tick <= last);
  }

  /** A logarithmic axis for these values, the positive ones. */
  function logAxis(values) {
    const positive = values.filter((value) => value > 0 && value < Infinity);
    const ticks = positive.length ? roundValues(Math.min(...positive), Math.max(...positive)) : [];
    return { type: "log", ...(ticks.length > 1 && { tickvals: ticks, ticktext: ticks.map(String) }) };
  }

  function draw(element, traces, layout) {
    return Plotly.react(element, traces, layout, CONFIG);
  }

  explorer.plots = { plain, axis, frame, plane, stepAxis, logAxis, draw };
})((globalThis.GrokExplorer ??= {}));
