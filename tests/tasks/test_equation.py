import itertools
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, ReduceLROnPlateau
from torch.utils._python_dispatch import TorchDispatchMode

from grok_lightning import commands as commands  # imports every room, so that class names resolve
from grok_lightning.callbacks import Evaluation, Milestones, Snapshots
from grok_lightning.chain.build import RunCLI, connect
from grok_lightning.data import (
    BatchStream,
    BinaryOperationDataModule,
    CompositionDataModule,
    MixedOperationDataModule,
)
from grok_lightning.networks import ArithmeticTransformer, QuadraticMLP, freeze, named_tensors
from grok_lightning.optim import ParameterRule
from grok_lightning.tasks import EquationTask

SEED = 3
transformer = partial(ArithmeticTransformer, width=16, heads=2)
adam = partial(AdamW, lr=1e-2, betas=(0.9, 0.98), weight_decay=1.0, fused=True)


class Kept(Logger):
    """Keeps what it is given."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, {name: value for name, value in metrics.items() if name != "epoch"}))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


class Watch(Callback):
    """Notes the size of every chunk, the step after it, and the steps of the evaluations."""

    def __init__(self):
        self.chunks, self.steps, self.evaluations = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.chunks.append(len(batch.answers))
        self.steps.append(trainer.global_step)

    def on_validation_start(self, trainer, pl_module):
        self.evaluations.append(trainer.global_step)


def make_data(**options):
    return BinaryOperationDataModule(**{"operation": "add", "modulus": 7, "batch_size": 9, **options})


def make_task(network=transformer, optimizer=adam, **options):
    return EquationTask(network, optimizer, **options)


def fit(task, data, steps=60, folder=Path("unused"), callbacks=(), resume=None, **options):
    options.setdefault("enable_checkpointing", False)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[*callbacks],
        logger=options.pop("logger", False),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*manual optimization.*")
        trainer.fit(task, datamodule=data, ckpt_path=resume)
    return trainer


def batches(data):
    """The batches of the training set one by one, as the network sees them."""
    part = data.parts["train"]
    stream = BatchStream(len(part), data.batch_size, SEED, gather=lambda rows: data.augment(part.at(rows)))
    return ((chunk.tokens[0], chunk.answers[0]) for chunk in stream)


def mean_square(logits, answers):
    target = torch.zeros_like(logits)
    target[torch.arange(len(answers)), answers] = 1
    return ((logits - target) ** 2).mean()


class PlainLoop:
    """The training loop as one would write it without Lightning: a batch, a step, and again."""

    def __init__(self, data, network=transformer, optimizer=adam, loss=F.cross_entropy, groups=None):
        data.setup("fit")
        torch.manual_seed(SEED)
        self.network = network(len(data.vocabulary), data.length)
        self.optimizer = optimizer([*self.network.parameters()] if groups is None else groups(self.network))
        self.data, self.loss = data, loss
        self.batches = batches(data)
        torch.manual_seed(SEED)  # what dropout draws from

    def train(self, steps, schedule=None, clip=None, forward_context=warnings.catch_warnings):
        self.network.train()
        losses, right, rows = [], 0, 0
        for tokens, answers in itertools.islice(self.batches, steps):
            with forward_context():
                logits = self.network(tokens)
                loss = self.loss(logits, answers)
            self.optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                norm = torch.stack([p.grad.norm() for p in self.network.parameters()]).norm()
                for parameter in self.network.parameters():
                    parameter.grad *= min(1.0, clip / (norm + 1e-6))
            self.optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.item())
            right += (logits.argmax(-1) == answers).sum().item()
            rows += len(answers)
        return {"train/loss": sum(losses) / max(len(losses), 1), "train/accuracy": right / max(rows, 1)}

    @torch.no_grad()
    def evaluate(self, name):
        self.network.eval()
        part = self.data.parts[name]
        logits = self.network(part.tokens)
        accuracy = (logits.argmax(-1) == part.answers).double().mean().item()
        return {f"{name}/loss": self.loss(logits, part.answers).item(), f"{name}/accuracy": accuracy}


def assert_same_weights(network, expected):
    weights, others = network.state_dict(), expected.state_dict()
    assert list(weights) == list(others)
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


def assert_same_optimizer(optimizer, expected):
    state, other = optimizer.state_dict()["state"], expected.state_dict()["state"]
    assert state.keys() == other.keys()
    for index, moments in state.items():
        assert all(torch.equal(value, other[index][name]) for name, value in moments.items())


def close(values, expected):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def autocast(cached=False):
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=cached)


class CachedMixedPrecision(MixedPrecision):
    """Mixed precision whose autocast keeps its copies of the weights while a step lasts."""

    def autocast_context_manager(self):
        return autocast(cached=True)


# --- chunks of steps --------------------------------------------------------------------------------------------------


def test_one_training_step_takes_several_optimiser_steps():
    watch = Watch()
    trainer = fit(make_task(), make_data(), steps=60, callbacks=[watch])
    assert watch.chunks == [25, 25, 10]
    assert watch.steps == [25, 50, 60]
    assert trainer.global_step == 60


CASES = {
    "as it is": ({}, {}, {}),
    "dropout": ({"network": partial(transformer, dropout=0.1)}, {}, {}),
    "another optimiser": ({"optimizer": partial(SGD, lr=0.1, momentum=0.9)}, {}, {}),
    "squared error of the quadratic network": (
        {"network": partial(QuadraticMLP, width=20), "loss": mean_square},
        {"layout": "a b"},
        {},
    ),
    "both orders of a commutative operation": ({}, {"commutative_augmentation": True}, {}),
    "the whole training set as a batch": ({}, {"batch_size": None}, {}),
    "clipped gradients": ({}, {}, {"clip": 0.3}),
}


@pytest.mark.parametrize(("arguments", "data_options", "training"), CASES.values(), ids=CASES)
def test_chunks_are_the_plain_loop_bit_for_bit(arguments, data_options, training):
    seed_everything(SEED)
    loss = {"loss": "mse"} if "loss" in arguments else {}
    clip = {"gradient_clip_norm": training["clip"]} if training else {}
    task = make_task(**{**arguments, **loss, **clip})
    trainer = fit(task, make_data(**data_options), steps=60)

    plain = PlainLoop(make_data(**data_options, split_seed=SEED), **arguments)
    plain.train(60, **training)
    if training:  # by another formula, so up to rounding
        torch.testing.assert_close(task.network.state_dict(), plain.network.state_dict(), rtol=1e-3, atol=1e-4)
    else:
        assert_same_weights(task.network, plain.network)
        assert_same_optimizer(trainer.optimizers[0], plain.optimizer)


def test_clipping_is_that_of_torch():
    seed_everything(SEED)
    task = make_task(gradient_clip_norm=0.3)
    fit(task, make_data(), steps=30)
    plain = PlainLoop(make_data(split_seed=SEED))
    step = plain.optimizer.step

    def clip_and_step():
        assert torch.nn.utils.clip_grad_norm_(plain.network.parameters(), 0.3) > 0.3
        step()

    plain.optimizer.step = clip_and_step
    plain.train(30)
    assert_same_weights(task.network, plain.network)


def test_the_scheduler_steps_with_the_optimiser():
    seed_everything(SEED)
    warm_up = partial(LinearLR, start_factor=0.1, total_iters=40)
    task = make_task(lr_scheduler=warm_up)
    trainer = fit(task, make_data(), steps=33)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 * (0.1 + 0.9 * 33 / 40))

    plain = PlainLoop(make_data(split_seed=SEED))
    plain.train(33, schedule=warm_up(plain.optimizer))
    assert_same_weights(task.network, plain.network)


def test_parameter_groups():
    seed_everything(SEED)
    rules = [ParameterRule("embedding", lr=0.5), ParameterRule("decoder.norm", lr=0), ParameterRule("*.bias", 1, 0)]
    task = make_task(parameter_groups=rules, lr_scheduler=partial(ExponentialLR, gamma=0.99))
    fit(task, make_data(), steps=30)

    def groups(network):
        named = dict(network.named_parameters())
        frozen = [name for name in named if name.startswith("decoder.norm.")]
        for name in frozen:
            named.pop(name).requires_grad_(False)
        slow = [named.pop(name) for name in list(named) if name.startswith("embedding.")]
        undecayed = [named.pop(name) for name in list(named) if name.endswith(".bias")]
        return [
            {"params": slow, "lr": 0.5e-2},
            {"params": undecayed, "weight_decay": 0.0},
            {"params": [*named.values()]},
        ]

    plain = PlainLoop(make_data(split_seed=SEED), groups=groups)
    before = plain.network.decoder.norm.weight.clone()
    plain.train(30, schedule=ExponentialLR(plain.optimizer, gamma=0.99))
    assert_same_weights(task.network, plain.network)
    assert torch.equal(task.network.decoder.norm.weight, before)


@pytest.mark.parametrize("plugins", [None, CachedMixedPrecision("bf16-mixed", "cpu")], ids=["stock", "cached casts"])
def test_mixed_precision_is_the_plain_loop_too(plugins):
    seed_everything(SEED)
    task = make_task()
    trainer = fit(task, make_data(), **({"precision": "bf16-mixed"} if plugins is None else {"plugins": plugins}))
    plain = PlainLoop(make_data(split_seed=SEED))
    plain.train(60, forward_context=autocast)
    assert_same_weights(task.network, plain.network)
    assert trainer.callback_metrics["train/loss"] < 1.6


def test_gradients_in_half_precision_are_clipped_by_their_own_norm():
    seed_everything(SEED)
    options = {"optimizer": partial(SGD, lr=0.1), "gradient_clip_norm": 0.05}
    scaled, exact = make_task(**options), make_task(**options)
    fit(exact, make_data(), steps=20)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    fit(scaled, make_data(), steps=20, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    for name, tensor in exact.network.state_dict().items():
        torch.testing.assert_close(scaled.network.state_dict()[name], tensor, rtol=2e-2, atol=2e-3)


class CountSynchronisations(TorchDispatchMode):
    """Counts what waits for the device and brings a value to the host."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


