import json
import math
from itertools import product
from statistics import median, median_low

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from grok_lightning.chain.choice import Choice
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import Manifest
from grok_lightning.chain.phase import lines, phases, save_phases
from grok_lightning.chain.report import Report
from grok_lightning.chain.shares import shares
from grok_lightning.cli import main
from grok_lightning.figures import PhaseAxis

PNG = b"\x89PNG\r\n\x1a\n"
STEPS = 1000


class Grid:
    """The folder of a varied recipe, made of manifests alone."""

    def __init__(self, folder, vary, stages=None):
        self.folder = folder / "study" / "run_000"
        self.folder.mkdir(parents=True)
        (self.folder / "recipe.yaml").write_text(json.dumps({"vary": vary, "stages": stages or {"run": {}}}))

    def add(self, point, *sustained, stage="run", status="finished", **results):
        """Write the manifests of the runs at a point, one for each seed."""
        for seed, step in enumerate(sustained):
            found = {"steps": STEPS, "sustained_at": step, **results}
            manifest = Manifest("study", stage, seed, f"{stage}/{point}/{seed}", status=status, results=found)
            manifest.seconds = {"training": 2.0 * seed, "evaluation": 1.0}
            manifest.write(self.folder / stage / point / f"seed_{seed}")
        return self

    def diagrams(self, *choice):
        return list(phases(Report(self.folder), Choice(*choice)))

    def lines(self, *choice):
        return list(lines(Report(self.folder), Choice(*choice)))

    def shares(self, *choice):
        return list(shares(Report(self.folder), Choice(*choice)))


@pytest.fixture
def grid(tmp_path):
    """Two axes: three values of `a` and two of `b`."""
    return Grid(tmp_path, {"model.a": [1, 2, 3], "data.b": ["x", "y"]})


def test_medians_and_shares_at_each_point(grid):
    grid.add("a=1,b=x", 100, 300, 200).add("a=2,b=x", 100, 200).add("a=3,b=x", 100, None, 300)
    grid.add("a=1,b=y", None, 100, None).add("a=2,b=y", None, None).add("a=3,b=y", 50, status="failed")
    (diagram,) = grid.diagrams()
    assert (diagram.stage, diagram.point) == ("run", {})
    assert (diagram.across, diagram.up) == (PhaseAxis("a", ["1", "2", "3"]), PhaseAxis("b", ["x", "y"]))
    np.testing.assert_array_equal(diagram.medians, [[200, 150, 300], [math.inf, math.inf, math.nan]])
    np.testing.assert_allclose(diagram.shares, [[1, 1, 2 / 3], [1 / 3, 0, math.nan]])


steps = st.lists(st.none() | st.integers(0, STEPS), max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(steps, min_size=6, max_size=6))
def test_every_cell_is_of_the_runs_at_its_point(tmp_path_factory, cells):
    grid = Grid(tmp_path_factory.mktemp("cells"), {"model.a": [1, 2, 3], "data.b": ["x", "y"]})
    points = list(product("xy", "123"))
    for (b, a), cell in zip(points, cells, strict=True):
        grid.add(f"a={a},b={b}", *cell)
    if not any(cells):
        return
    (diagram,) = grid.diagrams()
    for (b, a), cell in zip(points, cells, strict=True):
        place = "xy".index(b), "123".index(a)
        reached = [math.inf if step is None else step for step in cell]
        if not reached:
            assert math.isnan(diagram.medians[place])
            assert math.isnan(diagram.shares[place])
            continue
        assert diagram.medians[place] == (median_low if None in cell else median)(reached)
        assert diagram.shares[place] == pytest.approx(1 - cell.count(None) / len(cell))


def test_any_result_can_be_shown(grid):
    grid.add("a=1,b=x", None, None, None, val_loss=0.25).add("a=2,b=x", 5, val_loss=math.nan)
    (diagram,) = grid.diagrams("val_loss")
    assert (diagram.medians[0, 0], diagram.shares[0, 0]) == (0.25, 1)
    assert math.isnan(diagram.medians[0, 1])
    (seconds,) = grid.diagrams("seconds")
    assert list(seconds.medians[0, :2]) == [3, 1]  # of 1, 3, 5 and of 1


