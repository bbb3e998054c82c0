from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.profilers import SimpleProfiler
from torch.optim import AdamW
from torch.optim.lr_scheduler import ExponentialLR

from grok_lightning.callbacks import Evaluation
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import ArithmeticTransformer
from grok_lightning.tasks import EquationTask
from grok_lightning.tasks.descent import HOOKS, is_listened_to

STEPS = 40


class Listener(Callback):
    """Counts the calls of each hook of a step."""

    def __init__(self):
        self.heard = dict.fromkeys(HOOKS, 0)


def listener(*hooks):
    """A callback that has some of the hooks."""

    def count(hook):
        def hear(self, trainer, pl_module, *rest):
            self.heard[hook] += 1

        return hear

    return type("Some", (Listener,), {hook: count(hook) for hook in hooks})()


def train(*callbacks, task=EquationTask, **options):
    seed_everything(0)
    module = task(
        partial(ArithmeticTransformer, width=16, heads=2, dropout=0.1),
        partial(AdamW, lr=1e-2, fused=True),
        partial(ExponentialLR, gamma=0.99),
        gradient_clip_norm=0.5,
    )
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(
        max_steps=STEPS, accelerator="cpu", logger=False, callbacks=[Evaluation(20), *callbacks], **quiet, **options
    )
    trainer.fit(module, datamodule=BinaryOperationDataModule("add", 7, batch_size=9))
    return trainer


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_called_once_a_step_and_changes_no_bit(hook):
    alone, ears = train(), listener(hook)
    heard = train(ears)
    assert ears.heard[hook] == STEPS
    assert alone.global_step == heard.global_step == STEPS
    assert not is_listened_to(alone, alone.lightning_module)
    assert is_listened_to(heard, heard.lightning_module)
    for name, tensor in alone.lightning_module.state_dict().items():
        assert torch.equal(tensor, heard.lightning_module.state_dict()[name]), name
    before, after = (trainer.lr_scheduler_configs[0].scheduler.last_epoch for trainer in (alone, heard))
    assert before == after == STEPS


def test_a_module_with_hooks_of_its_own_hears_them():
    class Hearing(EquationTask):
        heard = 0

        def on_after_backward(self):
            self.heard += 1

    assert train(task=Hearing).lightning_module.heard == STEPS


def test_a_module_with_a_backward_of_its_own_is_asked():
    class Doubled(EquationTask):
        calls = 0

        def backward(self, loss):
            self.calls += 1
            super().backward(loss)

    assert train(task=Doubled).lightning_module.calls == STEPS


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"profiler": SimpleProfiler()}, {"strategy": "ddp"}])
def test_what_hangs_on_lightnings_way_of_a_step_keeps_it(options):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, **options)
    task = EquationTask(partial(ArithmeticTransformer, width=16, heads=2), AdamW)
    assert is_listened_to(trainer, task)
