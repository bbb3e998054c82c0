"""Panel 1 in the browser: what is drawn is what the arrays say, and every control does what it is named for."""

from itertools import pairwise

import numpy as np
import pytest

SUMS = "(trace) => { const {x, y} = document.getElementById('pairs').data[trace]; return [[...x], [...y]] }"
EMBEDDINGS = "() => { const {x, y} = document.getElementById('embeddings').data[0]; return [[...x], [...y]] }"
RANGE = "(plot) => document.getElementById(plot).layout.xaxis.range"
FRAME = "() => GrokExplorer.page.training.frame"
AREA = """(plot) => { const {left, width, top, height} = document.querySelector(`#${plot} .nsewdrag`)
    .getBoundingClientRect(); return {left, width, top, height} }"""
CURSOR = """(plot) => { const {left, width} = document.querySelector(`#${plot} .shapelayer path`)
    .getBoundingClientRect(); return left + width / 2 }"""


def go_to(opened, frame):
    opened.page.fill("#frame", str(frame))
    opened.settle()


def along(opened, plot, step):
    """Return where a step lies between the ends of the axis, from its range."""
    low, high = opened.js(RANGE, plot)
    if opened.page.is_checked("#log-steps"):
        step = np.log10(step)
    area = opened.js(AREA, plot)
    return area["left"] + area["width"] * (step - low) / (high - low)


def test_slider_shows_each_frame(opened, exploration):
    run = exploration()
    for frame, step in enumerate(run.steps):
        go_to(opened, frame)
        assert np.array_equal(np.array(opened.js(EMBEDDINGS), np.float32).T, run.positions[frame, 0])
        assert opened.text("#step") == f"{step:,}"
        assert opened.page.get_attribute("#frame", "aria-valuetext") == f"step {step}"
        assert opened.text("#plane-share") == f"{100 * run.plane_share[frame, 0]:.1f} %"
        bars = opened.js("() => [...document.getElementById('spectrum').data[0].y]")
        assert np.array_equal(np.array(bars, np.float32), run.spectrum[frame, 0])
        heatmap = opened.js("() => document.getElementById('pairs').data[0]")
        assert np.array_equal(np.array(heatmap["z"], dtype=int), run.class_map.classes[frame])
        assert heatmap["y"][0] == pytest.approx(-run.class_map.half_width[frame])
        assert heatmap["x"][-1] == pytest.approx(run.class_map.half_width[frame])


def test_marks_lie_where_the_data_is(opened, exploration):
    """In pixels: the embeddings between the ends of their axes, as far to the right as far up."""
    run = exploration()
    area, half = opened.js(AREA, "embeddings"), opened.js(RANGE, "embeddings")[1]
    assert area["width"] == pytest.approx(area["height"], abs=1)
    found = opened.js(
        """() => [...document.querySelectorAll("#embeddings .point")]
            .map((mark) => mark.getBoundingClientRect())
            .map(({left, top, width, height}) => [left + width / 2, top + height / 2])"""
    )
    scale = area["width"] / (2 * half)
    centre = np.array([area["left"] + area["width"] / 2, area["top"] + area["height"] / 2])
    expected = centre + run.positions[-1, 0] * np.array([scale, -scale])
    assert np.allclose(found, expected, atol=1)


def test_readouts_are_the_last_values_logged(show, exploration):
    series = {"train/loss": ([5, 40, 100], [4.0, 2.0, 1.0]), "val/accuracy": ([40, 601], [0.125, 1.0])}
    opened = show(exploration(series=series))
    found = []
    for frame in range(6):
        go_to(opened, frame)
        found.append((opened.text("#train-loss"), opened.text("#val-accuracy")))
    later = [("2.00", "12.5 %"), ("1.00", "12.5 %"), ("1.00", "12.5 %"), ("1.00", "100.0 %")]
    assert found == [("–", "–"), ("4.00", "–"), *later]


def test_held_out_pairs_are_hollow_and_hidden_at_first(opened, exploration):
    run = exploration()
    held_out = np.array(run.pairs.held_out)
    places = run.positions[-1, 0].astype(np.float64)
    sums = places[run.pairs.first] + places[run.pairs.second]
    assert len(opened.js("() => document.getElementById('pairs').data")) == 2
    assert np.array_equal(np.array(opened.js(SUMS, 1)).T, sums[~held_out])
    opened.page.check("#held-out")
    opened.settle()
    assert np.array_equal(np.array(opened.js(SUMS, 2)).T, sums[held_out])
    symbols = opened.js("() => document.getElementById('pairs').data.slice(1).map((trace) => trace.marker.symbol)")
    assert symbols == ["circle", "circle-open"]
    opened.page.uncheck("#held-out")
    opened.settle()
    assert len(opened.js("() => document.getElementById('pairs').data")) == 2


def test_ranges_follow_the_frame_or_stay(opened):
    def ranges():
        found = []
        for frame in (0, 5):
            go_to(opened, frame)
            found.append([opened.js(RANGE, plot)[1] for plot in ("embeddings", "pairs")])
        return np.array(found)

    following = ranges()
    assert (following[0] > 1.5 * following[1]).all()
    opened.page.check("#fixed-ranges")
    opened.settle()
    assert np.array_equal(ranges(), [following[0]] * 2)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_cursor_stands_at_the_step(opened, logarithmic):
    opened.page.set_checked("#log-steps", logarithmic)
    for frame, step in [(2, 40), (4, 600)]:
        go_to(opened, frame)
        for plot in ("progress", "measures"):
            assert opened.js(CURSOR, plot) == pytest.approx(along(opened, plot, step), abs=1)


