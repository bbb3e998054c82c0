/** What both panels need: the elements of the page, and numbers as text. */
(function (explorer) {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const number = (value) => (Number.isFinite(value) ? value.toPrecision(3) : "–");
  const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : "–");
  const count = (value) => value.toLocaleString("en");

  explorer.common = { byId, number, percent, count };
})((globalThis.GrokExplorer ??= {}));
