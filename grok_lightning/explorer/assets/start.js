/** Brings the page to life. */
(function (explorer) {
  "use strict";

  const byId = (id) => document.getElementById(id);

  function element(kind, text) {
    const made = document.createElement(kind);
    made.textContent = text;
    return made;
  }

  function showHeader({ title, subtitle, notes }) {
    byId("title").textContent = title;
    byId("subtitle").textContent = subtitle;
    byId("notes").append(...notes.map((note) => element("li", note)));
    byId("notes").hidden = !notes.length;
  }

  function showResults(results) {
    const rows = Object.entries(results).map(([name, value]) => {
      const row = element("tr", "");
      const heading = element("th", name);
      heading.scope = "row";
      row.append(heading, element("td", value ?? "–"));
      return row;
    });
    byId("results").append(...rows);
    byId("results-of-run").hidden = !rows.length;
  }

  const run = explorer.data.read("run");
  explorer.colours.use(run);
  showHeader(run);
  showResults(run.results);
  const simulation = new explorer.simulation.Simulation();
  const training = new explorer.training.Training(run, (points, step) => {
    simulation.startFrom(points, step);
    byId("simulation").focus();
  });
  explorer.colours.onChange(() => {
    training.drawAll();
    simulation.draw();
  });
  explorer.page = { run, training, simulation };
})((globalThis.GrokExplorer ??= {}));