def test_a_chunk_waits_for_nothing():
    class Counting(EquationTask):
        waits = ()

        def training_step(self, chunk, batch_idx):
            with CountSynchronisations() as mode:
                super().training_step(chunk, batch_idx)
            self.waits = (*self.waits, mode.count)

    task = Counting(transformer, adam, lr_scheduler=partial(LinearLR, total_iters=10), gradient_clip_norm=1.0)
    fit(task, make_data(), steps=50)
    assert task.waits == (0, 0)


# --- evaluations ------------------------------------------------------------------------------------------------------


def test_metrics_are_those_of_the_plain_loop():
    seed_everything(SEED)
    kept = Kept()
    task, data = make_task(), make_data()
    trainer = fit(task, data, steps=60, logger=kept, callbacks=[Evaluation(20)])
    plain = PlainLoop(make_data(split_seed=SEED))
    expected = [(0, plain.evaluate("val"))]
    for step in (20, 40, 60):
        expected.append((step, plain.train(20) | plain.evaluate("val")))
    assert [step for step, _ in kept.rows] == [0, 20, 40, 60]
    for (_, row), (_, other) in zip(kept.rows, expected, strict=True):
        close(row, other)

    [tested] = trainer.test(task, datamodule=data, verbose=False)
    close(tested, plain.evaluate("test"))
    assert kept.rows[-1][0] == 60
    close(kept.rows[-1][1], tested)
    [validated] = trainer.validate(task, datamodule=data, verbose=False)
    close(validated, plain.evaluate("val"))


