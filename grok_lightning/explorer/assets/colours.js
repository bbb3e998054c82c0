/** The colours of the project, in light and in darkness. */
(function (explorer) {
  "use strict";

  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const SYMBOLS = ["circle", "square", "diamond", "cross", "x", "triangle-up"];
  let palette = [];
  let hues = [];

  /** @param {{palette: string[], cycle: string[]}} colours of grok_lightning.figures, as #rrggbb */
  function use(colours) {
    palette = colours.palette;
    hues = colours.cycle.map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));
  }

  /** The colour at a place of the circle, which begins anew at every whole number. */
  function around(place) {
    const along = (place - Math.floor(place)) * (hues.length - 1);
    const before = Math.floor(along);
    const mixed = hues[before].map((part, index) => part + (along - before) * (hues[before + 1][index] - part));
    return `rgb(${mixed.map(Math.round).join(",")})`;
  }

  /** As many colours as there are residues, in their order around the circle. */
  function circle(count) {
    return Array.from({ length: count }, (_, residue) => around(residue / count));
  }

  /** What the style sheet says, which follows light and dark. */
  function ofPage(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  /**
   * The look of one curve among others: when the colours are used up they begin anew with another dash, and single
   * points with another symbol. The palette ends in black, which darkness would hide.
   */
  function curve(index) {
    const known = [...palette.slice(0, -1), ofPage("ink"), ofPage("muted")];
    const round = Math.floor(index / known.length) % DASHES.length;
    return { color: known[index % known.length], dash: DASHES[round], symbol: SYMBOLS[round] };
  }

  /** Calls back when the page turns from light to dark or back. */
  function onChange(redraw) {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  explorer.colours = { use, around, circle, ofPage, curve, onChange };
})((globalThis.GrokExplorer ??= {}));
