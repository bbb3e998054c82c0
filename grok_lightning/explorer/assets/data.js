/** The run the page shows, as it stands in the page: JSON with packed arrays. */
(function (explorer) {
  "use strict";

  const KINDS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

  /**
   * Numbers in rows and columns.
   * @typedef {Uint8Array|Uint16Array|Uint32Array|Float32Array} Numbers
   * @typedef {{shape: number[], numbers: Numbers}} Block
   */

  /** What has one dimension is just its numbers. @returns {Numbers|Block} */
  function unpack({ kind, shape, bytes }) {
    const raw = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
    const numbers = new KINDS[kind](raw.buffer);
    return shape.length === 1 ? numbers : { shape, numbers };
  }

  /**
   * The part of a block at the given places of its first dimensions.
   * @param {Block} block
   * @param {...number} places
   */
  function at(block, ...places) {
    const size = block.shape.slice(places.length).reduce((product, extent) => product * extent, 1);
    const place = places.reduce((sum, index, dimension) => sum * block.shape[dimension] + index, 0);
    return block.numbers.subarray(place * size, (place + 1) * size);
  }

  /** Every second number from the first (`axis` 0) or the second (`axis` 1) on. */
  function coordinates(points, axis) {
    return Float64Array.from({ length: points.length / 2 }, (_, index) => points[2 * index + axis]);
  }

  /** Replaces whatever is packed, however deep, by its numbers. */
  function unpackAll(value) {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(unpackAll);
    if ("bytes" in value && value.kind in KINDS) return unpack(value);
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpackAll(inner)]));
  }

  /** Reads the run from the script element with this id. */
  function read(id) {
    return unpackAll(JSON.parse(document.getElementById(id).textContent));
  }

  explorer.data = { read, at, coordinates };
})((globalThis.GrokExplorer ??= {}));