def test_measuring_changes_nothing_in_the_training():
    networks = []
    for cadence in (1, 17, 1000):
        seed_everything(SEED)
        task = make_task(partial(transformer, dropout=0.1))
        fit(task, make_data(), steps=40, callbacks=[Evaluation(cadence)])
        networks.append(task.network)
    assert_same_weights(networks[1], networks[0])
    assert_same_weights(networks[2], networks[0])


def test_the_sanity_check_is_not_measured():
    kept = Kept()
    fit(make_task(), make_data(), steps=30, logger=kept, num_sanity_val_steps=2)
    assert [step for step, _ in kept.rows] == [0, 25, 30]


def test_callbacks_of_the_trainer_come_before_those_of_the_task():
    class Own(Evaluation):
        pass

    trainer = fit(make_task(), make_data(), steps=20, callbacks=[Own(10), Milestones(threshold=0.5)])
    assert [type(c) for c in trainer.callbacks if isinstance(c, Evaluation)] == [Own]
    assert [c.threshold for c in trainer.callbacks if isinstance(c, Milestones)] == [0.5]
    trainer = fit(make_task(), make_data(), steps=20)
    assert {Evaluation, Milestones} <= {type(c) for c in trainer.callbacks}


def mixed_data(*operations, **options):
    return MixedOperationDataModule(list(operations), 7, **{"batch_size": 20, "layout": "a op b =", **options})


