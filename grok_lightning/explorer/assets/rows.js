/** Which logged series are drawn together, in rows one below the other. */
(function (explorer) {
  "use strict";

  const { group, measure, select } = explorer.series;
  const PROGRESS = ["loss", "accuracy"];
  const FIRST = ["structure", "forces"];
  const SHARE = { range: [-0.02, 1.04], tickformat: ".0%" };
  /** Measures of a group that have rows of their own, above all others; what is counted is of another kind. */
  const APART = {
    structure: [
      { title: "share", axis: SHARE, measures: ["circle", "grid", "line", "other"] },
      { title: "norm", axis: {}, measures: ["norm"] },
    ],
  };
  const isProgress = (name) => PROGRESS.includes(measure(name));

  /** The groups to choose from: structure and forces before every other one. */
  function groupsOf(series) {
    const groups = new Set(Object.keys(series).filter((name) => !isProgress(name)).map(group));
    return [...new Set([...FIRST.filter((name) => groups.has(name)), ...groups])];
  }

  /** Loss above accuracy; training and validation look the same in both. @returns {import("./curves.js").Row[]} */
  function progress(series) {
    const all = select(series, isProgress);
    const groups = [...new Set(all.map(({ name }) => group(name)))];
    const curvesOf = (kind) =>
      all
        .filter(({ name }) => measure(name) === kind)
        .map((curve) => ({ ...curve, label: group(curve.name), look: groups.indexOf(group(curve.name)) }));
    const [losses, accuracies] = PROGRESS.map(curvesOf);
    const values = losses.flatMap((curve) => Array.from(curve.values));
    const rows = [
      { title: "loss", axis: explorer.plots.logAxis(values), curves: losses },
      { title: "accuracy", axis: SHARE, curves: accuracies },
    ];
    return rows.filter(({ curves }) => curves.length);
  }

  /** All measures of a group, no two of which look alike. @returns {import("./curves.js").Row[]} */
  function measures(series, chosen) {
    const all = select(series, (name) => group(name) === chosen && !isProgress(name));
    const apart = APART[chosen] ?? [];
    const known = apart.flatMap((row) => row.measures);
    const curvesOf = (wanted) => all.filter(({ name }) => wanted(measure(name)));
    const rows = [
      ...apart.map((row) => ({ ...row, curves: curvesOf((name) => row.measures.includes(name)) })),
      { title: chosen || "others", axis: {}, curves: curvesOf((name) => !known.includes(name)) },
    ];
    let look = 0;
    const dressed = (curve) => ({ ...curve, label: measure(curve.name).replaceAll("_", " "), look: look++ });
    return rows.filter(({ curves }) => curves.length).map((row) => ({ ...row, curves: row.curves.map(dressed) }));
  }

  explorer.rows = { groupsOf, progress, measures };
})((globalThis.GrokExplorer ??= {}));
