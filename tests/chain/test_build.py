import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel

from grok_lightning.callbacks import Evaluation, RunCheckpoint, RunRecord, StageProgress
from grok_lightning.chain.build import DEFAULT_MAX_STEPS, RunCLI, as_list, connect, data_sizes, describe_data
from grok_lightning.chain.merge import parse_yaml
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.logger import RunLogger
from grok_lightning.networks import network_of


def built(lab, loggers=(), **trainer):
    """Build a run as the chain does."""
    config = parse_yaml(lab.SMALL)
    config["trainer"] = {**config["trainer"], **trainer}
    before = repr(config)
    cli = RunCLI(config, lab.folder, [RunRecord(), StageProgress(), RunCheckpoint()], loggers)
    assert repr(config) == before
    return cli


def types(cli):
    return [type(callback) for callback in cli.trainer.callbacks]


def test_the_chain_decides_folder_callbacks_and_loggers(lab):
    logger = RunLogger(lab.folder)
    trainer = built(lab, [logger]).trainer
    assert trainer.default_root_dir == str(lab.folder)
    assert trainer.loggers == [logger]
    assert not list(lab.folder.iterdir())


def test_a_callback_that_the_recipe_lists_is_the_recipes(lab):
    cli = built(lab)
    (checkpoint,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, RunCheckpoint))
    assert checkpoint.every_n_steps == 5
    assert types(cli) == [RunRecord, StageProgress, Evaluation, RunCheckpoint]
    cli = built(lab, callbacks=None)
    (checkpoint,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, RunCheckpoint))
    assert checkpoint.every_n_steps == 500


def test_one_callback_may_be_given_without_a_list(lab):
    assert types(built(lab, callbacks={"class_path": "Evaluation"})) == [
        RunRecord,
        StageProgress,
        Evaluation,
        RunCheckpoint,
    ]


def test_a_quiet_run_has_no_progress_bar(lab):
    cli = built(lab, enable_progress_bar=False)
    assert not any(isinstance(callback, ProgressBar) for callback in cli.trainer.callbacks)
    assert any(isinstance(callback, ProgressBar) for callback in built(lab).trainer.callbacks)


def test_a_run_that_says_nothing_stops_in_the_end(lab):
    config = parse_yaml(lab.SMALL)
    del config["trainer"]
    assert RunCLI(config, lab.folder).trainer.max_steps == DEFAULT_MAX_STEPS


def test_a_folder_of_the_trainers_own_is_refused(lab):
    config = parse_yaml(lab.SMALL)
    config["trainer"]["default_root_dir"] = str(lab.folder / "elsewhere")
    with pytest.raises(ValueError, match=r"trainer\.default_root_dir: .* give --log_dir instead"):
        RunCLI(config, lab.folder)


def test_the_data_are_described_by_what_is_in_them(lab):
    def described(**options):
        data = BinaryOperationDataModule(modulus=5, split_seed=0, **options)
        data.setup("fit")
        return describe_data(data)

    assert described() == described()
    assert described()["train"] == 12
    assert described()["hash"] != described(operation="sub")["hash"]
    assert described() | {"hash": None} == described(operation="sub") | {"hash": None}
    assert describe_data(None) == {}


def test_the_seed_decides_the_weights(lab):
    def weights(seed, device="cpu"):
        config = {**parse_yaml(lab.SMALL), "seed_everything": seed}
        torch.rand(3)
        cli = RunCLI(config, lab.folder)
        connect(cli.model, cli.datamodule, on_meta=device == "meta")
        return cli.model.network.embedding.table.weight

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
    assert weights(3, "meta").is_meta


def test_the_typed_config_has_all_defaults_and_builds_the_same_again(lab):
    cli = built(lab)
    typed = cli.typed_config()
    assert typed["data"]["init_args"]["train_fraction"] == 0.5
    assert typed["model"]["class_path"] == "grok_lightning.tasks.EquationTask"
    assert RunCLI(typed, lab.folder).typed_config() == typed


def test_modules_without_network_or_connection_are_taken_as_they_are():
    module = BoringModel()
    assert network_of(module) is module
    connect(module, None)
    connect(module, LightningDataModule())
    assert data_sizes(None) == data_sizes(LightningDataModule()) == {}


def test_the_network_of_a_task_is_its_network_only_if_it_has_all_weights(lab):
    task = built(lab).model
    connect(task, built(lab).datamodule)
    assert network_of(task) is task.network
    module = BoringModel()
    module.network = torch.nn.Linear(1, 1)
    assert network_of(module) is module


def test_as_list():
    assert as_list(None) == []
    assert as_list(3) == [3]
    assert as_list([3]) == [3]


def test_checkpoints_cannot_be_done_without(lab):
    with pytest.raises(ValueError, match="enable_checkpointing: a run needs its checkpoint"):
        built(lab, enable_checkpointing=False)