@torch.no_grad()
def measured_apart(task, data, part):
    """What is measured of a part beside loss and accuracy, row by row from what the network gives."""
    task.network.eval()
    signs = {table.symbol: table.name for table in getattr(data, "tables", ())}
    errors, right = [], {name: [] for name in signs.values()}
    for tokens, answer in zip(data.parts[part].tokens, data.parts[part].answers.tolist(), strict=True):
        logits = task.network(tokens[None])[0].tolist()
        errors.append((logits[answer] - 1) ** 2)
        if signs:
            sign = data.sequence_names(tokens[None])[0].split()[1]
            right[signs[sign]].append(max(range(len(logits)), key=logits.__getitem__) == answer)
    values = {f"{part}/accuracy_{name}": sum(found) / len(found) for name, found in right.items()}
    return values | ({f"{part}/correct_class_loss": sum(errors) / len(errors)} if task.loss_name == "mse" else {})


KINDS = {
    "squared error": ("mse", make_data),
    "several operations": ("cross_entropy", partial(mixed_data, "add", "div")),
    "both": ("mse", partial(mixed_data, "sub", "linear(2,3)", "sum_of_squares")),
    "neither": ("cross_entropy", make_data),
}
COMMON = ("loss", "accuracy")


@pytest.mark.parametrize(("loss", "make"), KINDS.values(), ids=KINDS)
def test_what_is_measured_apart_is_what_the_network_gives(loss, make):
    seed_everything(SEED)
    kept = Kept()
    task, data = make_task(loss=loss), make()
    trainer = fit(task, data, steps=60, logger=kept, callbacks=[Evaluation(30)])
    assert [step for step, _ in kept.rows] == [0, 30, 60]
    common = {f"{part}/{name}" for part in ("train", "val") for name in COMMON}
    expected = measured_apart(task, data, "val")
    assert all(row.keys() - common == expected.keys() for _, row in kept.rows)
    close({name: value for name, value in kept.rows[-1][1].items() if name not in common}, expected)
    for part, evaluate in (("val", trainer.validate), ("test", trainer.test)):
        [found] = evaluate(task, datamodule=data, verbose=False)
        common = {f"{part}/{name}": found[f"{part}/{name}"] for name in COMMON}
        close(found, common | measured_apart(task, data, part))
    assert all(name.startswith("network.") for name in task.state_dict())


def test_accuracies_of_operations_make_up_the_accuracy():
    seed_everything(SEED)
    task, data = make_task(), mixed_data("add", "div", val_fraction=1.0)
    values = fit(task, data, steps=30).callback_metrics
    rows = torch.bincount(data.kinds.of(data.parts["val"].tokens), minlength=2) / len(data.parts["val"])
    apart = torch.stack([values["val/accuracy_add"], values["val/accuracy_div"]])
    assert (apart * rows).sum().item() == pytest.approx(values["val/accuracy"].item())


