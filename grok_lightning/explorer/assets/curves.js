/** Curves over the steps of training, with a cursor at the frame that is shown. */
(function (explorer) {
  "use strict";

  const { plain, axis, frame, stepAxis, draw } = explorer.plots;
  const GAP = 0.07;

  /**
   * One set of axes below the other.
   * @typedef {{name: string, label: string, look: number, steps: ArrayLike<number>, values: ArrayLike<number>}} Curve
   * @typedef {{title: string, axis: object, curves: Curve[]}} Row
   */

  /** The part of the height that a row has, the first one at the top. */
  function domain(row, rows) {
    const height = (1 - GAP * (rows - 1)) / rows;
    const from = (rows - 1 - row) * (height + GAP);
    return [from, from + height];
  }

  /** A label is named once, however many rows have it. */
  function traces(rows, place) {
    const named = new Set();
    return rows.flatMap(({ curves }, row) =>
      curves.map(({ label, look, steps, values }) => {
        const first = !named.has(label);
        const { color, dash, symbol } = explorer.colours.curve(look);
        named.add(label);
        return {
          name: plain(label),
          legendgroup: label,
          showlegend: first,
          x: Array.from(steps, place),
          y: Array.from(values),
          customdata: Array.from(steps),
          yaxis: row ? `y${row + 1}` : "y",
          mode: steps.length > 1 ? "lines" : "markers",
          line: { color, dash, width: 2 },
          marker: { color, symbol, size: 8 },
          hovertemplate: "%{fullData.name}: %{y:.4g} at step %{customdata:,}<extra></extra>",
        };
      }),
    );
  }

  class Curves {
    /**
     * @param {HTMLElement} element
     * @param {number[]} frames the steps of the frames
     * @param {(frame: number) => void} onPick told the frame nearest to a click
     */
    constructor(element, frames, onPick) {
      Object.assign(this, { element, frames, onPick, axis: null });
    }

    /** Draws all anew. @param {Row[]} rows */
    async show(rows, logarithmic, step) {
      if (!rows.length) return;
      const steps = rows.flatMap((row) => row.curves.flatMap((curve) => Array.from(curve.steps)));
      this.axis = stepAxis([...this.frames, ...steps], logarithmic);
      const titles = rows.map(({ title }) => title).join();
      const anchor = rows.length > 1 ? `y${rows.length}` : "y";
      const layout = frame({
        showlegend: true,
        legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom" },
        uirevision: titles,
        clickanywhere: true,
        shapes: [this.cursor(step)],
        xaxis: axis("step", { ...this.axis.layout, anchor, uirevision: `${logarithmic}` }),
      });
      rows.forEach((row, index) => {
        const name = index ? `yaxis${index + 1}` : "yaxis";
        layout[name] = axis(row.title, { ...row.axis, domain: domain(index, rows.length) });
      });
      this.element.classList.toggle("tall", rows.length > 2);
      await draw(this.element, traces(rows, this.axis.place), layout);
      if (!this.listens) this.listen();
    }

    cursor(step) {
      const x = this.axis.place(step);
      const line = { color: explorer.colours.ofPage("ink"), width: 1.4, dash: "dot" };
      return { type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line };
    }

    moveCursor(step) {
      if (!this.axis) return;
      const x = this.axis.place(step);
      Plotly.relayout(this.element, { "shapes[0].x0": x, "shapes[0].x1": x });
    }

    listen() {
      this.listens = true;
      this.element.on("plotly_click", (event) => {
        const { along, place } = this.axis;
        const clicked = event.xvals ? event.xvals[0] : event.points[0].x;
        const places = this.frames.map((step) => along(place(step)));
        this.onPick(explorer.series.nearest(places, along(clicked)));
      });
    }
  }

  explorer.curves = { Curves };
})((globalThis.GrokExplorer ??= {}));
