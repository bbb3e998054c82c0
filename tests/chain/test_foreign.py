"""A chain knows nothing of arithmetic: Lightning's own demo classes run, resume, transfer and are reused."""

import csv
import json

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from safetensors.torch import load_file

from grok_lightning.chain.evaluate import evaluate_run
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.report import Report
from grok_lightning.cli import main

BORING = """
model: lightning.pytorch.demos.boring_classes.BoringModel
data: lightning.pytorch.demos.boring_classes.BoringDataModule
trainer: {max_steps: 12, callbacks: [{class_path: stopping.Stops}]}
stages:
  first: {}
  second: {transfer: {from: first, parts: [layer]}}
  frozen: {transfer: {from: first, parts: [layer.weight], freeze: true}}
"""
STOPPING = """
import os, signal
from lightning.pytorch import Callback

class Stops(Callback):
    def on_train_batch_end(self, trainer, *args):
        if os.environ.get("STOPS") == f"{trainer.default_root_dir.split(os.sep)[-2]} {trainer.global_step}":
            os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture(scope="module")
def boring(tmp_path_factory, make_lab):
    """A laboratory in which two of the stages have run, the second after an interruption."""
    lab = make_lab(tmp_path_factory.mktemp("boring"))
    lab.write(BORING)
    lab.write(STOPPING, "stopping.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        patch.setenv("STOPS", "second 5")
        lab.codes = [lab.fit()]
        lab.interrupted = lab.manifest("second")
        patch.setenv("STOPS", "")
        lab.codes += [lab.fit(), lab.fit()]
    return lab


def test_it_is_interrupted_resumes_and_is_reused(boring):
    assert boring.codes == [130, 0, 0]
    assert boring.interrupted["error"] == "interrupted at step 5"
    assert set(boring.statuses().values()) == {"finished"}
    assert len(boring.statuses()) == 3
    assert {stage: boring.manifest(stage)["results"]["steps"] for stage in ("first", "second", "frozen")} == {
        "first": 12,
        "second": 12,
        "frozen": 12,
    }


def test_its_weights_move_and_stay_frozen(boring):
    first, frozen = (load_file(boring.run(stage) / "network.safetensors") for stage in ("first", "frozen"))
    assert torch.equal(first["layer.weight"], frozen["layer.weight"])
    assert not torch.equal(first["layer.bias"], frozen["layer.bias"])
    landed = json.loads((boring.run("second") / "transfer.json").read_text())
    assert [(entry["name"], entry["frozen"]) for entry in landed] == [("layer.weight", False), ("layer.bias", False)]
    assert boring.manifest("frozen")["parameters"] == {"total": 66, "trainable": 2}


def test_the_first_stage_is_what_lightning_alone_makes_of_it(boring, tmp_path):
    seed_everything(0)
    model, data = BoringModel(), BoringDataModule()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=12, default_root_dir=tmp_path, enable_model_summary=False, **options)
    trainer.fit(model, datamodule=data)
    trained = load_file(boring.run("first") / "network.safetensors")
    assert set(trained) == {"layer.weight", "layer.bias"}
    assert torch.equal(trained["layer.bias"], model.layer.bias)


def test_its_report_has_no_steps_of_grokking(boring):
    report = Report(boring.logs / "small").to_json()
    median = report["stages"]["second"]["median"]
    assert median["seconds"] > 0
    assert {name for name, value in median.items() if value is None} == {
        "memorised_at",
        "grokked_at",
        "sustained_at",
        "test_accuracy",
    }
    assert "never" not in (boring.logs / "small" / "run_000" / "report.md").read_text()


def test_its_answers_are_the_outputs_of_its_layer(boring, monkeypatch):
    monkeypatch.chdir(boring.folder)
    folder = boring.run("first")
    assert main(["predict", str(folder)]) == 0
    with (folder / "answers.csv").open() as file:
        table = list(csv.reader(file))
    assert table[0] == ["0", "1"]
    assert len(table) == 1 + 64
    assert main(["validate", str(folder)]) == 0
    assert main(["test", str(folder)]) == 0


BARE = """
import torch
from lightning.pytorch import LightningModule

class Bare(LightningModule):
    def __init__(self, width: int = 3):
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(width, 1), torch.nn.BatchNorm1d(width)

    def training_step(self, batch, batch_idx):
        return self.layer(self.norm(batch)).square().mean()

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.randn(8, self.layer.in_features), batch_size=4)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


def test_a_module_with_its_own_data_and_nothing_to_evaluate_runs_too(lab):
    lab.write(BARE, "bare.py")
    lab.write("{model: {class_path: bare.Bare, init_args: {width: 4}}, trainer: {max_epochs: 2}}")
    assert lab.fit() == 0
    said = lab.manifest("run")
    assert (said["results"], said["data"]) == ({"steps": 4}, {})
    assert said["parameters"] == {"total": 5 + 8, "trainable": 13}  # statistics of a norm are no parameters
    assert load_file(lab.run("run") / "network.safetensors")["norm.num_batches_tracked"] == 4
    with pytest.raises(ChainError, match=r"seed_0: .*validation_step"):
        evaluate_run(lab.run("run"), "validate")
