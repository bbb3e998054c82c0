import json
import math
from collections import Counter
from io import StringIO
from statistics import median, median_low, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import Manifest
from grok_lightning.chain.report import Report
from grok_lightning.chain.table import markdown_table, result_table, save_report, terminal_table

STAGES = {"pretrain": {}, "scratch": {}, "middle": {}, "transfer": {"compare_to": "scratch"}}


class Runs:
    """A recipe's folder, made of manifests alone."""

    def __init__(self, folder, stages=None, vary=None):
        self.folder = folder / "study" / "run_000"
        self.folder.mkdir(parents=True)
        stages = STAGES if stages is None else stages
        (self.folder / "recipe.yaml").write_text(json.dumps({"vary": vary or {}, "stages": stages}))
        (self.folder.parent / "latest").write_text("run_000\n")

    def add(self, stage, seed, sustained=None, steps=None, seconds=(1.0, 0.5), donors=(), status="finished", **results):
        """Write the manifest of a run; its fingerprint is its stage and seed."""
        found = {"steps": steps if steps is not None else (sustained or 100), "sustained_at": sustained, **results}
        manifest = Manifest(
            recipe="study",
            stage=stage,
            seed=seed,
            fingerprint=f"{stage}/{seed}",
            status=status,
            seconds={"training": seconds[0], "evaluation": seconds[1], "setup": 9.0, "total": 10.5},
            results=found if status == "finished" else {},
            donors=list(donors),
        )
        manifest.write(self.folder / stage / f"seed_{seed}")
        return self

    @property
    def json(self):
        return Report(self.folder).to_json()["stages"]


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


def test_the_shape_of_the_json(runs):
    runs.add("pretrain", 0, 40, steps=60, grokked_at=30, memorised_at=10, test_accuracy=1.0)
    runs.add("scratch", 0, 200).add("transfer", 0, 50, donors=["pretrain/0"])
    report = Report(runs.folder).to_json()
    assert report.keys() == {"recipe", "stages"}
    assert report["recipe"] == "study"
    assert list(report["stages"]) == list(STAGES)
    assert report["stages"]["pretrain"] == {
        "runs": [
            {
                "steps": 60,
                "sustained_at": 40,
                "grokked_at": 30,
                "memorised_at": 10,
                "test_accuracy": 1.0,
                "seed": 0,
                "seconds": 1.5,
                "folder": str(runs.folder / "pretrain" / "seed_0"),
            }
        ],
        "planned": 1,
        "median": {"memorised_at": 10, "grokked_at": 30, "sustained_at": 40, "seconds": 1.5, "test_accuracy": 1.0},
        "quartiles": {
            "memorised_at": [10, 10],
            "grokked_at": [30, 30],
            "sustained_at": [40, 40],
            "seconds": [1.5, 1.5],
            "test_accuracy": [1.0, 1.0],
        },
        "counts": {},
        "compare_to": None,
        "speedup": None,
        "speedup_with_donor": None,
    }
    assert report["stages"]["transfer"]["compare_to"] == "scratch"
    assert report["stages"]["transfer"]["speedup"] == {
        "steps": 4.0,
        "steps_interval": None,
        "seconds": 1.0,
        "seconds_interval": None,
        "pairs": 1,
    }
    assert report["stages"]["middle"]["quartiles"] == {}
    assert set(report["stages"]["middle"]["median"].values()) == {None}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_speed_ups_by_hand(runs):
    """Seeds 0 and 1; the donors took 60 and 30 steps in 3 and 1.5 s."""
    for seed, steps, seconds in ((0, 60, (2.0, 1.0)), (1, 30, (1.0, 0.5))):
        runs.add("pretrain", seed, steps, seconds=seconds)
    runs.add("scratch", 0, 200, seconds=(8.0, 2.0)).add("scratch", 1, 300, seconds=(6.0, 0.0))
    runs.add("transfer", 0, 50, seconds=(1.5, 0.5), donors=["pretrain/0"])
    runs.add("transfer", 1, 100, seconds=(2.0, 1.0), donors=["pretrain/1"])
    # in steps 200/50 = 4 and 300/100 = 3; in seconds 10/2 = 5 and 6/3 = 2
    speedup = runs.json["transfer"]["speedup"]
    assert (speedup["steps"], speedup["seconds"], speedup["pairs"]) == (3.5, 3.5, 2)
    # in steps 200/110 and 300/130; in seconds 10/5 and 6/4.5
    with_donor = runs.json["transfer"]["speedup_with_donor"]
    assert with_donor["steps"] == pytest.approx((200 / 110 + 300 / 130) / 2, rel=1e-12)
    assert with_donor["seconds"] == pytest.approx((2 + 4 / 3) / 2, rel=1e-12)