def test_axes_are_turned_as_chosen(grid):
    grid.add("a=1,b=x", 10).add("a=3,b=x", 20).add("a=2,b=y", 30)
    nan = math.nan
    expected = np.array([[10, nan, 20], [nan, 30, nan]])
    for choice, medians in (
        (("sustained_at", "a", "b"), expected),
        (("sustained_at", "a"), expected),
        (("sustained_at", None, "b"), expected),
        (("sustained_at", "b", "a"), expected.T),
        (("sustained_at", "b"), expected.T),
        (("sustained_at", None, "a"), expected.T),
    ):
        (diagram,) = grid.diagrams(*choice)
        np.testing.assert_array_equal(diagram.medians, medians)
        assert (len(diagram.up.labels), len(diagram.across.labels)) == medians.shape


def test_more_axes_have_a_diagram_for_each_combination_of_the_others(tmp_path):
    values = {"a": [1, 2], "b": [3, 4], "c": [5, 6], "d": [7, 8, 9]}
    grid = Grid(tmp_path, {f"model.{name}": each for name, each in values.items()})
    for a, b, c, d in product(*values.values()):
        grid.add(f"a={a},b={b},c={c},d={d}", 1000 * a + 100 * b + 10 * c + d, test_accuracy=1.0)
    diagrams = grid.diagrams("sustained_at", "d", "b")
    assert [diagram.point for diagram in diagrams] == [{"a": a, "c": c} for a in "12" for c in "56"]
    for diagram in diagrams:
        a, c = int(diagram.point["a"]), int(diagram.point["c"])
        expected = [[1000 * a + 100 * b + 10 * c + d for d in (7, 8, 9)] for b in (3, 4)]
        np.testing.assert_array_equal(diagram.medians, expected)
    assert [diagram.point for diagram in grid.diagrams()] == [{"c": c, "d": d} for c in "56" for d in "789"]
    # an axis that is chosen to go up does not go across too
    (first, *_) = grid.diagrams("sustained_at", None, "a")
    assert (first.across.name, first.up.name) == ("b", "a")


STAGES = {
    "donor": {},
    "plain": {},
    "heir": {"transfer": {"from": "donor", "parts": ["embedding"]}},
}


def test_a_stage_has_a_diagram_if_it_varies_along_the_chosen_axes(tmp_path):
    vary = {"stages.donor.model.a": [1, 2], "stages.heir.data.b": ["x", "y"]}
    grid = Grid(tmp_path, vary, STAGES).add("", 5, stage="plain").add("a=1", 6, stage="donor")
    grid.add("a=1,b=y", 7, stage="heir")

    def shapes(*choice):
        return {each.stage: each.medians.shape for each in grid.diagrams("sustained_at", *choice)}

    for choice in ((), ("a",), ("b",), ("b", "a")):
        assert shapes(*choice) == {"heir": (2, 2)}
    (heir,) = grid.diagrams()
    np.testing.assert_array_equal(heir.medians, [[math.nan, math.nan], [7, math.nan]])

    def along(*choice):
        return [(each.across.name, list(each.levels)) for each in grid.lines("sustained_at", *choice)]

    for choice in ((), ("a",), (None, "a")):
        assert along(*choice) == [("a", ["donor"])]
    assert along("b") == along("b", "a") == []


@pytest.mark.parametrize("choice", [(), ("a",), (None, "a")])
def test_stages_with_a_single_axis_have_a_line_each(tmp_path, choice):
    grid = Grid(tmp_path, {"model.a": [1, 2, 3, 4]}, {"one": {}, "two": {}})
    grid.add("a=1", 100, 200, 300, stage="one").add("a=2", None, 100, 200, stage="one").add("a=3", None, stage="one")
    grid.add("a=2", 7, stage="two")
    assert grid.diagrams("sustained_at", *choice) == []
    (found,) = grid.lines("sustained_at", *choice)
    assert (found.across, found.places) == (PhaseAxis("a", ["1", "2", "3", "4"]), [1, 2, 3, 4])
    assert list(found.levels) == ["one", "two"]
    nothing = [math.nan] * 3
    expected = [[150, 200, 250], [100, 200, math.inf], [math.inf] * 3, nothing]
    np.testing.assert_array_equal(found.levels["one"], expected)
    np.testing.assert_array_equal(found.levels["two"], [nothing, [7, 7, 7], nothing, nothing])


