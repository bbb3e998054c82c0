"""A finished run, opened in a notebook."""

import json

import pytest
import torch

import grok_lightning
from grok_lightning.chain.faults import ChainError


@pytest.fixture
def run_folder(finished_chain):
    return finished_chain / "second/seed_0"


def test_a_loaded_run_is_the_run(run_folder):
    run = grok_lightning.load(run_folder)
    results = json.loads((run_folder / "manifest.json").read_text())["results"]
    assert run.manifest.stage == "second"
    assert run.manifest.results == results
    assert run.vocabulary == ("0", "1", "2", "3", "4", "-", "=")
    assert not run.network.training

    rows = {name: equations(run, name) for name in ("train", "val", "test")}
    assert {name: len(part) for name, part in rows.items()} == {"train": 12, "val": 6, "test": 7}
    assert sorted(row for part in rows.values() for row in part) == [
        ([str(a), "-", str(b), "="], str((a - b) % 5)) for a in range(5) for b in range(5)
    ]
    for name in ("val", "test"):
        assert accuracy_by_hand(run, rows[name]) == pytest.approx(results[f"{name}_accuracy"], abs=1e-6)
    assert accuracy_by_hand(run, rows["train"]) > 0.4  # it has learned something, so 0 does not match by chance
    steps, values = run.metrics["val/accuracy"]
    assert steps[0] == 0
    assert steps[-1] == results["steps"] == 40
    assert values[-1] == pytest.approx(results["val_accuracy"], abs=1e-6)


def equations(run, part):
    """Return the equations of a part as words, with their answers."""
    names = run.vocabulary
    tokens, answers = run.data.parts[part]
    rows = ([names[token] for token in row] for row in tokens.tolist())
    return [(row, names[answer]) for row, answer in zip(rows, answers.tolist(), strict=True)]


def accuracy_by_hand(run, rows):
    right = 0
    for words, answer in rows:
        tokens = torch.tensor([[run.vocabulary.index(word) for word in words]])
        with torch.no_grad():
            logits = run.network(tokens)[0]
        right += run.vocabulary[max(range(len(logits)), key=lambda token, logits=logits: logits[token])] == answer
    return right / len(rows)


def test_what_is_no_finished_run_is_refused(run_folder, tmp_path):
    with pytest.raises(ChainError, match=r"nowhere: no run; expected a folder such as"):
        grok_lightning.load(tmp_path / "nowhere")
    path = run_folder / "manifest.json"
    path.write_text(path.read_text().replace('"finished"', '"interrupted"'))
    with pytest.raises(ChainError, match=r"this run is interrupted; finish it"):
        grok_lightning.load(str(run_folder))


def test_names_of_the_package():
    assert {"load", "LoadedRun"} <= set(dir(grok_lightning))
    with pytest.raises(AttributeError, match="laod"):
        grok_lightning.laod  # noqa: B018
