/** Logged series: their groups, and their values at a step. */
(function (explorer) {
  "use strict";

  /**
   * @typedef {{steps: ArrayLike<number>, values: ArrayLike<number>}} Series
   * @typedef {{name: string, steps: ArrayLike<number>, values: ArrayLike<number>}} Named
   */

  /** The place of the last entry at or before a step, −1 where there is none. */
  function before(steps, step) {
    let low = -1;
    let high = steps.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The last value logged at or before a step, NaN where there is none. */
  function valueAt(series, step) {
    const place = series ? before(series.steps, step) : -1;
    return place < 0 ? NaN : series.values[place];
  }

  /** The place of the entry nearest to `wanted`, the first of two equally near ones. */
  function nearest(entries, wanted) {
    const distances = Array.from(entries, (entry) => Math.abs(entry - wanted));
    return distances.indexOf(Math.min(...distances));
  }

  /** "structure" of "structure/purity": what stands before the last stroke. */
  function group(name) {
    return name.slice(0, Math.max(0, name.lastIndexOf("/")));
  }

  /** "purity" of "structure/purity". */
  function measure(name) {
    return name.slice(name.lastIndexOf("/") + 1);
  }

  /**
   * Those series that are wanted, with their names.
   * @param {Object<string, Series>} all
   * @param {(name: string) => boolean} wanted
   * @returns {Named[]}
   */
  function select(all, wanted) {
    return Object.keys(all)
      .filter(wanted)
      .map((name) => ({ name, steps: all[name].steps, values: all[name].values }));
  }

  explorer.series = { before, valueAt, nearest, group, measure, select };
})((globalThis.GrokExplorer ??= {}));