def test_step_0_is_at_the_left_of_a_logarithmic_axis(opened):
    go_to(opened, 0)
    for plot in ("progress", "measures"):
        assert opened.js(CURSOR, plot) == pytest.approx(opened.js(AREA, plot)["left"], abs=1)


@pytest.mark.parametrize(("logarithmic", "step", "frame"), [(True, 120, 3), (True, 260, 3), (False, 1700, 5)])
def test_click_goes_to_the_nearest_frame(opened, logarithmic, step, frame):
    opened.page.set_checked("#log-steps", logarithmic)
    for plot in ("progress", "measures"):
        go_to(opened, 0)
        opened.page.locator(f"#{plot}").scroll_into_view_if_needed()
        area = opened.js(AREA, plot)
        opened.page.mouse.click(along(opened, plot, step), area["top"] + 0.8 * area["height"])
        opened.wait(f"GrokExplorer.page.training.frame === {frame}")
        assert opened.page.input_value("#frame") == str(frame)


def test_arrow_keys_move_the_slider(opened):
    opened.page.focus("#frame")
    for key, frame in [("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 5)]:
        opened.page.keyboard.press(key)
        assert opened.js(FRAME) == frame


def test_space_plays_to_the_end_and_never_for_controls(opened):
    opened.page.focus("#held-out")
    opened.page.keyboard.press("Space")
    assert opened.page.is_checked("#held-out")
    assert opened.text("#training-play") == "Play"
    opened.page.focus("#training")
    opened.page.keyboard.press("Space")
    assert opened.text("#training-play") == "Pause"
    assert opened.page.get_attribute("#training-readouts", "aria-live") == "off"
    opened.wait("document.getElementById('training-play').textContent === 'Play'")
    assert opened.js(FRAME) == 5
    assert opened.page.get_attribute("#training-readouts", "aria-live") == "polite"


def test_pause_stays_at_its_frame(opened):
    go_to(opened, 0)
    opened.page.click("#training-play")
    opened.wait("GrokExplorer.page.training.frame >= 1")
    opened.js("() => document.getElementById('training-play').click()")
    frame = opened.js(FRAME)
    assert 1 <= frame < 5
    opened.js("() => new Promise((done) => setTimeout(done, 300))")
    assert (opened.js(FRAME), opened.text("#training-play")) == (frame, "Play")


def test_loss_is_logarithmic_and_groups_share_their_colours(opened):
    traces, layout = opened.js(
        "() => { const {data, layout} = document.getElementById('progress'); return [data, layout] }"
    )
    rows = {(trace["name"], trace["yaxis"]): trace["line"]["color"] for trace in traces}
    assert set(rows) == {("train", "y"), ("val", "y"), ("train", "y2"), ("val", "y2")}
    assert rows["train", "y"] == rows["train", "y2"] != rows["val", "y"] == rows["val", "y2"]
    assert layout["yaxis"]["type"] == "log"
    assert [trace["showlegend"] for trace in traces] == [True, True, False, False]


def test_another_group_of_measures(opened, exploration):
    run = exploration()
    curves = "() => document.getElementById('measures').data.map(({name, y}) => [name, [...y]])"
    groups = opened.js("() => [...document.getElementById('group').options].map((option) => option.text)")
    assert groups == ["structure", "forces", "features"]
    for group, measure in (("structure", "purity"), ("features", "circulant"), ("forces", "explained")):
        opened.page.select_option("#group", label=group)
        [(name, values)] = opened.js(curves)
        assert name == measure
        assert np.array_equal(np.float32(values), np.float32(run.series[f"{group}/{name}"][1]))
        assert opened.page.is_visible("#forces-note") == (group == "forces")


def test_measures_of_structure_stand_in_rows(show, exploration):
    names = ("purity", "circle", "norm", "grid", "line", "other", "lattice")
    series = {f"structure/{name}": ([0, 10], [0.0, 1.0]) for name in names}
    opened = show(exploration(series=series | {"other/one": ([0, 10], [0.0, 1.0])}))
    traces, layout = opened.js(
        "() => { const {data, layout} = document.getElementById('measures'); return [data, layout] }"
    )
    rows = {}
    for trace in traces:
        rows.setdefault(layout[trace["yaxis"].replace("y", "yaxis")]["title"]["text"], []).append(trace["name"])
    assert rows == {"share": ["circle", "grid", "line", "other"], "norm": ["norm"], "structure": ["purity", "lattice"]}
    domains = [layout[axis]["domain"] for axis in ("yaxis", "yaxis2", "yaxis3")]
    assert all(above[0] > below[1] for above, below in pairwise(domains))
    heights = "() => ['#measures', '#measures .plotly'].map((at) => document.querySelector(at).clientHeight)"
    for group, taller in [("structure", True), ("other", False), ("structure", True)]:
        opened.page.select_option("#group", label=group)
        opened.settle()
        kept, drawn = opened.js(heights)
        assert drawn == kept
        assert (kept > 380) == taller


@pytest.mark.parametrize("points", [1, 2])
def test_no_two_curves_look_alike(show, exploration, points):
    series = {f"many/m{number}": ([*range(points)], [0.5] * points) for number in range(40)}
    traces = show(exploration(series=series)).js("() => document.getElementById('measures').data")
    kind = "marker" if points == 1 else "line"
    assert {trace["mode"] for trace in traces} == {f"{kind}s"}
    looks = {(trace[kind]["color"], trace[kind]["symbol" if points == 1 else "dash"]) for trace in traces}
    assert len(looks) == len(traces) == 40
