/** Panel 2: particles that move by clustering and alignment, while one watches. */
(function (explorer) {
  "use strict";

  const { byId, percent, number, count } = explorer.common;
  const BLOWN_UP = "Stopped: the positions are no longer finite. The step size is too large: lower it, then press Reset.";
  const NOT_FINITE = "This frame has positions that are not finite: nothing to start from.";
  /** The slider of each force of a run. */
  const SLIDERS = { alignment: "beta", clustering: "c", range: "sigma", decay: "lambda", step_size: "eta" };

  /** Why the simulation cannot have so many particles; nothing where it can. */
  function refusal(particles) {
    const { min, max } = byId("modulus");
    const fits = particles >= Number(min) && particles <= Number(max);
    return fits ? "" : `The simulation takes ${min} to ${max} residues; this run has ${particles}.`;
  }

  /** Stands a slider at a value, which may be beyond its ends or between its steps. */
  function place(slider, value) {
    slider.min = Math.min(slider.min, value);
    slider.max = Math.max(slider.max, value);
    slider.value = value;
    if (Number(slider.value) === value) return;
    slider.step = "any";
    slider.value = value;
  }

  /** What a slider stands at, with as many digits as its steps have. */
  function written({ value, step }) {
    if (step === "any") return String(Number(Number(value).toPrecision(4)));
    return Number(value).toFixed((step.split(".")[1] ?? "").length);
  }

  class Simulation {
    /** @param {Object<string, number|string>|null} forces what the sliders begin with */
    constructor(forces) {
      this.sent = null;
      this.useForces(forces);
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

    useForces(forces) {
      byId("forces-of-run").hidden = !forces;
      if (!forces) return;
      for (const [name, id] of Object.entries(SLIDERS)) place(byId(id), forces[name]);
      byId("kernel").value = forces.kernel;
    }

    /** Sliders with `data-setting` change the forces at once; modulus and seed mean a new start. */
    listen() {
      for (const slider of document.querySelectorAll("#simulation input[type=range]")) {
        slider.addEventListener("input", () => this.take(slider));
        this.take(slider);
      }
      byId("kernel").addEventListener("change", () => (this.settings.kernel = byId("kernel").value));
      byId("modulus").addEventListener("input", () => this.startAtRandom());
      byId("seed").addEventListener("change", () => this.startAtRandom());
      byId("reset").addEventListener("click", () => this.reset());
      byId("single-step").addEventListener("click", () => {
        this.player.pause();
        this.advance(1);
      });
    }

    /** Shows what a slider stands at, and applies it. */
    take(slider) {
      slider.labels[0].querySelector("output").textContent = written(slider);
      if (slider.dataset.setting) this.settings[slider.dataset.setting] = Number(slider.value);
    }

    /** Starts where the seed puts the particles. */
    startAtRandom() {
      this.sent = null;
      this.reset();
    }

    /**
     * Starts from the embeddings of a frame of the run.
     * @param {ArrayLike<number>} points
     * @param {string} origin where in the run they are from
     */
    startFrom(points, origin) {
      this.player.pause();
      const positions = Float64Array.from(points);
      if (!positions.every(Number.isFinite)) return this.warn(NOT_FINITE);
      byId("modulus").value = positions.length / 2;
      this.take(byId("modulus"));
      this.sent = { positions, origin };
      this.reset();
    }

    /** Back to the start: to what was sent, or to where the seed puts the particles. */
    reset() {
      this.player.pause();
      const [modulus, seed] = [Number(byId("modulus").value), Number(byId("seed").value)];
      this.particles.start(modulus, seed, this.sent?.positions);
      byId("origin").textContent = `Started from ${this.sent?.origin ?? `random places, seed ${seed}`}.`;
      this.warn("");
      this.colours = explorer.colours.circle(modulus);
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
      byId("particle-step").textContent = count(this.particles.steps);
      byId("mean-norm").textContent = number(meanNorm(positions));
      byId("purity").textContent = `${percent(found.purity)}, k = ${found.frequency}`;
      byId("same-label").textContent = percent(sameLabelShare(sums, this.particles.pairs.label));
    }
  }

  explorer.simulation = { refusal, Simulation };
})((globalThis.GrokExplorer ??= {}));
