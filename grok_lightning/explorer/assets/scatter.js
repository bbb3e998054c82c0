/** Points in a plane, drawn on a canvas: cheap enough for a simulation. */
(function (explorer) {
  "use strict";

  const ROOM = 1.2;
  const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

  /** 1, 2 or 5 times a power of ten: a distance between lines that leaves about three on each side of the origin. */
  function spacing(half) {
    const ten = 10 ** Math.floor(Math.log10(half / 3));
    return ten * [1, 2, 5, 10].find((digit) => half / (digit * ten) <= 4);
  }

  class Scatter {
    /** @param {HTMLCanvasElement} canvas @param {number} radius of a point, in pixels */
    constructor(canvas, radius) {
      Object.assign(this, { canvas, radius, half: 0, shown: null });
      this.pen = canvas.getContext("2d");
      new ResizeObserver(() => this.redraw()).observe(canvas);
    }

    /** Lets the next drawing choose how much of the plane it shows. */
    forget() {
      this.half = 0;
    }

    /** @param {Float64Array} points @param {string[]} colours of each @param {string[]} [names] */
    draw(points, colours, names = []) {
      this.shown = { points, colours, names };
      this.redraw();
    }

    redraw() {
      if (!this.shown || !this.canvas.clientWidth) return;
      this.fit();
      this.drawGrid();
      this.drawPoints();
      this.drawNames();
    }

    /** The plane grows as soon as a point would leave it, and shrinks when little of it is used. */
    fit() {
      const needed = this.shown.points.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
      if (needed * 1.05 > this.half || needed < 0.6 * this.half) this.half = ROOM * needed;
      const [side, ratio] = [this.canvas.clientWidth, devicePixelRatio];
      if (this.canvas.width !== Math.round(side * ratio)) {
        this.canvas.width = this.canvas.height = Math.round(side * ratio);
      }
      this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.pen.font = FONT;
      this.side = side;
    }

    /** Where a coordinate lies from the left, in pixels of the page. From the top, it is that of its negative. */
    place(value) {
      return ((value / this.half + 1) * this.side) / 2;
    }

    drawGrid() {
      const { pen, side } = this;
      const { ofPage } = explorer.colours;
      const step = spacing(this.half);
      pen.clearRect(0, 0, side, side);
      pen.fillStyle = ofPage("muted");
      for (let line = -Math.floor(this.half / step); line * step < this.half; line++) {
        const [across, down] = [this.place(line * step), this.place(-line * step)];
        pen.strokeStyle = ofPage(line ? "grid" : "line");
        pen.beginPath();
        pen.moveTo(across, 0);
        pen.lineTo(across, side);
        pen.moveTo(0, down);
        pen.lineTo(side, down);
        pen.stroke();
        const label = String(Number((line * step).toPrecision(2)));
        pen.fillText(label, across + 3, side - 5);
        if (line) pen.fillText(label, 3, down - 4);
      }
    }

    drawPoints() {
      const { pen, radius } = this;
      const { points, colours } = this.shown;
      for (let point = 0; point < colours.length; point++) {
        pen.fillStyle = colours[point];
        pen.beginPath();
        pen.arc(this.place(points[2 * point]), this.place(-points[2 * point + 1]), radius, 0, 2 * Math.PI);
        pen.fill();
      }
    }

    drawNames() {
      const { pen, radius } = this;
      const { points, names } = this.shown;
      pen.fillStyle = explorer.colours.ofPage("ink");
      names.forEach((name, point) => {
        pen.fillText(name, this.place(points[2 * point]) + radius + 2, this.place(-points[2 * point + 1]) - radius);
      });
    }
  }

  explorer.scatter = { Scatter };
})((globalThis.GrokExplorer ??= {}));