def test_a_loaded_task_measures_the_kinds_of_the_data_it_is_given(tmp_path):
    seed_everything(SEED)
    task, data = make_task(loss="mse"), mixed_data("add", "sub")
    fit(task, data, steps=20).save_checkpoint(tmp_path / "run.ckpt")
    again = EquationTask.load_from_checkpoint(tmp_path / "run.ckpt", network=transformer, loss="mse")
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    [tested] = trainer.test(again, datamodule=data, verbose=False)
    close({name: tested[name] for name in tested if name[5:] not in COMMON}, measured_apart(task, data, "test"))

    other = make_data(operation="sub", layout="a op b =")
    other.vocabulary, other.length = data.vocabulary, data.length  # the sign is another token, which does not matter
    [tested] = trainer.test(again, datamodule=other, verbose=False)
    assert set(tested) == {"test/loss", "test/accuracy", "test/correct_class_loss"}


def test_an_evaluation_asks_the_network_once():
    task, data = make_task(loss="mse"), mixed_data("add", "sub")
    trainer = fit(task, data, steps=5)
    calls = []
    task.network.register_forward_hook(lambda module, inputs, logits: calls.append(len(logits)))
    trainer.validate(task, datamodule=data, verbose=False)
    trainer.test(task, datamodule=data, verbose=False)
    assert calls == [data.sizes()["val"], data.sizes()["test"]]


# --- networks from data -----------------------------------------------------------------------------------------------


def test_the_initial_weights_are_those_of_the_seed_whatever_was_drawn():
    networks = []
    for draws in (0, 5):
        seed_everything(SEED)
        torch.rand(draws)
        task = make_task()
        torch.rand(draws)
        data = make_data()
        state = torch.get_rng_state()
        task.connect(data)
        assert torch.equal(state, torch.get_rng_state())
        networks.append(task.network)
    assert_same_weights(*networks)
    assert_same_weights(networks[0], PlainLoop(make_data()).network)
    seed_everything(SEED + 1)
    other = make_task()
    other.connect(make_data())
    assert not torch.equal(other.network.token_vectors(), networks[0].token_vectors())


def test_a_connected_task_keeps_its_network():
    task = make_task()
    assert not task.is_connected
    task.connect(make_data())
    network = task.network
    task.connect(make_data(modulus=11))
    fit(task, make_data(), steps=2)
    assert task.is_connected
    assert task.network is network
    assert task.vocabulary == (*"0123456", "+", "=")


def test_data_without_a_vocabulary_is_refused():
    loader = torch.utils.data.DataLoader(torch.arange(4))
    trainer = Trainer(max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="EquationTask needs data with a vocabulary, such as BinaryOperation"):
        trainer.fit(make_task(), loader, loader)


def test_predictions_are_a_table():
    task, data = make_task(), make_data(val_fraction=1.0)
    trainer = fit(task, data, steps=30)
    accuracy = float(trainer.callback_metrics["val/accuracy"])
    parts = [part for part in trainer.predict(task, datamodule=data) if part]
    columns = [batch for part in parts for batch in part]
    rows = [dict(zip(batch, row, strict=True)) for batch in columns for row in zip(*batch.values(), strict=True)]
    assert [row["part"] for row in rows] == ["train"] * 24 + ["val"] * 25
    assert len({row["equation"] for row in rows}) == 49
    for row in rows:
        a, _, b, _ = row["equation"].split()
        assert int(row["answer"]) == (int(a) + int(b)) % 7
        assert row["correct"] == (row["answer"] == row["prediction"])
    right = sum(row["correct"] for row in rows if row["part"] == "val") / 25
    assert right == pytest.approx(accuracy)


@pytest.mark.parametrize("operation", ["add", "div", "compose(3)"])
def test_picture_data_say_what_the_network_answers(operation):
    modulus = None if "(" in operation else 7
    task, data = make_task(), make_data(operation=operation, modulus=modulus, val_fraction=1.0)
    fit(task, data, steps=30)
    task.eval()
    pictured = task.picture_data()
    assert tuple(pictured.names) == tuple(data.vocabulary)
    assert torch.equal(pictured.vectors, task.network.token_vectors())
    assert pictured.residues == (None if modulus is None else range(7))
    for number, (name, part) in enumerate(data.parts.items()):
        for tokens, answer in zip(part.tokens, part.answers, strict=True):
            a, b = tokens[0], tokens[2]
            assert pictured.grid.part[a, b] == number, name
            assert pictured.grid.correct[a, b] == (task.network(tokens[None]).argmax() == answer)
    defined = data.table.values
    assert [[cell >= 0 for cell in row] for row in pictured.grid.correct.tolist()] == [
        [cell >= 0 for cell in row] for row in defined
    ]


