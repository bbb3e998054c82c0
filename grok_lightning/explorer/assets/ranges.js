/** How much of each plane must be seen: at one frame, or at all frames of a simulation. */
(function (explorer) {
  "use strict";

  const { at } = explorer.data;
  const { halfWidth, sumsOfPairs } = explorer.planes;

  class Ranges {
    constructor(run) {
      Object.assign(this, { run, widest: new Map(), highest: new Map() });
    }

    /** Half the widths of the two planes at a frame. */
    of(frame, copy) {
      const points = at(this.run.positions, frame, copy);
      return { embeddings: halfWidth(points), pairs: this.ofPairs(frame, points) };
    }

    /** The square of the map, if there is one: it holds all sums. */
    ofPairs(frame, points) {
      const { pairs, classMap } = this.run;
      if (classMap) return classMap.halfWidth[frame];
      return pairs ? halfWidth(sumsOfPairs(pairs, points).flat()) : 1;
    }

    /** Half the widths that suit every frame: worked out once for each simulation. */
    ofAll(copy) {
      return remembered(this.widest, copy, () => {
        const all = this.run.steps.map((_, frame) => this.of(frame, copy));
        const most = (plane) => all.reduce((widest, half) => Math.max(widest, half[plane]), 0);
        return { embeddings: most("embeddings"), pairs: most("pairs") };
      });
    }

    /** The largest share of any frequency in any frame. */
    topShare(copy) {
      const { steps, spectrum } = this.run;
      const highest = () => steps.reduce((top, _, frame) => Math.max(top, ...at(spectrum, frame, copy)), 0);
      return remembered(this.highest, copy, highest);
    }
  }

  function remembered(known, key, make) {
    if (!known.has(key)) known.set(key, make());
    return known.get(key);
  }

  explorer.ranges = { Ranges };
})((globalThis.GrokExplorer ??= {}));
