import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from grok_lightning.callbacks import Evaluation, Snapshots
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import freeze, named_tensors


class Weights(Callback):
    """Keeps the weights after every chunk."""

    def __init__(self):
        self.at = {}

    def on_train_start(self, trainer, pl_module):
        self.keep(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.keep(trainer, pl_module)

    def keep(self, trainer, pl_module):
        self.at[trainer.global_step] = {n: t.clone() for n, t in named_tensors(pl_module.network).items()}


def saved(folder):
    return {int(path.stem.removeprefix("step_")): load_file(path) for path in (folder / "snapshots").iterdir()}


def test_snapshots_are_the_weights_at_the_steps_of_the_cadence(train, tmp_path):
    weights = Weights()
    train([Snapshots(["embedding", "decoder.norm", "*.output.bias"], every_n_steps=18), weights], steps=60)
    snapshots = saved(tmp_path)
    assert sorted(snapshots) == [0, 18, 36, 54, 60]
    for step, tensors in snapshots.items():
        assert set(tensors) == {
            name
            for name in weights.at[step]
            if name.startswith(("embedding.", "decoder.norm.")) or name.endswith(".output.bias")
        }
        assert all(torch.equal(tensor, weights.at[step][name]) for name, tensor in tensors.items())


def test_snapshots_grow_apart(train, tmp_path):
    train([Snapshots(["classifier"], every_n_steps=5, growth=2.0)], steps=50)
    assert sorted(saved(tmp_path)) == [0, 5, 10, 20, 40, 50]


def test_a_run_that_ends_early_has_a_last_snapshot(train, tmp_path, stop_after):
    train([Snapshots(["classifier"], every_n_steps=20), stop_after(45), Evaluation(50)], steps=90)
    assert sorted(saved(tmp_path)) == [0, 20, 40, 50]


def test_a_resumed_run_takes_the_snapshots_of_an_uninterrupted_one(train, tmp_path):
    whole = train([Snapshots(["decoder"], 7)], steps=50, seed=4)
    expected = saved(tmp_path)
    for path in (tmp_path / "snapshots").iterdir():
        path.unlink()

    train([Snapshots(["decoder"], 7)], steps=21, seed=4).save_checkpoint(tmp_path / "run.ckpt")
    train([Snapshots(["decoder"], 7)], steps=50, seed=4, resume=tmp_path / "run.ckpt")
    found = saved(tmp_path)
    assert sorted(found) == sorted(expected) == [*range(0, 50, 7), 50]
    for step, tensors in expected.items():
        assert all(torch.equal(found[step][name], tensor) for name, tensor in tensors.items())
    assert whole.global_step == 50


def test_a_table_frozen_in_part_is_saved_whole(train, small_task, tmp_path):
    task = small_task()
    task.connect(BinaryOperationDataModule("add", 7))
    freeze(task.network, "embedding.table.weight", [1, 2])
    train([Snapshots(["embedding"])], steps=5, task=task)
    assert {name: tensor.shape for name, tensor in saved(tmp_path)[5].items()} == {"embedding.table.weight": (9, 16)}


def test_other_modules_have_parts_too(tmp_path):
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    plain = Plain()
    trainer = Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[Snapshots(["layer.weight"], every_n_steps=2)],
    )
    trainer.fit(plain, DataLoader(torch.ones(8, 2)))
    assert sorted(saved(tmp_path)) == [0, 2, 4]
    assert torch.equal(saved(tmp_path)[4]["layer.weight"], plain.layer.weight)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("embeding", "the part 'embeding' matches no tensor; did you mean 'embedding'"),
        ("decoder.block", "did you mean 'decoder.blocks'"),
        ("xyz", "the part 'xyz' matches no tensor; the parts are classifier, decoder, embedding"),
    ],
)
def test_an_unknown_part_is_refused_before_training(train, tmp_path, watch, part, message):
    with pytest.raises(ValueError, match=message):
        train([watch, Snapshots(["decoder", part])])
    assert watch.steps == []
    assert not (tmp_path / "snapshots").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"parts is \[\]; expected a list of parts"),
        (("embedding",), "parts is 'embedding'; expected a list"),
        ((["decoder"], 0), "every_n_steps is 0"),
        ((["decoder"], 10, 0.5), "growth is 0.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Snapshots(*arguments)
