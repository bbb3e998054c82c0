"""The page as a whole: alone in the world, safe, complete without its optional pieces, fit for a phone."""

import json

import numpy as np
import pytest

from grok_lightning.explorer.exploration import ClassMap, Pairs
from grok_lightning.explorer.page import MARK, render
from grok_lightning.figures.style import INK, PALETTE

PHONE = {"width": 390, "height": 844}
FORCES = {"alignment": 1.0, "clustering": 1.0, "range": 0.5, "kernel": "gaussian", "decay": 0.0, "step_size": 0.2}
SHOWN = """() => { const [slider, step] = ["frame", "step"].map((id) => document.getElementById(id));
    return [slider.value, slider.getAttribute("aria-valuetext"), step.textContent] }"""
FIGURES = ("embeddings", "pairs", "progress", "spectrum", "measures")


def visible(opened, selector):
    return opened.page.is_visible(selector)


def test_what_the_page_says(opened):
    assert opened.page.title() == opened.text("#title") == "A run"
    assert opened.text("#notes li") == "Frames are kept at six steps; more of them: `every_n_steps`."
    rows = opened.js(
        "() => [...document.querySelectorAll('#results tr')].map((row) => [...row.cells].map((one) => one.textContent))"
    )
    assert rows == [["sustained_at", "600"], ["structure", "circle"], ["never", "–"], ["ratio", "0.25"]]
    caveat = "The forces are a reconstruction: the paper's own formulae were not at hand."
    assert opened.text(".caveat") == caveat
    assert opened.js("() => Object.keys(globalThis).filter((name) => /explorer/i.test(name))") == ["GrokExplorer"]


def test_the_file_opens_at_its_last_frame(fresh):
    assert fresh.js("() => GrokExplorer.page.training.frame") == 5
    assert fresh.js(SHOWN) == ["5", "step 2400", "2,400"]
    fresh.page.focus("#frame")
    fresh.page.keyboard.press("ArrowLeft")
    fresh.settle()
    assert fresh.js("() => GrokExplorer.page.training.frame") == 4
    assert fresh.js(SHOWN) == ["4", "step 600", "600"]


def test_no_connection_and_no_foreign_script(fresh):
    opened = fresh
    assert opened.js("() => fetch('https://example.org').then(() => 'answered', () => 'refused')") == "refused"
    script = "() => document.body.append(Object.assign(document.createElement('script'), {textContent: 'ran = true'}))"
    opened.js(script)
    assert opened.js("() => typeof ran") == "undefined"
    refused = [text for text in opened.complaints if "Content Security Policy" in text]
    assert all(any(what in text for text in refused) for what in ("https://example.org", "inline script"))
    opened.complaints.clear()
    opened.requests[1:] = []  # the refused one


@pytest.mark.parametrize("name", ["</script><b>x", "<!--<script>", "]]>&lt;\u2028", '"\\ {{x}} $title %{x} é'])
def test_hostile_names_are_text(show, exploration, name):
    names = [f"{name}{token}" for token in range(11)]
    results, series = {name: name}, {name: ([0, 1], [1.0, float("nan")]), f"{name}/loss": ([0], [-1.0])}
    opened = show(exploration(title=name, subtitle=name, names=names, notes=[name], results=results, series=series))
    assert [opened.text(at) for at in ("#title", "#subtitle", "#notes li", "#results th", "#results td")] == [name] * 5
    assert opened.page.title() == name
    drawn = opened.js("() => [...document.querySelectorAll('#embeddings .textpoint')].map((text) => text.textContent)")
    assert drawn == names
    assert opened.js("() => document.querySelectorAll('main b').length") == 0