def test_donors_count_with_all_their_steps_transitively_and_each_once(runs):
    """The transfer takes from two runs, one of which takes from the other: 60 + 40 steps, not 160."""
    runs.add("pretrain", 0, 20, steps=60).add("middle", 0, None, steps=40, donors=["pretrain/0"])
    runs.add("scratch", 0, 300).add("transfer", 0, 50, donors=["middle/0", "pretrain/0"])
    assert runs.json["transfer"]["speedup_with_donor"]["steps"] == 300 / (50 + 60 + 40)
    assert runs.json["transfer"]["speedup_with_donor"]["seconds"] == pytest.approx(1.5 / 4.5)


def test_a_single_donor_counts_in_every_pair(runs):
    runs.add("pretrain", 0, 100)
    for seed in range(3):
        runs.add("scratch", seed, 300).add("transfer", seed, 50, donors=["pretrain/0"])
    assert runs.json["transfer"]["speedup_with_donor"]["steps"] == 2


@pytest.mark.parametrize(
    ("scratch", "transfer", "expected"),
    [
        ([100, 100, 100], [50, 50, None], 2.0),  # 2, 2, 0
        ([100, 100, 100], [50, None, None], 0.0),  # 2, 0, 0
        ([100, None, None], [50, 50, 50], None),  # 2, infinite, infinite
        ([100, 100, None], [50, 20, 50], 5.0),  # 2, 5, infinite
        ([100, None], [50, None], 2.0),  # the second pair says nothing
        ([None], [None], None),
        ([100], [0], None),  # grokked from the start: infinitely faster
    ],
)
def test_runs_that_never_grokked(runs, scratch, transfer, expected):
    for seed, step in enumerate(scratch):
        runs.add("scratch", seed, step)
    for seed, step in enumerate(transfer):
        runs.add("transfer", seed, step)
    assert runs.json["transfer"]["speedup"]["steps"] == expected


def test_only_seeds_that_both_stages_finished_are_paired(runs):
    runs.add("scratch", 0, 100).add("scratch", 1, 100, status="failed").add("scratch", 2, 400)
    runs.add("transfer", 0, 50).add("transfer", 1, 1).add("transfer", 3, 1).add("transfer", 2, 50, status="running")
    speedup = runs.json["transfer"]["speedup"]
    assert (speedup["steps"], speedup["seconds"], speedup["pairs"]) == (2.0, 1.0, 1)


def test_the_interval_of_a_few_speed_ups_is_their_range(runs):
    for seed, (scratch, transfer, seconds) in enumerate([(100, 50, 1.0), (400, 100, 2.0), (800, 100, 8.0)]):
        runs.add("scratch", seed, scratch, seconds=(8.0, 0.0)).add("transfer", seed, transfer, seconds=(seconds, 0.0))
    assert runs.json["transfer"]["speedup"] == {
        "steps": 4.0,
        "steps_interval": [2.0, 8.0],
        "seconds": 4.0,
        "seconds_interval": [1.0, 8.0],
        "pairs": 3,
    }


def test_the_interval_of_a_speed_up_is_open_where_scratch_never_grokked(runs):
    for seed, scratch in enumerate([100, None, 400]):
        runs.add("scratch", seed, scratch).add("transfer", seed, 50)
    assert runs.json["transfer"]["speedup"]["steps_interval"] == [2.0, None]