def test_picture_data_of_compositions_are_without_a_grid():
    task = make_task()
    torch.manual_seed(SEED)
    data = CompositionDataModule("a + b * c", 5, 50, 20, 20, batch_size=10)
    fit(task, data, steps=10)
    pictured = task.picture_data()
    assert pictured.grid is None
    assert pictured.residues == range(5)
    assert tuple(pictured.names) == ("0", "1", "2", "3", "4", "+", "·", "=")


# --- checkpoints ------------------------------------------------------------------------------------------------------


def plain_data(value):
    if isinstance(value, dict):
        return all(plain_data(key) and plain_data(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain_data, value))
    return value is None or isinstance(value, str | int | float | bool | torch.Tensor)


def test_a_checkpoint_of_a_task_built_by_hand_is_plain_data(tmp_path):
    seed_everything(SEED)
    task, data = make_task(lr_scheduler=partial(LinearLR, total_iters=5)), make_data()
    fit(task, data, steps=30).save_checkpoint(tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert plain_data(checkpoint)
    assert "hyper_parameters" not in checkpoint
    assert checkpoint["grok_lightning"]["vocabulary"] == [*"0123456", "+", "="]

    again = EquationTask.load_from_checkpoint(tmp_path / "run.ckpt", network=transformer)
    assert_same_weights(again.network, task.network)
    assert again.vocabulary == task.vocabulary


def config(**model):
    network = {"class_path": "ArithmeticTransformer", "init_args": {"width": 16, "heads": 2, "positions": "none"}}
    return {
        "seed_everything": SEED,
        "model": {
            "class_path": "EquationTask",
            "init_args": {
                "network": network,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "betas": [0.9, 0.98]}},
                "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.LinearLR", "init_args": {"total_iters": 5}},
                "parameter_groups": [{"pattern": "*.bias", "weight_decay": 0.0}],
                **model,
            },
        },
        "data": {"class_path": "BinaryOperationDataModule", "init_args": {"modulus": 7, "batch_size": 9}},
        "trainer": {
            "max_steps": 30,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    }


def test_a_checkpoint_is_complete_without_the_recipe(tmp_path):
    cli = RunCLI(config(loss="mse"), tmp_path)
    connect(cli.model, cli.datamodule)
    freeze(cli.model.network, "embedding.table.weight", [0, 3])
    freeze(cli.model.network, "classifier.output.weight")
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    cli.trainer.save_checkpoint(tmp_path / "run.ckpt")

    assert plain_data(torch.load(tmp_path / "run.ckpt", weights_only=True))
    again = EquationTask.load_from_checkpoint(tmp_path / "run.ckpt")
    assert_same_weights(again.network, cli.model.network)
    assert again.loss_name == "mse"
    assert not again.network.classifier.output.weight.requires_grad
    assert torch.equal(again.network.token_vectors(), cli.model.network.token_vectors())
    tokens = cli.datamodule.parts["val"].tokens
    assert torch.equal(again.eval()(tokens), cli.model.cpu().eval()(tokens))
    # and it trains on, with its own optimiser
    frozen = again.network.token_vectors()[[0, 3]].clone()
    fit(again, make_data(), steps=10)
    assert torch.equal(again.network.token_vectors()[[0, 3]], frozen)


def test_numbers_of_rows_and_shares_are_told_apart_in_a_config(tmp_path):
    for given, train in ((20, 20), (0.5, 24), ("20", 20), (1, 1)):
        settings = config()
        settings["data"]["init_args"] |= {"train_fraction": given, "val_fraction": 3}
        data = RunCLI(settings, tmp_path).datamodule
        data.setup("fit")
        assert data.sizes() == {"train": train, "val": 3, "test": 46 - train}


