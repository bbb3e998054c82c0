/** How much structure particles have: pure functions of numbers. */
(function (explorer) {
  "use strict";

  /** |Σ_a e_a exp(−2πi k a / n)|², summed over both coordinates. */
  function powerAt(positions, k) {
    const n = positions.length / 2;
    let power = 0;
    for (let axis = 0; axis < 2; axis++) {
      let real = 0;
      let imaginary = 0;
      for (let a = 0; a < n; a++) {
        const angle = (2 * Math.PI * ((k * a) % n)) / n;
        real += positions[2 * a + axis] * Math.cos(angle);
        imaginary -= positions[2 * a + axis] * Math.sin(angle);
      }
      power += real * real + imaginary * imaginary;
    }
    return power;
  }

  /**
   * The largest share of the non-zero Fourier power that one frequency k and its mirror −k have, and this k.
   * @param {Float64Array} positions x and y of one particle after the other
   * @returns {{purity: number, frequency: number}} both 0 where all particles are equal
   */
  function purity(positions) {
    const n = positions.length / 2;
    let [total, most, frequency] = [0, 0, 0];
    for (let k = 1; 2 * k <= n; k++) {
      const power = (2 * k === n ? 1 : 2) * powerAt(positions, k);
      total += power;
      if (power > most) [most, frequency] = [power, k];
    }
    return { purity: total > 0 ? most / total : 0, frequency };
  }

  /** The share of sums whose nearest other sum, the first of equally near ones, has the same label. */
  function sameLabelShare(sums, label) {
    let same = 0;
    for (let p = 0; p < label.length; p++) {
      let [least, nearest] = [Infinity, -1];
      for (let q = 0; q < label.length; q++) {
        const [x, y] = [sums[2 * q] - sums[2 * p], sums[2 * q + 1] - sums[2 * p + 1]];
        const squared = x * x + y * y;
        if (q !== p && squared < least) [least, nearest] = [squared, q];
      }
      if (nearest >= 0 && label[nearest] === label[p]) same++;
    }
    return same / label.length;
  }

  /** The mean distance of particles from the origin. */
  function meanNorm(positions) {
    let total = 0;
    for (let a = 0; a < positions.length; a += 2) total += Math.hypot(positions[a], positions[a + 1]);
    return (2 * total) / positions.length;
  }

  explorer.structure = { purity, sameLabelShare, meanNorm };
})((globalThis.GrokExplorer ??= {}));