@given(
    steps=st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=7),
    accuracies=st.lists(st.floats(0, 1), min_size=7, max_size=7),
)
def test_medians_of_runs_that_are_followed_equally_long(tmp_path_factory, steps, accuracies):
    runs = Runs(tmp_path_factory.mktemp("medians"))
    for seed, step in enumerate(steps):
        runs.add("scratch", seed, step, steps=1000, test_accuracy=accuracies[seed])
    found = runs.json["scratch"]["median"]
    reached = [math.inf if step is None else step for step in steps]
    middle = median_low(reached) if None in steps else median(reached)
    assert found["sustained_at"] == (None if middle == math.inf else middle)
    assert found["test_accuracy"] == pytest.approx(median(accuracies[: len(steps)]), rel=1e-12)
    assert found["memorised_at"] is None


def test_a_run_that_ended_early_says_no_more_than_that_it_had_not_grokked_by_then(runs):
    """Of the two still followed at step 100, one groks there: half are left."""
    runs.add("scratch", 0, 100, steps=120).add("scratch", 1, None, steps=50).add("scratch", 2, 300, steps=320)
    assert runs.json["scratch"]["median"]["sustained_at"] == 100
    runs.add("middle", 0, 100, steps=120).add("middle", 1, None, steps=200).add("middle", 2, 300, steps=320)
    assert runs.json["middle"]["median"]["sustained_at"] == 300


def test_a_stage_most_of_whose_runs_never_grokked_has_no_median(runs):
    runs.add("scratch", 0, 100, steps=400).add("scratch", 1, None, steps=400).add("scratch", 2, None, steps=400)
    scratch = runs.json["scratch"]
    assert scratch["median"]["sustained_at"] is None
    assert scratch["quartiles"]["sustained_at"] == [100, None]  # a third had it by then


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=7))
def test_quartiles(tmp_path_factory, steps):
    runs = Runs(tmp_path_factory.mktemp("quartiles"))
    for seed, step in enumerate(steps):
        runs.add("scratch", seed, step, seconds=(step, 0.0))
    low, _, high = quantiles(steps, n=4, method="inclusive")
    assert runs.json["scratch"]["quartiles"] == {"sustained_at": [low, high], "seconds": [low, high]}


@pytest.mark.parametrize("name", ["fitted_at", "ood_generalised_at", "enforced_grokked_at", "grokked_at_f1_f2"])
def test_every_step_that_some_runs_never_reached_is_estimated(runs, name):
    for seed, step in enumerate([None, 60, 60, None, None]):
        runs.add("scratch", seed, steps=100, **{name: step})
    report = Report(runs.folder)
    assert sorted(report.values("scratch", name)) == [60, 60, math.inf, math.inf, math.inf]
    assert report.quartiles("scratch", name) == (60, math.inf, math.inf)


def test_a_measure_of_nothing_is_left_out(runs):
    for seed, share in enumerate([None, 0.5, 0.25]):
        runs.add("scratch", seed, explained_copied=share)
    assert Report(runs.folder).values("scratch", "explained_copied") == [0.5, 0.25]


def test_results_that_are_no_numbers_have_no_values(runs):
    runs.add("scratch", 0, note="fine", test_accuracy=None)
    report = Report(runs.folder)
    assert report.values("scratch", "note") == report.values("scratch", "test_accuracy") == []
    assert runs.json["scratch"]["median"]["test_accuracy"] is None
    assert "note" not in report.names
    assert {"test_accuracy", "seconds"} < set(report.names)


# categories


def test_a_text_counts_once_and_a_mapping_with_its_numbers(runs):
    runs.add("scratch", 0, structure="grid").add("scratch", 1, structure="circle").add("scratch", 2, structure="grid")
    runs.add("middle", 0, structure={"circle": 2, "grid": 13, "other": 0}).add("middle", 1, structure="other")
    runs.add("middle", 2, structure={"circle": 1.0, "grid": 15, "other": 0})
    runs.add("transfer", 0, structure=None).add("transfer", 1)
    report = Report(runs.folder)
    assert report.counts("scratch", "structure") == {"circle": 1, "grid": 2}
    assert report.counts("middle", "structure") == {"circle": 3, "grid": 28, "other": 1}
    assert report.counts("transfer", "structure") == report.counts("scratch", "nothing") == {}
    assert report.categories == {"structure": ["circle", "grid", "other"]}
    assert "structure" not in report.names
    found = json.loads(json.dumps(report.to_json()))["stages"]
    assert found["middle"]["counts"] == {"structure": {"circle": 3, "grid": 28, "other": 1}}
    assert found["transfer"]["counts"] == found["pretrain"]["counts"] == {}


