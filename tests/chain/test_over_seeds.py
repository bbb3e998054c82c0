import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.over_seeds import save_over_seeds

LEVELS = ("median", "min", "max")


@pytest.fixture
def replicate(tmp_path):
    """Makes a run folder with a table of metrics, and a manifest unless the run never wrote one."""

    def make(seed, table, grokked_at=None, manifest=True):
        folder = tmp_path / f"seed_{seed}"
        folder.mkdir()
        if table:
            (folder / "metrics.csv").write_text(table)
        if manifest:
            content = {
                "recipe": "r",
                "stage": "s",
                "seed": seed,
                "fingerprint": "",
                "results": {"grokked_at": grokked_at},
            }
            (folder / "manifest.json").write_text(json.dumps(content))
        return folder

    return make


def scalars(folder):
    """Returns step and value of each scalar by name, of the one event file of a folder."""
    (path,) = folder.iterdir()
    assert "tfevents" in path.name
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def table(columns, rows):
    return "\n".join([f"step,{columns}", *rows]) + "\n"


def test_random_runs_against_numpy(replicate, tmp_path):
    generator = np.random.default_rng(0)
    runs = []
    for seed, grokked_at in enumerate([30, None, 10, None]):
        steps = np.sort(generator.choice(np.arange(0, 200, 5), 12, replace=False))
        losses, accuracies = generator.normal(size=12), generator.uniform(size=12)
        rows = [f"{step},{x!r},{y!r}" for step, x, y in zip(steps, losses.tolist(), accuracies.tolist(), strict=True)]
        replicate(seed, table("train/loss,val/accuracy", rows), grokked_at)
        runs.append((steps, {"train/loss": losses, "val/accuracy": accuracies}, grokked_at))
    save_over_seeds([tmp_path / f"seed_{seed}" for seed in range(4)], tmp_path / "over")

    for level, of_numpy in zip(LEVELS, (np.median, np.min, np.max), strict=True):
        found = scalars(tmp_path / "over" / level)
        assert found.keys() == {"train/loss", "val/accuracy"}
        for name, values in found.items():
            expected = {}
            for step in sorted({int(step) for steps, _, _ in runs for step in steps}):
                counting = [
                    np.interp(step, steps, metrics[name])
                    for steps, metrics, grokked_at in runs
                    if steps[0] <= step and (step <= steps[-1] or grokked_at is not None)
                ]
                expected[step] = of_numpy(counting)
            assert list(values) == list(expected)
            assert list(values.values()) == pytest.approx(list(expected.values()), rel=1e-6)


def test_a_metric_is_there_at_its_own_steps_and_without_what_is_not_a_number(replicate, tmp_path):
    folders = [
        replicate(0, table("a,b", ["0,1.0,", "10,3.0,nan", "30,nan,7.0"]), grokked_at=10),
        replicate(1, table("a,c", ["0,2.0,", "20,6.0,nan"])),
    ]
    save_over_seeds(folders, tmp_path)
    # At 30 the second run has ended and not grokked, the first had grokked at 3.0 and then failed.
    assert scalars(tmp_path / "median") == {"a": {0: 1.5, 10: 3.5, 20: 4.5, 30: 3.0}, "b": {30: 7.0}}
    assert scalars(tmp_path / "min") == {"a": {0: 1.0, 10: 3.0, 20: 3.0, 30: 3.0}, "b": {30: 7.0}}
    assert scalars(tmp_path / "max") == {"a": {0: 2.0, 10: 4.0, 20: 6.0, 30: 3.0}, "b": {30: 7.0}}


def test_older_events_are_replaced(replicate, tmp_path):
    folders = [replicate(seed, table("a", [f"0,{seed}.0"]), manifest=False) for seed in range(3)]
    (tmp_path / "over" / "max").mkdir(parents=True)
    (tmp_path / "over" / "max" / "events.partial").write_bytes(b"torn")
    (tmp_path / "over" / "max" / "events.out.tfevents.0001.host").write_bytes(b"old")
    save_over_seeds(folders[:2], tmp_path / "over")
    before = set((tmp_path / "over").rglob("*tfevents*"))
    save_over_seeds(folders, tmp_path / "over")
    assert before.isdisjoint((tmp_path / "over").rglob("*tfevents*"))
    assert [scalars(tmp_path / "over" / level) for level in LEVELS] == [{"a": {0: v}} for v in (1.0, 0.0, 2.0)]


def test_runs_without_a_single_number_leave_no_scalar(replicate, tmp_path):
    save_over_seeds([replicate(seed, table("a", ["0,nan", "5,inf"])) for seed in range(2)], tmp_path / "over")
    assert [scalars(tmp_path / "over" / level) for level in LEVELS] == [{}, {}, {}]


def test_one_run_is_no_spread(replicate, tmp_path):
    folders = [replicate(0, table("a", ["0,1.0"])), replicate(1, ""), replicate(2, "step\n"), tmp_path / "seed_3"]
    save_over_seeds(folders, tmp_path / "over")
    save_over_seeds([], tmp_path / "over")
    assert not (tmp_path / "over").exists()


def test_a_file_in_the_way_is_told(replicate, tmp_path):
    folders = [replicate(seed, table("a", ["0,1.0"])) for seed in range(2)]
    (tmp_path / "over").write_text("")
    with pytest.raises(ChainError, match="over: cannot be written"):
        save_over_seeds(folders, tmp_path / "over")