def test_bare_run(show, exploration):
    """One frame of four tokens which are no residues, and nothing else."""
    opened = show(
        exploration(
            n=4,
            steps=[7],
            names=list("abcd"),
            are_residues=False,
            is_addition=False,
            plane_share=None,
            spectrum=None,
            pairs=None,
            class_map=None,
            series={},
            results={},
            notes=[],
        )
    )
    assert [visible(opened, f"#{name}-figure") for name in FIGURES] == [True, False, False, False, False]
    hidden = ("#notes", "#results-of-run", "#plane-share", "#held-out-choice", "#copy-choice", "#send")
    assert not any(visible(opened, selector) for selector in hidden)
    assert opened.page.is_disabled("#frame")
    assert opened.page.is_disabled("#training-play")
    assert [opened.text(at) for at in ("#step", "#train-loss", "#val-accuracy")] == ["7", "–", "–"]
    colours = opened.js("() => document.getElementById('embeddings').data[0].marker.color")
    assert colours == INK


def test_pairs_without_a_map(show, exploration):
    opened = show(exploration(class_map=None))
    assert visible(opened, "#pairs-figure")
    assert opened.text("#pairs-caption") == "Sums of pairs, coloured by label"
    assert opened.js("() => document.getElementById('pairs').data.map((trace) => trace.mode)") == ["markers"]


def test_a_map_without_pairs(show, exploration):
    run = exploration(pairs=None)
    opened = show(run)
    assert opened.text("#pairs-caption") == "Predicted class of each sum"
    assert not visible(opened, "#held-out-choice")
    [heatmap], half = opened.js(
        "() => { const {data, layout} = document.getElementById('pairs'); return [data, layout.xaxis.range[1]] }"
    )
    assert np.array_equal(np.array(heatmap["z"], dtype=int), run.class_map.classes[-1])
    assert half == pytest.approx(run.class_map.half_width[-1])


def test_classes_have_the_names_of_their_tokens(show, exploration):
    names = [f"g{token}" for token in range(11)]
    run = exploration(names=names)
    heatmap, sums = show(run).js("() => document.getElementById('pairs').data")
    assert heatmap["text"][0] == [names[number] for number in run.class_map.classes[-1, 0]]
    pair = run.pairs.held_out.index(False)
    first, second = run.pairs.first[pair], run.pairs.second[pair]
    assert sums["text"][0] == f"g{first}, g{second} → g{(first + second) % 11}"


def test_tokens_that_are_no_residues_have_labels_of_their_own(show, exploration):
    pairs = Pairs([0, 0, 1], [0, 1, 1], [1, 0, 3], [False, False, False])
    classes = np.full((6, 3, 3), 300, dtype=np.uint16)
    classes[:, 0] = 2
    run = exploration(are_residues=False, pairs=pairs, class_map=ClassMap(classes, np.ones(6, np.float32)))
    opened = show(run)
    heatmap, sums = opened.js("() => document.getElementById('pairs').data")
    assert np.array_equal(np.array(heatmap["z"], dtype=int), classes[0])
    assert {*heatmap["text"][0], *heatmap["text"][1]} == {"2", "300"}
    assert [heatmap["x"], heatmap["y"]] == [[-1, 0, 1], [-1, 0, 1]]
    red, green, blue = (int(PALETTE[0][at : at + 2], 16) for at in (1, 3, 5))
    assert sums["marker"]["color"][1] == f"rgb({red},{green},{blue})"  # label 0 begins the circle
    assert len(set(sums["marker"]["color"])) == 3


def test_several_simulations_in_one_run(show, exploration):
    run = exploration(copies=3)
    opened = show(run)
    opened.page.select_option("#copy", label="3")
    opened.settle()
    drawn = opened.js("() => { const {x, y} = document.getElementById('embeddings').data[0]; return [[...x], [...y]] }")
    assert np.array_equal(np.array(drawn, np.float32).T, run.positions[-1, 2])
    assert opened.text("#plane-share") == f"{100 * run.plane_share[-1, 2]:.1f} %"
    bars = opened.js("() => [...document.getElementById('spectrum').data[0].y]")
    assert np.array_equal(np.array(bars, np.float32), run.spectrum[-1, 2])
    opened.page.check("#fixed-ranges")
    for copy in (2, 0, 2):
        opened.page.select_option("#copy", label=str(copy + 1))
        opened.settle()
        half = opened.js("() => document.getElementById('embeddings').layout.xaxis.range[1]")
        assert half == pytest.approx(1.15 * np.abs(run.positions[:, copy]).max())
    once = "(copy) => { const {ranges} = GrokExplorer.page.training; return ranges.ofAll(copy) === ranges.ofAll(copy) }"
    assert opened.js(once, 2)