def test_only_finished_runs_are_counted(runs):
    runs.add("scratch", 0, structure="grid").add("scratch", 1, status="failed", structure="circle")
    assert runs.json["scratch"]["counts"] == {"structure": {"grid": 1}}


def test_a_result_that_is_null_in_some_runs_and_a_category_in_others_is_a_category(runs):
    runs.add("scratch", 0, structure=None).add("scratch", 1, structure="grid").add("middle", 0, structure=7)
    report = Report(runs.folder)
    assert report.counts("scratch", "structure") == {"grid": 1}
    assert report.counts("middle", "structure") == {}
    assert "structure" not in report.names


def test_what_is_neither_number_nor_category_is_passed_by(runs):
    runs.add("scratch", 0, losses=[1, 2], shares={"grid": 0.5}, flags={"fine": True}, nothing={}, below={"grid": -1})
    report = Report(runs.folder)
    assert report.categories == {}
    assert report.names == ["steps", "sustained_at", "seconds"]
    assert runs.json["scratch"]["counts"] == {}


CATEGORIES = ("circle", "grid", "other", "a b")
results = st.none() | st.sampled_from(CATEGORIES) | st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 20))


@given(st.dictionaries(st.sampled_from(list(STAGES)), st.lists(results, max_size=5)), st.randoms())
def test_counts_are_those_of_all_runs_whichever_comes_first(tmp_path_factory, found, random):
    runs = Runs(tmp_path_factory.mktemp("counts"))
    shuffled = Runs(tmp_path_factory.mktemp("shuffled"))
    for stage, its in found.items():
        for folder, values in ((runs, its), (shuffled, random.sample(its, len(its)))):
            for seed, value in enumerate(values):
                folder.add(stage, seed, structure=value)
    expected = {}
    for stage in STAGES:
        expected[stage] = Counter()
        for value in found.get(stage, []):
            expected[stage].update([value] if isinstance(value, str) else value or {})
    report, other = Report(runs.folder), Report(shuffled.folder)
    for stage in STAGES:
        assert report.counts(stage, "structure") == expected[stage]
        assert list(report.counts(stage, "structure").items()) == list(other.counts(stage, "structure").items())
    assert report.categories == other.categories


def test_runs_that_have_not_begun_are_planned(tmp_path):
    runs = Runs(tmp_path, {"scratch": {"replicates": 5}, "middle": {}}).add("scratch", 0, 5)
    runs.add("middle", 0, 5).add("middle", 1, 5)  # of an earlier command with --replicates 2
    assert (runs.json["scratch"]["planned"], runs.json["middle"]["planned"]) == (5, 2)
    table = markdown_table(Report(runs.folder))
    assert "| scratch | 1 of 5 |" in table
    assert "| middle | 2 |" in table


def test_a_stage_of_a_grid_says_where_it_stands_and_is_compared_there(tmp_path):
    runs = Runs(tmp_path, {"scratch": {}, "transfer": {"compare_to": "scratch"}}, {"trainer.max_steps": [300, 700]})
    for point, scratch in (("max_steps=300", 100), ("max_steps=700", 300)):
        runs.add(f"scratch/{point}", 0, scratch).add(f"transfer/{point}", 0, 50)
    assert list(runs.json) == [
        "scratch[max_steps=300]",
        "scratch[max_steps=700]",
        "transfer[max_steps=300]",
        "transfer[max_steps=700]",
    ]
    transfer = runs.json["transfer[max_steps=700]"]
    assert transfer["point"] == {"max_steps": "700"}
    assert transfer["compare_to"] == "scratch[max_steps=700]"
    assert transfer["speedup"]["steps"] == 6
    assert runs.json["transfer[max_steps=300]"]["speedup"]["steps"] == 2
    assert runs.json["scratch[max_steps=700]"]["median"]["sustained_at"] == 300


def test_failed_and_missing_runs_are_reported_as_such(runs):
    runs.add("scratch", 10, 300).add("scratch", 9, status="failed").add("scratch", 2, status="interrupted")
    (runs.folder / "scratch" / "seed_7").mkdir()
    (runs.folder / "scratch" / "seed_8").symlink_to("nowhere")
    scratch = runs.json["scratch"]
    assert [(run["seed"], run.get("status")) for run in scratch["runs"]] == [
        (2, "interrupted"),
        (9, "failed"),
        (10, None),
    ]
    assert scratch["median"]["sustained_at"] == 300
    assert runs.json["pretrain"]["runs"] == []
    assert "| scratch | 1 of 3 |" in markdown_table(Report(runs.folder))