def test_single_axes_have_a_picture_each(tmp_path):
    vary = {"stages.heir.model.a": [1, 2], "stages.donor+plain.model.b": [1, 2]}
    stages = {"heir": {}, "donor": {}, "plain": {}}
    grid = Grid(tmp_path, vary, stages).add("b=1", 5, stage="plain")
    found = [(each.across.name, list(each.levels)) for each in grid.lines()]
    assert found == [("a", ["heir"]), ("b", ["donor", "plain"])]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0.3, 1, -2], [0.3, 1, -2]),
        ([1, "x"], None),
        (["1", "2"], None),
        ([1, None], None),
        ([False, True], None),
        ([1.0, math.inf], None),
        ([[1], [2]], None),
    ],
)
def test_only_numbers_have_places(tmp_path, values, places):
    grid = Grid(tmp_path, {"model.a": values})
    (found,) = grid.lines("seconds")
    assert found.places == places
    assert len(found.across.labels) == len(values)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("colour",), "--phase colour: no run has such a result; there is orientation, seconds, steps, sustained_at"),
        (("orientaton",), "--phase orientaton: no run has such a result; did you mean 'orientation'?"),
        (("sustaned_at",), "--phase sustaned_at: no run has such a result; did you mean 'sustained_at'?"),
        (("sustained_at", "model.a"), "--across model.a: no such axis; there is a, b"),
        (("sustained_at", None, "c"), "--up c: no such axis; there is a, b"),
        (("sustained_at", "a", "a"), "--up a: this axis goes across already"),
    ],
)
def test_what_cannot_be_shown(grid, choice, message):
    grid.add("a=1,b=x", 10, orientation="diagonal")
    for find in (grid.diagrams, grid.lines, grid.shares):
        with pytest.raises(ChainError) as caught:
            find(*choice)
        assert str(caught.value) == message


def test_a_recipe_that_varies_nothing_has_no_diagram(tmp_path):
    grid = Grid(tmp_path, {})
    with pytest.raises(ChainError, match=r"run_000: its recipe varies nothing; a phase diagram needs `vary`"):
        grid.diagrams()
    with pytest.raises(ChainError, match=r"run_000: its recipe varies nothing; a phase diagram needs `vary`"):
        grid.shares()


def test_before_any_run_is_finished_there_are_only_seconds_to_show(grid):
    grid.add("a=1,b=x", 10, status="running")
    with pytest.raises(ChainError, match="--phase sustained_at: no run has such a result; there is seconds"):
        grid.diagrams()
    (diagram,) = grid.diagrams("seconds")
    assert np.isnan(diagram.medians).all()


# categories


def test_stages_with_a_single_axis_have_a_panel_each(tmp_path):
    grid = Grid(tmp_path, {"model.a": [4, 1, 2]}, {"one": {}, "two": {}})
    grid.add("a=1", 5, 5, stage="one", structure={"circle": 2, "grid": 13, "other": 1})
    grid.add("a=4", 5, stage="one", structure="other").add("a=2", 5, stage="one", structure=None)
    grid.add("a=2", 5, stage="two", structure="grid").add("a=4", 5, stage="two", status="failed", structure="grid")
    (bars,) = grid.shares("structure")
    assert (bars.stage, bars.point, bars.categories) == (None, {}, ["circle", "grid", "other"])
    assert bars.across == PhaseAxis("a", ["1", "2", "4"])  # rising
    assert list(bars.counts) == ["one", "two"]
    np.testing.assert_array_equal(bars.counts["one"], [[4, 26, 2], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(bars.counts["two"], [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["circle", "grid"]), max_size=4), min_size=6, max_size=6), st.booleans())