@pytest.mark.parametrize("interval", [7, 10, 25])
def test_a_users_checkpoints_are_met_exactly(tmp_path, interval):
    seed_everything(SEED)
    checkpoints = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=interval, save_top_k=-1)
    fit(make_task(), make_data(), steps=60, callbacks=[checkpoints, Evaluation(20)], enable_checkpointing=True)
    found = sorted(int(path.stem.removeprefix("step=")) for path in tmp_path.glob("*.ckpt"))
    assert found == list(range(interval, 61, interval))

    plain = PlainLoop(make_data(split_seed=SEED))
    for step in found:
        plain.train(interval)
        state = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(state[f"network.{name}"], tensor) for name, tensor in plain.network.state_dict().items())


@pytest.mark.parametrize("step", [7, 20, 40, 56])
def test_a_run_resumed_from_a_users_checkpoint_is_the_uninterrupted_one(tmp_path, step):
    whole, rest = Kept(), Kept()
    networks = []
    for kept, resume in ((whole, None), (rest, tmp_path / f"step={step}.ckpt")):
        seed_everything(SEED)
        task = make_task()
        given = [ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=n, save_top_k=-1) for n in (7, 20)]
        fit(
            task,
            make_data(),
            callbacks=[*(given if resume is None else ()), Evaluation(20)],
            enable_checkpointing=resume is None,
            logger=kept,
            resume=resume,
        )
        networks.append(task.network)
    assert_same_weights(*networks)
    # Lightning saves before the evaluation at the same step, which the resumed run makes up for.
    assert rest.rows == [row for row in whole.rows if row[0] >= step]


def test_a_run_that_ended_is_extended(tmp_path):
    seed_everything(SEED)
    short = make_task()
    fit(short, make_data(), steps=50).save_checkpoint(tmp_path / "run.ckpt")
    longer = make_task()
    watch = Watch()
    fit(longer, make_data(), steps=80, resume=tmp_path / "run.ckpt", callbacks=[watch])
    plain = PlainLoop(make_data(split_seed=SEED))
    plain.train(80)
    assert_same_weights(longer.network, plain.network)
    assert watch.evaluations == [75, 80]


def test_the_checkpoint_of_another_vocabulary_or_module_is_refused(tmp_path):
    fit(make_task(), make_data(), steps=5).save_checkpoint(tmp_path / "add.ckpt")
    with pytest.raises(ValueError, match="another vocabulary than the data"):
        fit(make_task(), make_data(operation="sub"), resume=tmp_path / "add.ckpt")
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.0"}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of a EquationTask"):
        EquationTask.load_from_checkpoint(tmp_path / "other.ckpt", network=transformer)


# --- in a notebook ----------------------------------------------------------------------------------------------------


def test_a_plain_trainer_with_all_its_defaults(tmp_path):
    task, data = EquationTask(transformer), make_data()
    trainer = Trainer(max_steps=60, default_root_dir=tmp_path, accelerator="cpu", log_every_n_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task, datamodule=data)
    assert trainer.global_step == 60
    [checkpoint] = tmp_path.rglob("*.ckpt")
    assert EquationTask.load_from_checkpoint(checkpoint, network=transformer).vocabulary == tuple(data.vocabulary)


def test_a_trial_run_of_few_steps():
    assert fit(make_task(), make_data(), steps=100, fast_dev_run=3).global_step == 3


def test_a_run_without_validation():
    watch = Watch()
    trainer = fit(make_task(), make_data(), steps=100, limit_val_batches=0, callbacks=[watch])
    assert trainer.global_step == 100
    assert watch.evaluations == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": 3}, "trainer.max_epochs: .* give trainer.max_steps"),
        ({"min_steps": 3}, "trainer.min_steps is 3: a run ends at max_steps, or where a callback"),
        ({"min_epochs": 1}, "trainer.min_epochs: .* leave it out"),
        ({"limit_train_batches": 5}, "trainer.limit_train_batches is 5: .* use max_steps"),
        ({"limit_train_batches": 1}, "trainer.limit_train_batches is 1"),
        ({"overfit_batches": 2}, "trainer.limit_train_batches is 2|trainer.overfit_batches is 2"),
        ({"val_check_interval": 10}, "callback Evaluation: leave them out and set its every_n_steps"),
        ({"val_check_interval": 1}, "trainer.val_check_interval is 1 "),
        ({"val_check_interval": "00:00:01:00"}, "trainer.val_check_interval is a time"),
        ({"check_val_every_n_epoch": 2}, "check_val_every_n_epoch 2"),
    ],
)
def test_options_that_would_not_do_what_they_say_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(make_task(), make_data(), **options)


