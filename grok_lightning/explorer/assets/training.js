/** Panel 1: the training of a run, frame by frame. */
(function (explorer) {
  "use strict";

  const { at } = explorer.data;
  const { valueAt } = explorer.series;
  const { byId, number, percent, count } = explorer.common;
  const FRAME_TIME = 100;

  class Training {
    /**
     * @param {object} run
     * @param {(points: Float32Array, place: string) => void} onSend takes the frame's embeddings
     */
    constructor(run, onSend) {
      Object.assign(this, { run, onSend, frame: run.steps.length - 1, copy: 0, pending: false });
      const pick = (frame) => this.show(frame);
      this.ranges = new explorer.ranges.Ranges(run);
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

    get copies() {
      return this.run.positions.shape[1];
    }

    /** Fills the choices that depend on the run, and takes away what it has nothing for. */
    fill() {
      const { run, copies } = this;
      byId("frame").max = run.steps.length - 1;
      byId("frame").value = this.frame; // only now: a slider cuts off what is beyond its end
      byId("frame").disabled = byId("training-play").disabled = run.steps.length < 2;
      byId("copy").append(...Array.from({ length: copies }, (_, copy) => new Option(copy + 1, copy)));
      byId("copy-choice").hidden = copies < 2;
      byId("held-out-choice").hidden = !run.pairs;
      byId("spectrum-figure").hidden = !run.spectrum || !run.spectrum.shape[2];
      byId("plane-share").parentElement.hidden = !run.planeShare;
      byId("progress-figure").hidden = !explorer.rows.progress(run.series).length;
      this.fillPairs();
      this.fillGroups();
      this.fillSend();
    }

    fillPairs() {
      const { pairs, classMap } = this.run;
      const sums = `Sums of pairs, coloured by label${classMap ? ", over the predicted class" : ""}`;
      byId("pairs-figure").hidden = !pairs && !classMap;
      byId("pairs-caption").textContent = pairs ? sums : "Predicted class of each sum";
    }

    fillGroups() {
      const groups = explorer.rows.groupsOf(this.run.series);
      byId("group").append(...groups.map((name) => new Option(name || "others", name)));
      byId("group-choice").hidden = groups.length < 2;
      byId("measures-figure").hidden = !groups.length;
    }

    /** The simulation adds modulo n: nothing else is offered to it. */
    fillSend() {
      const refusal = explorer.simulation.refusal(this.run.names.length);
      byId("send-choice").hidden = !this.run.isAddition;
      byId("send").disabled = Boolean(refusal);
      byId("send-note").textContent = refusal;
    }

    listen() {
      byId("frame").addEventListener("input", () => this.show(Number(byId("frame").value)));
      for (const id of ["fixed-ranges", "held-out"]) byId(id).addEventListener("change", () => this.schedule());
      for (const id of ["log-steps", "group"]) byId(id).addEventListener("change", () => this.drawCurves());
      byId("send").addEventListener("click", () => this.onSend(this.points, this.place()));
      byId("copy").addEventListener("change", () => {
        this.copy = Number(byId("copy").value);
        this.schedule();
      });
    }

    /** Where in the run the frame is. */
    place() {
      const simulation = this.copies > 1 ? `, simulation ${this.copy + 1}` : "";
      return `step ${count(this.step)} of the run${simulation}`;
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
      this.colours = explorer.planes.classColours(this.run);
      this.showReadouts();
      this.drawFrame();
      this.drawCurves();
    }

    showReadouts() {
      const { run, step } = this;
      const share = run.planeShare && at(run.planeShare, this.frame, this.copy)[0];
      byId("frame").setAttribute("aria-valuetext", `step ${step}`);
      byId("step").textContent = count(step);
      byId("train-loss").textContent = number(valueAt(run.series["train/loss"], step));
      byId("val-accuracy").textContent = percent(valueAt(run.series["val/accuracy"], step));
      byId("plane-share").textContent = run.planeShare ? percent(share) : "";
    }

    drawFrame() {
      const { run, points, frame, copy, colours, ranges } = this;
      const { drawEmbeddings, drawPairs, drawSpectrum } = explorer.planes;
      const half = byId("fixed-ranges").checked ? ranges.ofAll(copy) : ranges.of(frame, copy);
      const pairs = { points, frame, half: half.pairs, colours, heldOut: byId("held-out").checked };
      drawEmbeddings(byId("embeddings"), run, points, half.embeddings);
      if (!byId("pairs-figure").hidden) drawPairs(byId("pairs"), run, pairs);
      if (!byId("spectrum-figure").hidden) {
        drawSpectrum(byId("spectrum"), at(run.spectrum, frame, copy), ranges.topShare(copy));
      }
      this.progress.moveCursor(this.step);
      this.measures.moveCursor(this.step);
    }

    drawCurves() {
      const { series } = this.run;
      const logarithmic = byId("log-steps").checked;
      const chosen = byId("group").value;
      byId("forces-note").hidden = chosen !== "forces";
      this.progress.show(explorer.rows.progress(series), logarithmic, this.step);
      this.measures.show(explorer.rows.measures(series, chosen), logarithmic, this.step);
    }
  }

  explorer.training = { Training };
})((globalThis.GrokExplorer ??= {}));
