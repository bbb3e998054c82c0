/** Panel 1: the training of a run, frame by frame. */
(function (explorer) {
  "use strict";

  const { at } = explorer.data;
  const { valueAt, group, measure, select } = explorer.series;
  const FRAME_TIME = 100;
  const FIRST = ["structure", "forces"];
  const PROGRESS = ["loss", "accuracy"];
  const byId = (id) => document.getElementById(id);
  const isProgress = (name) => PROGRESS.includes(measure(name));

  const number = (value) => (Number.isFinite(value) ? value.toPrecision(3) : "–");
  const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : "–");

  class Training {
    /** @param {object} run @param {(points: Float32Array, step: number) => void} onSend takes the frame's embeddings */
    constructor(run, onSend) {
      Object.assign(this, { run, onSend, frame: run.steps.length - 1, copy: 0, pending: false });
      const pick = (frame) => this.show(frame);
      this.progress = new explorer.curves.Curves(byId("progress"), run.steps, pick);
      this.measures = new explorer.curves.Curves(byId("measures"), run.steps, pick);
      this.fill();
      this.listen();
      this.player = new explorer.player.Player(
        byId("training"),
        byId("training-play"),
        byId("training-readouts"),
        () => this.advance(),
        FRAME_TIME,
      );
      this.drawAll();
    }

    get points() {
      return at(this.run.positions, this.frame, this.copy);
    }

    get step() {
      return this.run.steps[this.frame];
    }

    /** Fills the choices that depend on the run, and takes away what it has nothing for. */
    fill() {
      const { run } = this;
      const [frames, copies] = run.positions.shape;
      byId("frame").max = byId("frame").value = frames - 1;
      byId("frame").disabled = byId("training-play").disabled = frames < 2;
      byId("copy").append(...Array.from({ length: copies }, (_, copy) => new Option(copy + 1, copy)));
      byId("copy-choice").hidden = copies < 2;
      byId("pairs-figure").hidden = byId("held-out-choice").hidden = !run.pairs;
      byId("map-note").hidden = !run.classMap;
      byId("spectrum-figure").hidden = !run.spectrum || !run.spectrum.shape[2];
      byId("plane-share").parentElement.hidden = !run.planeShare;
      byId("progress-figure").hidden = !this.rowsOfProgress().length;
      this.fillMeasures();
      this.fillSend();
    }

    fillSend() {
      const fits = explorer.simulation.takes(this.run.names.length);
      byId("send").hidden = !this.run.areResidues;
      byId("send").disabled = !fits;
      byId("send").title = fits ? "" : "The simulation takes 3 to 31 residues.";
    }

    /** The groups of measures to choose from: structure and forces before every other one. */
    fillMeasures() {
      const names = Object.keys(this.run.series).filter((name) => !isProgress(name));
      const groups = [...new Set(names.map(group))];
      this.groups = [...FIRST.filter((name) => groups.includes(name)), ...groups.filter((name) => !FIRST.includes(name))];
      byId("group").append(...this.groups.map((name) => new Option(name || "others", name)));
      byId("group-choice").hidden = this.groups.length < 2;
      byId("measures-figure").hidden = !this.groups.length;
    }

    listen() {
      byId("frame").addEventListener("input", () => this.show(Number(byId("frame").value)));
      for (const id of ["fixed-ranges", "held-out"]) byId(id).addEventListener("change", () => this.schedule());
      byId("log-steps").addEventListener("change", () => this.drawCurves());
      byId("group").addEventListener("change", () => this.drawCurves());
      byId("send").addEventListener("click", () => this.onSend(this.points, this.step));
      byId("copy").addEventListener("change", () => {
        this.copy = Number(byId("copy").value);
        this.schedule();
      });
    }

    /** The next frame. @returns {boolean} whether there is one more after it; from the last one it goes to the first */
    advance() {
      const frames = this.run.steps.length;
      this.show((this.frame + 1) % frames);
      return this.frame + 1 < frames;
    }

    show(frame) {
      this.frame = frame;
      byId("frame").value = frame;
      this.schedule();
    }

    /** Draws before the browser paints next, once, however many changes come until then. */
    schedule() {
      this.showReadouts();
      if (this.pending) return;
      this.pending = true;
      requestAnimationFrame(() => {
        this.pending = false;
        this.drawFrame();
      });
    }

    drawAll() {
      this.showReadouts();
      this.drawFrame();
      this.drawCurves();
    }

    showReadouts() {
      const { run, step } = this;
      const share = run.planeShare && at(run.planeShare, this.frame, this.copy)[0];
      byId("frame").setAttribute("aria-valuetext", `step ${step}`);
      byId("step").textContent = step.toLocaleString("en");
      byId("train-loss").textContent = number(valueAt(run.series["train/loss"], step));
      byId("val-accuracy").textContent = percent(valueAt(run.series["val/accuracy"], step));
      byId("plane-share").textContent = run.planeShare ? percent(share) : "";
    }

    drawFrame() {
      const { run, points, frame, copy, step } = this;
      const { drawEmbeddings, drawPairs, drawSpectrum } = explorer.planes;
      const half = this.halfWidths();
      drawEmbeddings(byId("embeddings"), run, points, half.embeddings);
      if (run.pairs) drawPairs(byId("pairs"), run, points, frame, half.pairs, byId("held-out").checked);
      if (!byId("spectrum-figure").hidden) drawSpectrum(byId("spectrum"), at(run.spectrum, frame, copy), this.topShare());
      this.progress.moveCursor(step);
      this.measures.moveCursor(step);
    }

    /** Half the widths of the two planes: for this frame, or for all of them. */
    halfWidths() {
      const { run, copy } = this;
      const frames = byId("fixed-ranges").checked ? [...run.steps.keys()] : [this.frame];
      const widest = (widthOf) => Math.max(...frames.map(widthOf));
      const sums = (frame) => explorer.planes.sumsOfPairs(run.pairs, at(run.positions, frame, copy)).flat();
      return {
        embeddings: widest((frame) => explorer.planes.halfWidth(at(run.positions, frame, copy))),
        pairs: run.pairs && widest((frame) => run.classMap?.halfWidth[frame] ?? explorer.planes.halfWidth(sums(frame))),
      };
    }

    topShare() {
      return this.run.steps.reduce((top, _, frame) => Math.max(top, ...at(this.run.spectrum, frame, this.copy)), 0);
    }

    /** Loss above accuracy; training and validation keep their colour in both. */
    rowsOfProgress() {
      const all = select(this.run.series, isProgress);
      const groups = [...new Set(all.map(({ name }) => group(name)))];
      const curvesOf = (kind) =>
        all
          .filter(({ name }) => measure(name) === kind)
          .map((curve) => ({ ...curve, label: group(curve.name), colour: groups.indexOf(group(curve.name)) }));
      const [losses, accuracies] = PROGRESS.map(curvesOf);
      const values = losses.flatMap((curve) => Array.from(curve.values));
      const rows = [
        { title: "loss", axis: explorer.plots.logAxis(values), curves: losses },
        { title: "accuracy", axis: { range: [-0.02, 1.04], tickformat: ".0%" }, curves: accuracies },
      ];
      return rows.filter(({ curves }) => curves.length);
    }

    rowsOfMeasures() {
      const chosen = byId("group").value;
      const curves = select(this.run.series, (name) => group(name) === chosen && !isProgress(name));
      const named = curves.map((curve, colour) => ({ ...curve, label: measure(curve.name).replaceAll("_", " "), colour }));
      return [{ title: chosen || "others", axis: {}, curves: named }];
    }

    drawCurves() {
      const logarithmic = byId("log-steps").checked;
      const rows = this.rowsOfProgress();
      if (rows.length) this.progress.show(rows, logarithmic, this.step);
      byId("forces-note").hidden = byId("group").value !== "forces";
      if (this.groups.length) this.measures.show(this.rowsOfMeasures(), logarithmic, this.step);
    }
  }

  explorer.training = { Training };
})((globalThis.GrokExplorer ??= {}));