def test_a_trainer_that_knows_no_end_is_refused():
    with pytest.raises(ValueError, match=r"give trainer\.max_steps"):
        fit(make_task(), make_data(), steps=-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clip_val": 1.0}, "trainer.gradient_clip_val is 1.0: use model.init_args.gradient_clip_norm"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches is 2: .* larger batch_size"),
        ({"callbacks": [Snapshots(["decoder", "embeding"])]}, "part 'embeding' .* did you mean 'embedding'"),
        ({"max_epochs": 2}, "trainer.max_epochs"),
    ],
)
def test_the_check_before_training_refuses(options, message):
    task, data = make_task(), make_data()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    with pytest.raises(ValueError, match=message):
        task.check(trainer, data)


def test_the_check_needs_no_storage_and_trains_nothing():
    task, data = make_task(parameter_groups=[ParameterRule("embedding", lr=0)]), make_data()
    with torch.device("meta"):
        task.connect(data)
    task.check(Trainer(max_steps=5, accelerator="cpu", logger=False, enable_checkpointing=False), data)
    assert all(tensor.device.type == "meta" for tensor in named_tensors(task.network).values())
    assert all(parameter.requires_grad for parameter in task.network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameter_groups": [ParameterRule("embeding", lr=0)]}, "Did you mean 'embedding'"),
        ({"lr_scheduler": partial(ReduceLROnPlateau, patience=3)}, "lr_scheduler is ReduceLROnPlateau"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_by_the_check(options, message):
    task, data = make_task(**options), make_data()
    task.connect(data)
    with pytest.raises(ValueError, match=message):
        task.check(Trainer(max_steps=5, accelerator="cpu", logger=False, enable_checkpointing=False), data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradient_clip_norm": 0.0}, "gradient_clip_norm is 0.0; expected a positive number, or null"),
        ({"gradient_clip_norm": float("nan")}, "gradient_clip_norm is nan"),
        ({"agop_penalty": -1.0}, "agop_penalty is -1.0; expected 0 or more"),
        ({"loss": "MSE"}, "loss is 'MSE'; expected cross_entropy or mse"),
        ({"loss": "crossentropy"}, "did you mean 'cross_entropy'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_task(**arguments)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_the_penalty_on_the_agop_is_minimised_and_not_logged(penalty):
    quadratic = partial(QuadraticMLP, width=8)
    torch.manual_seed(SEED)
    task, kept = EquationTask(quadratic, partial(SGD, lr=0.5), loss="mse", agop_penalty=penalty), Kept()
    data = make_data(layout="a b")
    fit(task, data, steps=1, logger=kept)
    torch.manual_seed(SEED)
    network = quadratic(7, 2)
    tokens, answers = next(batches(data))
    loss = mean_square(network(tokens), answers)
    (loss + penalty * network.agop(tokens).trace()).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(task.network.get_parameter(name), parameter - 0.5 * parameter.grad)
    logged = {name: value for _, row in kept.rows for name, value in row.items()}
    assert logged["train/loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_penalty_is_for_the_network_that_knows_it():
    task = make_task(agop_penalty=1e-3)
    trainer = Trainer(max_steps=5, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="agop_penalty is for a QuadraticMLP, not for a ArithmeticTransformer"):
        task.check(trainer, make_data())


def test_data_of_the_family_serve_other_modules():
    class Other(LightningModule):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(9, 9)
            self.shapes = set()

        def training_step(self, chunk, batch_idx):
            self.shapes.add(tuple(chunk.tokens.shape))
            return F.cross_entropy(self.table(chunk.tokens[0, :, 0]), chunk.answers[0])

        def configure_optimizers(self):
            return SGD(self.parameters(), lr=0.1)

    other = Other()
    assert fit(other, make_data(), steps=12).global_step == 12
    assert other.shapes == {(1, 9, 4)}
