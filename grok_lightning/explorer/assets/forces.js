/**
 * The forces between the sums of particles, and what they do to the particles: pure functions of numbers.
 *
 * A reconstruction of Musat, "Clustering and alignment" (arXiv 2408.09414). Particles e_a lie in the plane. The P
 * unordered pairs p = (a ≤ b) have the sums s_p = e_a + e_b and the labels y_p = (a + b) mod n; sums of equal labels
 * attract each other, all others repel: w_pq = [y_p = y_q] − 1/n.
 */
(function (explorer) {
  "use strict";

  const STRENGTH = 10;

  /**
   * Points are flat: x and y of the first, x and y of the second, ….
   * @typedef {Float64Array} Points
   * @typedef {{n: number, first: Uint16Array, second: Uint16Array, label: Uint16Array}} Pairs
   * @typedef {{beta: number, c: number, sigma: number, lambda: number, eta: number, kernel: string}} Settings
   */

  /** How strongly two sums at a squared distance act on each other. */
  const KERNELS = {
    gaussian: (squared, sigma) => Math.exp(-squared / (2 * sigma * sigma)),
    rational: (squared, sigma) => 1 / (sigma * sigma + squared),
  };

  /** All unordered pairs of n tokens. @returns {Pairs} */
  function pairsOf(n) {
    const count = (n * (n + 1)) / 2;
    const pairs = { n, first: new Uint16Array(count), second: new Uint16Array(count), label: new Uint16Array(count) };
    let p = 0;
    for (let a = 0; a < n; a++) {
      for (let b = a; b < n; b++, p++) {
        pairs.first[p] = a;
        pairs.second[p] = b;
        pairs.label[p] = (a + b) % n;
      }
    }
    return pairs;
  }

  /** s_p of every pair. @returns {Points} */
  function sums(positions, { first, second }) {
    const result = new Float64Array(2 * first.length);
    for (let p = 0; p < first.length; p++) {
      result[2 * p] = positions[2 * first[p]] + positions[2 * second[p]];
      result[2 * p + 1] = positions[2 * first[p] + 1] + positions[2 * second[p] + 1];
    }
    return result;
  }

  /** Σ_q w_pq k(|s_q − s_p|) (s_q − s_p), times 10/P. What q does to p, p does to q, the other way. */
  function clustering(s, { n, label }, { sigma, kernel }) {
    const count = label.length;
    const strengthAt = KERNELS[kernel];
    const force = new Float64Array(2 * count);
    for (let p = 0; p < count; p++) {
      for (let q = p + 1; q < count; q++) {
        const x = s[2 * q] - s[2 * p];
        const y = s[2 * q + 1] - s[2 * p + 1];
        const weight = (label[p] === label[q] ? 1 : 0) - 1 / n;
        const pull = (STRENGTH / count) * weight * strengthAt(x * x + y * y, sigma);
        force[2 * p] += pull * x;
        force[2 * p + 1] += pull * y;
        force[2 * q] -= pull * x;
        force[2 * q + 1] -= pull * y;
      }
    }
    return force;
  }

  /** s_p / |s_p|, and 0 for a sum at the origin. @returns {Points} */
  function directions(s) {
    return s.map((_, index) => {
      const p = index - (index % 2);
      const length = Math.hypot(s[p], s[p + 1]);
      return length > 0 ? s[index] / length : 0;
    });
  }

  /** Σ_q w_pq cos θ_pq (u_q − cos θ_pq u_p), times 10/P, with u = s/|s| and cos θ_pq = u_p · u_q. */
  function alignment(s, { n, label }) {
    const count = label.length;
    const u = directions(s);
    const force = new Float64Array(2 * count);
    for (let p = 0; p < count; p++) {
      const [x, y] = [u[2 * p], u[2 * p + 1]];
      for (let q = 0; q < count; q++) {
        const cosine = x * u[2 * q] + y * u[2 * q + 1];
        const weight = (label[p] === label[q] ? 1 : 0) - 1 / n;
        const turn = (STRENGTH / count) * weight * cosine;
        force[2 * p] += turn * (u[2 * q] - cosine * x);
        force[2 * p + 1] += turn * (u[2 * q + 1] - cosine * y);
      }
    }
    return force;
  }

  /** The force on every particle: that on each of its sums, twice that on its double, divided by n. @returns {Points} */
  function onTokens(positions, pairs, settings) {
    const s = sums(positions, pairs);
    const clusters = clustering(s, pairs, settings);
    const aligns = alignment(s, pairs);
    const force = new Float64Array(positions.length);
    for (let p = 0; p < pairs.label.length; p++) {
      for (let axis = 0; axis < 2; axis++) {
        const both = settings.c * clusters[2 * p + axis] + settings.beta * aligns[2 * p + axis];
        force[2 * pairs.first[p] + axis] += both / pairs.n;
        force[2 * pairs.second[p] + axis] += both / pairs.n;
      }
    }
    return force;
  }

  /** Where the particles are a step later: e + η (f − λ e). @returns {Points} */
  function step(positions, pairs, settings) {
    const force = onTokens(positions, pairs, settings);
    return positions.map((place, index) => place + settings.eta * (force[index] - settings.lambda * place));
  }

  explorer.forces = { pairsOf, sums, clustering, alignment, onTokens, step };
})((globalThis.GrokExplorer ??= {}));