def test_a_recipe_none_of_whose_runs_has_begun_has_a_report(runs):
    report = Report(runs.folder)
    assert all(stage["runs"] == [] for stage in report.to_json()["stages"].values())
    assert report.to_json()["stages"]["transfer"]["speedup"] == {
        "steps": None,
        "steps_interval": None,
        "seconds": None,
        "seconds_interval": None,
        "pairs": 0,
    }
    assert report.name == "study"
    assert "| pretrain | 0 of 1 | – | – | – | – |  |  |" in markdown_table(report)


def test_the_folder_of_a_recipe_stands_for_its_latest(runs):
    runs.add("scratch", 0, 5)
    assert Report(runs.folder.parent).to_json() == Report(runs.folder).to_json()


def test_a_recipe_goes_by_its_own_name_though_its_runs_are_another_ones(runs, tmp_path):
    other = Runs(tmp_path / "logs", {"copy": {}})
    (other.folder / "copy").mkdir()
    runs.add("scratch", 0, 5)
    (other.folder / "copy" / "seed_0").symlink_to(runs.folder / "scratch" / "seed_0")
    other.folder.parent.rename(tmp_path / "logs" / "another")
    assert Report(tmp_path / "logs" / "another").name == "another"


def test_what_is_no_recipe_folder_is_refused(tmp_path, runs):
    with pytest.raises(ChainError, match=r"no recipe\.yaml in it; expected a folder such as logs/<recipe>/run_000"):
        Report(tmp_path)
    (runs.folder / "recipe.yaml").write_text("stages: {a: [")
    with pytest.raises(ChainError, match=r"recipe\.yaml: not valid YAML"):
        Report(runs.folder)
    (runs.folder / "recipe.yaml").write_text("model: x")
    with pytest.raises(ChainError, match=r"no recipe\.yaml"):
        Report(runs.folder)


def test_a_damaged_manifest_is_named(runs):
    runs.add("scratch", 0, 5)
    (runs.folder / "scratch" / "seed_0" / "manifest.json").write_text("{")
    with pytest.raises(ChainError, match=r"seed_0/manifest\.json: is no manifest"):
        Report(runs.folder)


# the table


def test_the_table_shows_medians_quartiles_and_speed_ups(runs):
    for seed, scratch, transfer in ((0, 100, 50), (1, 300, 100), (2, None, 150)):
        runs.add("pretrain", seed, 50, grokked_at=40)
        runs.add("scratch", seed, scratch, 300, (1 + seed, 0.0), grokked_at=scratch, test_accuracy=0.5 + seed / 4)
        runs.add("transfer", seed, transfer, seconds=(0.5, 0.0), donors=[f"pretrain/{seed}"])
    lines = markdown_table(Report(runs.folder)).splitlines()
    assert lines[0].startswith("| stage | runs | grokked at | sustained at | seconds | test accuracy | speed-up |")
    assert lines[2] == "| pretrain | 3 | 40 (40–40) | 50 (50–50) | 1.5 (1.5–1.5) | – |  |  |"
    steps = "300 (100–never), 2 of 3"  # a third had it by 100, two thirds by 300
    assert lines[3] == f"| scratch | 3 | {steps} | {steps} | 2.0 (1.5–2.5) | 0.7500 (0.6250–0.8750) |  |  |"
    assert lines[5].startswith("| transfer | 3 | – | 100 (75–125) | 0.5 (0.5–0.5) | – |")
    # steps 2, 3, infinite; seconds 1/0.5, 2/0.5, infinite; with the donor 100/100, 300/150, and 1/2, 2/2
    assert lines[5].endswith("| 3.00× [2.00–∞] (4.00× in time) | 2.00× [1.00–∞] (1.00× in time) |")


