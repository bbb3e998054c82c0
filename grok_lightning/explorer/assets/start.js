/** Brings the page to life. */
(function (explorer) {
  "use strict";

  const { byId } = explorer.common;

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

  /** Shows the run that stands in the page. */
  function start() {
    const run = explorer.data.read("run");
    explorer.colours.use(run);
    showHeader(run);
    showResults(run.results);
    const simulation = new explorer.simulation.Simulation(run.forces);
    const training = new explorer.training.Training(run, (points, place) => {
      simulation.startFrom(points, place);
      byId("simulation").focus();
    });
    explorer.page = { run, training, simulation };
  }

  explorer.colours.onChange(() => {
    explorer.page.training.drawAll();
    explorer.page.simulation.draw();
  });
  explorer.start = start;
  start();
})((globalThis.GrokExplorer ??= {}));
