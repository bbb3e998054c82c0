import re
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from grok_lightning.callbacks import Milestones, StageProgress, progress
from grok_lightning.terminal import Screen

LINE = re.compile(r"step \d+ · train accuracy [01]\.\d{3} · val accuracy [01]\.\d{3} · \d+ steps/s")


def show(terminal):
    return Screen(Console(file=StringIO(), force_terminal=terminal, width=150))


def text(screen):
    """What was printed, without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.console.file.getvalue())


class Synchronisations(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


class Crash(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        raise InterruptedError


@pytest.mark.parametrize("terminal", [True, False])
def test_title_step_and_accuracies_are_shown(train, terminal, kept):
    screen = show(terminal)
    train([StageProgress("transfer · seed 0", screen), Milestones(stop=False)], steps=200, logger=kept)
    shown = text(screen)
    assert "transfer · seed 0" in shown
    assert LINE.search(shown)
    for name in ("train/accuracy", "val/accuracy"):
        assert f"{name.replace('/', ' ')} {kept.rows[200][name]:.3f}" in shown
    assert "step 200 " in shown


def test_outside_a_terminal_lines_double_their_distance(train):
    screen = show(terminal=False)
    train([StageProgress("add", screen), Milestones(stop=False)], steps=260)
    lines = text(screen).splitlines()
    assert [int(re.search(r"step (\d+)", line)[1]) for line in lines] == [100, 200, 260]
    assert all(re.fullmatch(rf"add: (ended at )?{LINE.pattern}", line) for line in lines)
    assert [line.startswith("add: ended at ") for line in lines] == [False] * 2 + [True]


def test_what_is_shown_costs_the_steps_nothing(train, monkeypatch):
    class Counting(StageProgress):
        counts = ()

        def on_train_batch_end(self, *args):
            with Synchronisations() as mode:
                super().on_train_batch_end(*args)
            self.counts = (*self.counts, mode.count)

    monkeypatch.setattr(progress, "REFRESH_SECONDS", -1.0)  # as if each step took long
    shown = Counting("add", show(terminal=True))
    train([shown, Milestones(stop=False)], steps=100)
    assert shown.counts == (0, 0, 0, 0)


def test_a_terminal_is_not_drawn_at_each_step(train, monkeypatch):
    lines = []
    monkeypatch.setattr(Screen, "show", lambda self, line: lines.append(line))
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: 50.0))
    train([StageProgress("add", show(terminal=True)), Milestones(stop=False)], steps=100)
    assert [(line.title, line.done, line.total) for line in lines] == [("add", 0, 100), ("add", 25, 100)]


def test_a_title_is_not_markup(train):
    for terminal in (True, False):
        screen = show(terminal)
        train([StageProgress("[bold]add[/]", screen)], steps=25)
        assert "[bold]add[/]" in text(screen)


def test_losses_are_shown_of_a_module_without_accuracies(tmp_path):
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch).mean()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", 1.25)
            self.log("other", 7.0)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    screen = show(terminal=False)
    trainer = Trainer(
        max_steps=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[StageProgress("plain", screen)],
    )
    batches = DataLoader(torch.ones(4, 2))
    trainer.fit(Plain(), batches, batches)
    assert re.fullmatch(r"plain: ended at step 8 · val_loss 1\.250 · \d+ steps/s\n", text(screen))


@pytest.mark.parametrize("terminal", [True, False])
def test_the_line_is_closed_after_a_crash(train, terminal):
    shown = StageProgress("add", show(terminal))
    with pytest.raises(InterruptedError):
        train([shown, Crash()])
    assert shown.screen.lines == {}


def test_other_ranks_print_nothing(train):
    screen = show(terminal=False)
    shown = StageProgress("add", screen)
    shown.disable()
    train([shown], steps=25)
    assert text(screen) == ""


def test_evaluation_after_the_fit_prints_nothing(train):
    screen = show(terminal=False)
    trainer = train([StageProgress("add", screen), Milestones(stop=False)], steps=200)
    before = text(screen)
    trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert text(screen) == before


def test_a_resumed_run_counts_on(train, tmp_path):
    train(steps=100).save_checkpoint(tmp_path / "run.ckpt")
    screen = show(terminal=False)
    train([StageProgress("add", screen)], steps=150, resume=tmp_path / "run.ckpt")
    assert [int(step) for step in re.findall(r"step (\d+)", text(screen))] == [125, 150]