def test_every_bar_is_of_the_runs_at_its_point(tmp_path_factory, cells, turned):
    grid = Grid(tmp_path_factory.mktemp("bars"), {"model.a": [1, 2, 3], "data.b": ["y", "x"]})
    for (b, a), cell in zip(product("yx", "123"), cells, strict=True):
        for seed, category in enumerate(cell):
            manifest = Manifest("study", "run", seed, f"{a}{b}{seed}", status="finished")
            manifest.results = {"structure": category}
            manifest.write(grid.folder / "run" / f"a={a},b={b}" / f"seed_{seed}")
    if not any(cells):
        return
    (bars,) = grid.shares("structure", "b" if turned else None)
    # the values of the axis that goes up come from top to bottom; those of b are no numbers and keep their order
    assert list(bars.counts) == (["a = 3", "a = 2", "a = 1"] if turned else ["b = x", "b = y"])
    assert bars.categories == sorted({category for cell in cells for category in cell})
    for (b, a), cell in zip(product("yx", "123"), cells, strict=True):
        found = bars.counts[f"a = {a}"]["yx".index(b)] if turned else bars.counts[f"b = {b}"]["123".index(a)]
        assert list(found) == [cell.count(category) for category in bars.categories]


def test_more_axes_have_a_picture_of_bars_for_each_combination_of_the_others(tmp_path):
    values = {"a": [1, 2], "b": [3, 4], "c": [5, 6], "d": [7, 8, 9]}
    grid = Grid(tmp_path, {f"model.{name}": each for name, each in values.items()})
    for a, b, c, d in product(*values.values()):
        grid.add(f"a={a},b={b},c={c},d={d}", 1, structure={"circle": 1000 * a + 100 * b + 10 * c + d})
    pictures = grid.shares("structure", "d", "b")
    assert [bars.point for bars in pictures] == [{"a": a, "c": c} for a in "12" for c in "56"]
    for bars in pictures:
        a, c = int(bars.point["a"]), int(bars.point["c"])
        expected = {f"b = {b}": [[1000 * a + 100 * b + 10 * c + d] for d in (7, 8, 9)] for b in (4, 3)}
        assert {name: its.tolist() for name, its in bars.counts.items()} == expected
        assert (bars.stage, bars.across, bars.categories) == ("run", PhaseAxis("d", ["7", "8", "9"]), ["circle"])


def test_colours_are_those_of_one_order_in_all_pictures(tmp_path):
    grid = Grid(tmp_path, {"stages.heir.model.a": [1, 2], "stages.donor.model.b": [1, 2]}, {"heir": {}, "donor": {}})
    grid.add("a=1", 5, stage="heir", structure="grid").add("b=1", 5, stage="donor", structure="circle")
    heir, donor = grid.shares("structure")
    assert heir.categories == donor.categories == ["circle", "grid"]
    assert (heir.counts["heir"].tolist(), donor.counts["donor"].tolist()) == ([[0, 1], [0, 0]], [[1, 0], [0, 0]])


