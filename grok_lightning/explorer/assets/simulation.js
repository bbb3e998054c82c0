/** Panel 2: particles that move by clustering and alignment, while one watches. */
(function (explorer) {
  "use strict";

  const BLOWN_UP = "Stopped: the positions are no longer finite. The step size is too large: lower it, then press Reset.";
  const NOT_FINITE = "This frame has positions that are not finite: nothing to start from.";
  const [FEWEST, MOST] = [3, 31];
  const byId = (id) => document.getElementById(id);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;

  /** Whether the simulation can have so many particles. */
  function takes(count) {
    return count >= FEWEST && count <= MOST;
  }

  class Simulation {
    constructor() {
      this.settings = { kernel: byId("kernel").value };
      this.particles = new explorer.particles.Particles(this.settings);
      this.tokens = new explorer.scatter.Scatter(byId("particles"), 5);
      this.sums = new explorer.scatter.Scatter(byId("particle-sums"), 4);
      this.listen();
      this.player = new explorer.player.Player(
        byId("simulation"),
        byId("simulation-play"),
        byId("simulation-readouts"),
        () => this.advance(Number(byId("pace").value)),
      );
      this.reset();
    }

    /** Sliders with `data-setting` change the forces at once; modulus and seed mean a new start. */
    listen() {
      for (const slider of document.querySelectorAll("#simulation input[type=range]")) {
        slider.addEventListener("input", () => this.take(slider));
        this.take(slider);
      }
      byId("kernel").addEventListener("change", () => (this.settings.kernel = byId("kernel").value));
      byId("modulus").addEventListener("input", () => this.reset());
      byId("seed").addEventListener("change", () => this.reset());
      byId("reset").addEventListener("click", () => this.reset());
      byId("single-step").addEventListener("click", () => {
        this.player.pause();
        this.advance(1);
      });
    }

    /** Shows what a slider stands at, and applies it. */
    take(slider) {
      const digits = (slider.step.split(".")[1] ?? "").length;
      slider.labels[0].querySelector("output").textContent = Number(slider.value).toFixed(digits);
      if (slider.dataset.setting) this.settings[slider.dataset.setting] = Number(slider.value);
    }

    /** Back to where the seed puts the particles. */
    reset() {
      this.player.pause();
      this.particles.start(Number(byId("modulus").value), Number(byId("seed").value));
      this.restart("");
    }

    /** Starts from the embeddings of a frame of the run. @param {ArrayLike<number>} points */
    startFrom(points, step) {
      this.player.pause();
      const positions = Float64Array.from(points);
      if (!positions.every(Number.isFinite)) return this.warn(NOT_FINITE);
      byId("modulus").value = positions.length / 2;
      this.take(byId("modulus"));
      this.particles.start(positions.length / 2, 0, positions);
      this.restart(`Started from step ${step.toLocaleString("en")} of the run.`);
    }

    restart(origin) {
      byId("origin").textContent = origin;
      this.warn("");
      this.colours = explorer.colours.circle(this.particles.pairs.n);
      this.names = this.colours.map((_, token) => String(token));
      this.pairColours = Array.from(this.particles.pairs.label, (label) => this.colours[label]);
      this.tokens.forget();
      this.sums.forget();
      this.draw();
    }

    /** @returns {boolean} whether it can go on */
    advance(steps) {
      const fine = this.particles.advance(steps);
      this.warn(fine ? "" : BLOWN_UP);
      this.draw();
      return fine;
    }

    warn(text) {
      if (byId("warning").textContent !== text) byId("warning").textContent = text;
    }

    draw() {
      const { positions, sums } = this.particles;
      this.tokens.draw(positions, this.colours, this.names);
      this.sums.draw(sums, this.pairColours);
      this.showReadouts(positions, sums);
    }

    showReadouts(positions, sums) {
      const { purity, sameLabelShare, meanNorm } = explorer.structure;
      const found = purity(positions);
      byId("particle-step").textContent = this.particles.steps.toLocaleString("en");
      byId("mean-norm").textContent = meanNorm(positions).toPrecision(3);
      byId("purity").textContent = `${percent(found.purity)}, k = ${found.frequency}`;
      byId("same-label").textContent = percent(sameLabelShare(sums, this.particles.pairs.label));
    }
  }

  explorer.simulation = { takes, Simulation };
})((globalThis.GrokExplorer ??= {}));
