import csv
import json

import pytest
import torch

import grok_lightning
from grok_lightning.chain.evaluate import evaluate_run, open_run, write_answers
from grok_lightning.chain.faults import ChainError
from grok_lightning.cli import main


def test_validate_and_test_reproduce_the_numbers_of_the_manifest(trained):
    folder = trained.run("heir")
    results = trained.manifest("heir")["results"]
    before = trained.times()
    for part, command in (("val", "validate"), ("test", "test")):
        measured = evaluate_run(folder, command)
        assert measured == {f"{part}/{name}": results[f"{part}_{name}"] for name in ("loss", "accuracy")}
    assert trained.times() == before


def test_predict_writes_a_table_of_all_equations_with_the_right_answers(trained):
    folder = trained.run("heir")
    assert main(["predict", "--config", "small.yaml", "--only", "heir"]) == 0
    with (folder / "answers.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    pairs = []
    for row in table:
        a, sign, b, equals = row["equation"].split()
        assert (sign, equals) == ("-", "=")
        assert int(row["answer"]) == (int(a) - int(b)) % 5
        assert row["correct"] == str(int(row["prediction"] == row["answer"]))
        pairs.append((int(a), int(b)))
    assert sorted(pairs) == [(a, b) for a in range(5) for b in range(5)]
    results, sizes = trained.manifest("heir")["results"], trained.manifest("heir")["data"]
    for part in ("val", "test"):
        right = [int(row["correct"]) for row in table if row["part"] == part]
        assert len(right) == sizes[part]
        assert sum(right) / len(right) == pytest.approx(results[f"{part}_accuracy"], abs=1e-7)


def test_the_predictions_are_those_of_the_network(trained):
    folder = trained.run("plain")
    run = grok_lightning.load(folder)
    equations = run.data.part("test")
    with torch.no_grad():
        right = (run.network(equations.tokens).argmax(-1) == equations.answers).float().mean().item()
    assert right == trained.manifest("plain")["results"]["test_accuracy"]
    assert not run.network.training


def test_evaluation_uses_one_device_however_many_trained(trained):
    folder = trained.run("plain")
    config = (folder / "config.yaml").read_text()
    many = config.replace("devices: auto", "devices: 2").replace("strategy: auto", "strategy: ddp")
    many = many.replace("accelerator: auto", "accelerator: gpu")  # of a machine that has one
    assert many != config
    (folder / "config.yaml").write_text(many)
    assert evaluate_run(folder, "test")["test/loss"] == trained.manifest("plain")["results"]["test_loss"]


@pytest.mark.parametrize(
    ("status", "message"),
    [("running", "this run is running; finish it with `lightning fit` first"), (None, "no run; expected a folder")],
)
def test_only_finished_runs_are_opened(trained, status, message):
    folder = trained.run("plain")
    if status is None:
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text(json.dumps({**trained.manifest("plain"), "status": status}))
    with pytest.raises(ChainError, match=message):
        open_run(folder)


# tables of answers


def test_columns_of_several_parts_and_batches_become_one_table(tmp_path):
    first = [{"x": torch.tensor([1, 2]), "name": ["a", "b"]}]
    second = [{"x": torch.tensor([3]), "name": ["c, d"]}]
    path = write_answers([first, second], tmp_path / "answers.csv")
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["x", "name"], ["1", "a"], ["2", "b"], ["3", "c, d"]]


@pytest.mark.parametrize(
    ("batch", "rows"),
    [
        (torch.tensor([1.5, 2.5]), [["0"], ["1.5"], ["2.5"]]),
        (torch.tensor([[1, 2], [3, 4]]), [["0", "1"], ["1", "2"], ["3", "4"]]),
        (torch.arange(4).reshape(1, 2, 2), [["0", "1", "2", "3"], ["0", "1", "2", "3"]]),
    ],
)
def test_tensors_become_numbered_columns(tmp_path, batch, rows):
    with write_answers([batch], tmp_path / "answers.csv").open(newline="") as file:
        assert list(csv.reader(file)) == rows


def test_without_predictions_the_table_is_empty(tmp_path):
    assert write_answers([], tmp_path / "answers.csv").read_text().strip() == ""


def test_predictions_of_no_form_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ChainError, match="predict_step returned a str; expected a mapping of columns or a tensor"):
        write_answers([{"x": [1]}, "text"], tmp_path / "answers.csv")
    assert not (tmp_path / "answers.csv").exists()