@pytest.mark.parametrize(
    ("steps", "cell"),
    [
        ([100], "100"),
        ([None], "never"),
        ([None, None, None], "never"),
        ([100, 200], "150 (125–175)"),
        ([100, 200, 300, 400, None], "300 (200–400), 4 of 5"),
        ([100, 200, 300, None, None], "300 (200–never), 3 of 5"),
        ([100, None, None, None, None], "never (never–never), 1 of 5"),
    ],
)
def test_the_table_says_how_many_seeds_reached_a_step(runs, steps, cell):
    for seed, step in enumerate(steps):
        runs.add("scratch", seed, step, steps=400)
    row = markdown_table(Report(runs.folder)).splitlines()[3]
    assert row.split(" | ")[3] == cell


def test_a_speed_up_without_an_interval_is_shown_alone(runs):
    for seed in range(2):
        runs.add("scratch", seed, 100).add("transfer", seed, 50)
    assert "| 2.00× (1.00× in time) |" in markdown_table(Report(runs.folder))


def test_a_run_that_alone_grokked_is_infinitely_faster(runs):
    runs.add("scratch", 0, None).add("transfer", 0, 10)
    assert "| ∞ (∞ in time) |" in markdown_table(Report(runs.folder))


def test_the_terminal_shows_the_same_cells(runs):
    runs.add("scratch", 0, 100).add("transfer", 0, 50)
    shown = StringIO()
    Console(file=shown, width=200).print(terminal_table(Report(runs.folder)))
    cells = [cell.strip() for cell in markdown_table(Report(runs.folder)).splitlines()[-1].split("|") if cell.strip()]
    assert " ".join(shown.getvalue().splitlines()[-2].split()) == " ".join(cells)


def test_categories_have_a_column_each(runs):
    runs.add("scratch", 0, 100, structure={"circle": 2, "grid": 13, "other": 1}, main_axis="a|b")
    runs.add("scratch", 1, 100, structure={"circle": 0, "grid": 16, "other": 0})
    runs.add("middle", 0, 100, structure={"circle": 0, "grid": 0, "other": 3}).add("transfer", 0, 100, structure=None)
    head, rule, *rows = markdown_table(Report(runs.folder)).splitlines()
    assert head.endswith("| with donor | structure | main axis |")
    assert rule.endswith(" ---: | --- | --- |")
    assert [row.removesuffix(" |").split(" | ")[-2:] for row in rows] == [
        ["–", "–"],
        ["circle 2, grid 29, other 1", "a\\|b 1"],
        ["other 3", "–"],
        ["–", "–"],
    ]
    shown = StringIO()
    Console(file=shown, width=300).print(terminal_table(Report(runs.folder)))
    lines = shown.getvalue().splitlines()
    assert lines[2].split()[-3:] == ["structure", "main", "axis"]
    assert " circle 2, grid 29, other 1   a|b 1 " in next(line for line in lines if "scratch" in line)


def test_without_categories_there_is_no_column(runs):
    runs.add("scratch", 0, 100, structure=None, shares={"grid": 0.5})
    head = markdown_table(Report(runs.folder)).splitlines()[0]
    assert head.endswith("| speed-up | with donor |")


def test_chosen_results_are_shown_alone(runs):
    for seed, (share, kind) in enumerate([(0.5, "grid"), (0.7, "grid"), (0.6, "circle")]):
        runs.add("scratch", seed, sustained=100 if seed else None, explained=share, structure=kind)
    table = result_table(Report(runs.folder), ["explained", "structure", "sustained_at"])
    text = StringIO()
    Console(file=text, width=150).print(table)
    [row] = [line for line in text.getvalue().splitlines() if "scratch" in line]
    assert "0.6 (0.55–0.65)" in row
    assert "circle 1, grid 2" in row
    assert "2 of 3" in row
    with pytest.raises(ChainError, match="--result explaned: no run has such a result; did you mean 'explained'"):
        result_table(Report(runs.folder), ["explaned"])


def test_the_report_is_saved_beside_the_runs(runs, monkeypatch):
    runs.add("scratch", 0, 100)
    report = Report(runs.folder)
    save_report(report)
    assert json.loads((runs.folder / "report.json").read_text()) == report.to_json()
    assert (runs.folder / "report.md").read_text() == f"# study\n\n{markdown_table(report)}"

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(ChainError, match=r"run_000: cannot be written \(No space left on device\)"):
        save_report(report)
