/** Particles in motion: where they start, how they go on, when they must stop. No page in sight. */
(function (explorer) {
  "use strict";

  const SPREAD = 0.5;

  /** Numbers in [0, 1) that a seed decides: mulberry32. */
  function uniform(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  /** Normal coordinates of n particles, by Box and Muller: a radius and an angle give one particle. */
  function randomStart(n, seed) {
    const next = uniform(seed);
    const positions = new Float64Array(2 * n);
    for (let a = 0; a < n; a++) {
      const radius = SPREAD * Math.sqrt(-2 * Math.log(1 - next()));
      const angle = 2 * Math.PI * next();
      positions[2 * a] = radius * Math.cos(angle);
      positions[2 * a + 1] = radius * Math.sin(angle);
    }
    return positions;
  }

  /** A system of particles; its settings may be changed at any time. */
  class Particles {
    /** @param {import("./forces.js").Settings} settings */
    constructor(settings) {
      this.settings = settings;
      this.pairs = null;
      this.positions = null;
      this.steps = 0;
    }

    /** Starts anew, at places given or drawn by a seed. */
    start(n, seed, positions = randomStart(n, seed)) {
      this.pairs = explorer.forces.pairsOf(n);
      this.positions = positions;
      this.steps = 0;
    }

    /** Takes some steps. @returns {boolean} false where a step led nowhere: the particles stay before it */
    advance(count) {
      for (let taken = 0; taken < count; taken++) {
        const next = explorer.forces.step(this.positions, this.pairs, this.settings);
        if (!next.every(Number.isFinite)) return false;
        this.positions = next;
        this.steps++;
      }
      return true;
    }

    get sums() {
      return explorer.forces.sums(this.positions, this.pairs);
    }
  }

  explorer.particles = { randomStart, Particles };
})((globalThis.GrokExplorer ??= {}));
