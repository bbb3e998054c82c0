/** What a frame of the training looks like: its embeddings, the sums of pairs, and the spectrum. */
(function (explorer) {
  "use strict";

  const { at, coordinates } = explorer.data;
  const { plain, axis, frame, plane, draw } = explorer.plots;
  const ROOM = 1.15;
  const PALE = 0.32;

  /** Half the width of a plane that shows all these points, with some room. */
  function halfWidth(points) {
    const largest = points.reduce((most, value) => (Math.abs(value) > most ? Math.abs(value) : most), 0);
    return largest > 0 && largest < Infinity ? ROOM * largest : 1;
  }

  /** One more than the largest, 0 if there are none. */
  function countOf(numbers = []) {
    return numbers.reduce((most, number) => Math.max(most, number + 1), 0);
  }

  /** A colour for each class: once around the circle, or around the labels that there are. */
  function classColours(run) {
    const classes = countOf(run.classMap?.classes.numbers);
    const labels = run.areResidues ? run.names.length : countOf(run.pairs?.label) || classes;
    const beyond = Math.max(0, classes - labels);
    return [...explorer.colours.circle(labels), ...Array(beyond).fill(explorer.colours.ofPage("muted"))];
  }

  /** A class by the name of the token that it is, if it is one. */
  function className(run, number) {
    return plain(run.names[number] ?? number);
  }

  /** Every token with its name, in the order of the circle where it is a residue. */
  function drawEmbeddings(element, run, points, half) {
    const ink = explorer.colours.ofPage("ink");
    const names = run.names.map(plain);
    const trace = {
      x: coordinates(points, 0),
      y: coordinates(points, 1),
      text: names,
      mode: "markers+text",
      textposition: "top center",
      textfont: { size: names.length > 40 ? 10 : 12 },
      cliponaxis: false,
      marker: { size: 9, color: run.areResidues ? explorer.colours.circle(names.length) : ink },
      hovertemplate: "%{text}: (%{x:.4g}, %{y:.4g})<extra></extra>",
    };
    return draw(element, [trace], plane(run.axes, half));
  }

  /** The sum of every pair, in float64. @returns {number[][]} one point a pair */
  function sumsOfPairs({ first, second }, points) {
    return Array.from(first, (a, pair) => {
      const b = second[pair];
      return [points[2 * a] + points[2 * b], points[2 * a + 1] + points[2 * b + 1]];
    });
  }

  /** Those sums that training sees, or those it does not, which are hollow. */
  function pairTrace(run, sums, colours, heldOut) {
    const { first, second, label } = run.pairs;
    const chosen = [...sums.keys()].filter((pair) => Boolean(run.pairs.heldOut[pair]) === heldOut);
    const named = (pair) => `${run.names[first[pair]]}, ${run.names[second[pair]]}`;
    return {
      name: heldOut ? "held out" : "training",
      x: chosen.map((pair) => sums[pair][0]),
      y: chosen.map((pair) => sums[pair][1]),
      text: chosen.map((pair) => `${plain(named(pair))} → ${className(run, label[pair])}`),
      mode: "markers",
      marker: {
        size: chosen.length > 1000 ? 5 : 7,
        symbol: heldOut ? "circle-open" : "circle",
        color: chosen.map((pair) => colours[label[pair]]),
        line: heldOut ? { width: 1.6 } : { width: 0.5, color: explorer.colours.ofPage("paper") },
      },
      hovertemplate: `%{text}${heldOut ? " (held out)" : ""}<extra></extra>`,
    };
  }

  /** The class predicted at each place, in a paler shade of the colour that its pairs have. */
  function mapTrace(run, frame, colours) {
    const { classMap } = run;
    const size = classMap.classes.shape[1];
    const half = classMap.halfWidth[frame];
    const centres = Array.from({ length: size }, (_, index) => half * ((2 * index) / Math.max(1, size - 1) - 1));
    const rows = centres.map((_, row) => Array.from(at(classMap.classes, frame, row)));
    const ends = (colour, index) => [index, index + 1].map((edge) => [edge / colours.length, colour]);
    return {
      type: "heatmap",
      x: centres,
      y: centres,
      z: rows,
      text: rows.map((row) => row.map((number) => className(run, number))),
      zmin: -0.5,
      zmax: colours.length - 0.5,
      colorscale: colours.flatMap(ends),
      showscale: false,
      opacity: PALE,
      hovertemplate: "predicted: %{text}<extra></extra>",
    };
  }

  /**
   * The sums of pairs, over the map of predicted classes; what there is of the two.
   * @param {{points: Float32Array, frame: number, half: number, colours: string[], heldOut: boolean}} shown
   */
  function drawPairs(element, run, { points, frame, half, colours, heldOut }) {
    const traces = run.classMap ? [mapTrace(run, frame, colours)] : [];
    if (run.pairs) {
      const sums = sumsOfPairs(run.pairs, points);
      traces.push(pairTrace(run, sums, colours, false));
      if (heldOut) traces.push(pairTrace(run, sums, colours, true));
    }
    return draw(element, traces, plane(run.axes.map((name) => `sum, ${name}`), half));
  }

  /** The share of each frequency, up to the largest share of any frame. */
  function drawSpectrum(element, shares, top) {
    const { curve, ofPage } = explorer.colours;
    const even = 1 / shares.length;
    const trace = {
      type: "bar",
      x: Array.from(shares, (_, index) => index + 1),
      y: Array.from(shares),
      marker: { color: Array.from(shares, (share) => (share >= 2 * even ? curve(0).color : ofPage("faint"))) },
      hovertemplate: "frequency %{x}: %{y:.1%}<extra></extra>",
    };
    const layout = frame({
      xaxis: axis("frequency", { range: [0.4, shares.length + 0.6], tick0: 1, dtick: Math.ceil(shares.length / 12) }),
      yaxis: axis("share of the power", { range: [0, Math.max(1.06 * top, even)], tickformat: ".0%" }),
      bargap: 0.25,
    });
    return draw(element, [trace], layout);
  }

  explorer.planes = { halfWidth, sumsOfPairs, classColours, drawEmbeddings, drawPairs, drawSpectrum };
})((globalThis.GrokExplorer ??= {}));
