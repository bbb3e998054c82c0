"""The page as a whole: alone in the world, safe, complete without its optional pieces, fit for a phone."""

import json

import numpy as np
import pytest

from grok_lightning.explorer.page import MARK, ClassMap, Pairs, render
from grok_lightning.figures.style import INK, PALETTE

PHONE = {"viewport": {"width": 390, "height": 844}}
FIGURES = ("embeddings", "pairs", "progress", "spectrum", "measures")


def visible(opened, selector):
    return opened.page.is_visible(selector)


def test_what_the_page_says(show, exploration):
    opened = show(exploration())
    assert opened.page.title() == opened.text("#title") == "A run"
    assert opened.text("#notes li") == "Frames are kept at six steps; more of them: `every_n_steps`."
    rows = opened.js(
        "() => [...document.querySelectorAll('#results tr')].map((row) => [...row.cells].map((one) => one.textContent))"
    )
    assert rows == [["sustained_at", "600"], ["structure", "circle"], ["never", "–"], ["ratio", "0.25"]]
    caveat = "The forces are a reconstruction: the paper's own formulae were not at hand."
    assert opened.text(".caveat") == caveat
    assert opened.js("() => Object.keys(globalThis).filter((name) => /explorer/i.test(name))") == ["GrokExplorer"]


def test_no_connection_and_no_foreign_script(show, exploration):
    opened = show(exploration())
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
    assert not visible(opened, "#map-note")
    assert opened.js("() => document.getElementById('pairs').data.map((trace) => trace.mode)") == ["markers"]


def test_tokens_that_are_no_residues_have_labels_of_their_own(show, exploration):
    pairs = Pairs([0, 0, 1], [0, 1, 1], [1, 0, 3], [False, False, False])
    classes = np.full((6, 3, 3), 300, dtype=np.uint16)
    classes[:, 0] = 2
    run = exploration(are_residues=False, pairs=pairs, class_map=ClassMap(classes, np.ones(6, np.float32)))
    opened = show(run)
    heatmap, sums = opened.js("() => document.getElementById('pairs').data")
    assert np.array_equal(np.array(heatmap["z"], dtype=int), classes[0])
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


def test_phone(show, exploration):
    opened = show(exploration(), **PHONE)
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


def test_darkness_recolours_the_plots(show, exploration):
    opened = show(exploration())
    ink = "() => document.getElementById('embeddings').layout.font.color"
    assert opened.js(ink) == INK
    opened.page.emulate_media(color_scheme="dark")
    opened.settle()
    assert opened.js(ink) == "#ececec"


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
        ({"pairs": None}, "class_map belongs to pair sums"),
        ({"class_map": ClassMap(np.zeros((6, 2, 3), np.uint8), np.ones(6))}, "class_map.classes has shape"),
        ({"class_map": ClassMap(np.zeros((6, 2, 2), np.uint8), np.ones(5))}, "class_map.half_width has shape"),
        ({"series": {"train/loss": ([0, 1], [1.0])}}, "series 'train/loss' has shape"),
    ],
)
def test_sizes_that_do_not_fit(exploration, wrong, message):
    with pytest.raises(ValueError, match=message):
        exploration(**wrong)