# files


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, without drawing it."""
    calls = []

    def draw(*arguments):
        calls.append(arguments)
        return Figure()

    for name in ("phase_diagram", "result_curves", "share_bars"):
        monkeypatch.setattr(f"grok_lightning.chain.phase.{name}", draw)
    return calls


def test_the_command_draws_every_diagram_and_says_where(tmp_path, capsys):
    vary = {"stages.donor.model.a": [1, 2], "stages.heir.data.b": ["x", "y"]}
    grid = Grid(tmp_path, vary, STAGES).add("a=1", 6, stage="donor")
    assert main(["report", str(grid.folder), "--phase", "sustained_at"]) == 0
    files = sorted(path.name for path in grid.folder.glob("*.png"))
    assert files == ["phase_sustained_at_a.png", "phase_sustained_at_heir.png"]
    assert all((grid.folder / name).read_bytes().startswith(PNG) for name in files)
    said = "".join(capsys.readouterr().out.split())
    assert said == "".join("".join(str(grid.folder / name).split()) for name in reversed(files))


def test_the_command_refuses_in_one_line(grid, capsys):
    grid.add("a=1,b=x", 6)
    folder = str(grid.folder)
    assert main(["report", folder, "--phase", "nothing"]) == 2
    assert main(["report", folder, "--across", "a"]) == 2
    assert main(["report", folder, "--up", "a"]) == 2
    assert main(["report", folder, "--phase", "steps", "--across", "b", "--up", "q"]) == 2
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert first.startswith("--phase nothing: no run has such a result")
    assert second == third == "lightning report: --across and --up go with --phase RESULT, such as --phase sustained_at"
    assert fourth == "--up q: no such axis; there is a, b"


def test_each_combination_has_a_file_of_its_own(tmp_path, drawn):
    texts = ["p+q", "p_q", "p/q", {"class_path": "x.Y"}]
    grid = Grid(tmp_path, {"model.a": [1, 2], "model.b": [1, 2], "model.c": texts, "model.d": [0.5, 1e-5]})
    grid.add("a=1,b=1,c=p+q,d=0.5", 5)
    paths = save_phases(Report(grid.folder), Choice())
    assert len({path.name for path in paths}) == len(paths) == 4 * 2
    assert all(path.parent == grid.folder and path.is_file() for path in paths)
    assert paths[0].name == "phase_sustained_at_run_c=p+q_d=0.5.png"
    titles = [arguments[5] for arguments in drawn]
    assert titles[0] == "study: run c=p+q,d=0.5"
    assert len(set(titles)) == 8


def test_a_result_of_any_name_has_a_file(grid, drawn):
    grid.add("a=1,b=x", 5, **{"val/loss": 0.5})
    assert [path.name for path in save_phases(Report(grid.folder), Choice("val/loss"))] == ["phase_val_loss_run.png"]
    (medians, shares, across, up, quantity, title), *_ = drawn
    assert (medians[0, 0], shares[0, 0], across.name, up.name) == (0.5, 1, "a", "b")
    assert (quantity, title) == ("val/loss", "study: run")


def test_the_picture_of_one_axis_has_its_name(tmp_path, drawn):
    grid = Grid(tmp_path, {"data.train_fraction": [0.5, 0.25]}, {"one": {}, "two": {}})
    grid.add("train_fraction=0.5", None, stage="one", test_accuracy=0.75)
    (path,) = save_phases(Report(grid.folder), Choice("test_accuracy"))
    assert path.name == "phase_test_accuracy_train_fraction.png"
    ((levels, across, quantity, title, places),) = drawn
    assert levels["one"][0].tolist() == [0.75] * 3
    assert (across, places) == (PhaseAxis("train_fraction", ["0.5", "0.25"]), [0.5, 0.25])
    assert (quantity, title) == ("test accuracy", "study")


def test_the_command_draws_a_category_as_bars(tmp_path, capsys):
    vary = {"stages.donor.model.a": [1, 2], "stages.heir.data.b": ["x", "y"]}
    grid = Grid(tmp_path, vary, STAGES).add("a=1", 6, stage="donor", structure={"circle": 2, "grid": 14})
    assert main(["report", str(grid.folder), "--phase", "structure"]) == 0
    files = sorted(path.name for path in grid.folder.glob("*.png"))
    assert files == ["phase_structure_a.png", "phase_structure_heir.png"]
    assert all((grid.folder / name).read_bytes().startswith(PNG) for name in files)
    assert "phase_structure_heir.png" in "".join(capsys.readouterr().out.split())


def test_each_picture_of_bars_has_its_name_and_title(tmp_path, drawn):
    grid = Grid(tmp_path, {"model.a": [1, 2], "model.b": [1, 2], "model.c": ["p", "q"]})
    grid.add("a=1,b=1,c=p", 5, main_structure="grid")
    paths = save_phases(Report(grid.folder), Choice("main_structure"))
    assert [path.name for path in paths] == [f"phase_main_structure_run_c={c}.png" for c in "pq"]
    assert [arguments[1:] for arguments in drawn] == [
        (PhaseAxis("a", ["1", "2"]), ["grid"], "main structure", f"study: run c={c}") for c in "pq"
    ]
    single = Grid(tmp_path / "single", {"model.a": [1, 2]}).add("a=1", 5, main_structure="grid")
    (path,) = save_phases(Report(single.folder), Choice("main_structure"))
    assert path.name == "phase_main_structure_a.png"
    assert drawn[-1][1:] == (PhaseAxis("a", ["1", "2"]), ["grid"], "main structure", "study")


def test_a_full_disk_is_told(grid, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    grid.add("a=1,b=x", 5)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    with pytest.raises(ChainError, match=r"run_000: cannot be written \(No space left on device\)"):
        save_phases(Report(grid.folder), Choice())