def test_phone(shared, show, exploration):
    shared.page.set_viewport_size(PHONE)
    opened = show(exploration())
    assert opened.js("() => document.documentElement.scrollWidth") == 390
    heights = opened.js(
        """() => [...document.querySelectorAll("button, select, input, summary, nav a")]
            .filter((control) => control.checkVisibility())
            .map((control) => [control.id, control.getBoundingClientRect().height])"""
    )
    assert len(heights) > 15
    assert [name for name, height in heights if height < 24] == []
    lefts = opened.js("() => [...document.querySelectorAll('figure')].map((one) => one.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1
    assert opened.js("() => parseFloat(getComputedStyle(document.body).fontSize)") >= 16


def test_every_control_has_a_name(show, exploration):
    opened = show(exploration(copies=2))
    nameless = """() => [...document.querySelectorAll("main input, main select, main button")]
        .filter((control) => !(control.labels?.length && control.labels[0].innerText.trim()) && !control.innerText)
        .filter((control) => !control.ariaLabel)
        .map((control) => control.id)"""
    assert opened.js(nameless) == []


def test_darkness_recolours_the_plots(opened):
    ink = "() => document.getElementById('embeddings').layout.font.color"
    assert opened.js(ink) == INK
    opened.page.emulate_media(color_scheme="dark")
    opened.settle()
    assert opened.js(ink) == "#ececec"
    opened.page.emulate_media(color_scheme="light")
    opened.settle()
    assert opened.js(ink) == INK


def test_data_cannot_leave_its_element(exploration):
    text = render(exploration(title="</script><!--<script>"))
    start = text.index('id="run">') + len('id="run">')
    data = text[start : text.index("</script>", start)]
    assert MARK in text[:2000]
    assert json.loads(data)["title"] == "</script><!--<script>"
    assert not set("<>&") & set(data)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": [0, 10, 10, 150, 600, 2400]}, "steps that rise"),
        ({"names": []}, "expected at least one"),
        ({"positions": np.zeros((6, 1, 11, 3))}, r"positions has shape \(6, 1, 11, 3\), expected \(6, 1, 11, 2\)"),
        ({"spectrum": np.zeros((6, 1, 6))}, r"spectrum has shape \(6, 1, 6\), expected \(6, 1, 5\)"),
        ({"plane_share": np.zeros(6)}, "plane_share has shape"),
        ({"pairs": Pairs([0], [1], [1, 2], [False])}, r"lists of lengths \[1, 2\]"),
        ({"pairs": Pairs([0], [11], [1], [False])}, "tokens beyond 0 … 10"),
        ({"pairs": Pairs([0], [1], [-1], [False])}, "label -1"),
        ({"copies": 2, "class_map": ClassMap(np.zeros((6, 2, 2), np.uint8), np.ones(6))}, "expected one copy, got 2"),
        ({"class_map": ClassMap(np.zeros((6, 2, 3), np.uint8), np.ones(6))}, "class_map.classes has shape"),
        ({"class_map": ClassMap(np.zeros((6, 2, 2), np.uint8), np.ones(5))}, "class_map.half_width has shape"),
        ({"forces": FORCES | {"sigma": 1.0}}, "forces are .*'sigma'"),
        ({"forces": FORCES | {"kernel": "cubic"}}, "kernel.*cubic"),
        ({"forces": FORCES | {"decay": float("inf")}}, "decay is inf, expected a finite number"),
        ({"series": {"train/loss": ([0, 1], [1.0])}}, "series 'train/loss' has shape"),
    ],
)
def test_sizes_that_do_not_fit(exploration, wrong, message):
    with pytest.raises(ValueError, match=message):
        exploration(**wrong)
