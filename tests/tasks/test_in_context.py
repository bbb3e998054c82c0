import csv
import itertools
import json
import signal
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from safetensors.torch import load_file
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LinearLR

from grok_lightning.callbacks import BestWeights, Evaluation, Phases
from grok_lightning.data import BinaryOperationDataModule, Equations, LinearInContextDataModule, batches
from grok_lightning.data.in_context import SETS
from grok_lightning.in_context import pruned_accuracy
from grok_lightning.networks import ArithmeticTransformer, QuadraticMLP, named_tensors
from grok_lightning.tasks import EquationTask, InContextTask
from grok_lightning.tasks.descent import descend
from grok_lightning.tasks.network_task import CHECKPOINT_KEY

SEED, MODULUS, EXAMPLES = 3, 5, 4
PAPER = {"positions": "rotary", "tied": True, "bias": False, "classifier_bias": False, "residual_scaling": "mlp"}
transformer = partial(ArithmeticTransformer, width=16, heads=2, **PAPER)
adam = partial(AdamW, lr=1e-2, betas=(0.9, 0.98), weight_decay=1.0)
OPTIONS = {"modulus": MODULUS, "examples": EXAMPLES, "functions": 4, "train_fraction": 0.6, "batch_size": 8}
OPTIONS |= {"evaluation_functions": 5, "evaluation_size": 9}
MEASURED = ("accuracy", "last_accuracy", "loss")


class Kept(Logger):
    """Keeps what it is given, one row for each step and no value twice."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_metrics(self, metrics, step=None):
        row = self.rows.setdefault(step, {})
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        assert not row.keys() & values.keys()
        row.update(values)

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def make_data(**options):
    return LinearInContextDataModule(**OPTIONS | options)


def make_task(network=transformer, optimizer=adam, **options):
    return InContextTask(network, optimizer, **options)


def make_trainer(steps=40, callbacks=(), **options):
    options.setdefault("num_sanity_val_steps", 0)
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=options.pop("logger", False),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(task, data, steps=40, callbacks=(), resume=None, **options):
    trainer = make_trainer(steps, callbacks, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*manual optimization.*")
        trainer.fit(task, datamodule=data, ckpt_path=resume)
    return trainer


def fresh(double=False, data_options=(), **options):
    """A task that knows its data, and these."""
    seed_everything(SEED)
    task, data = make_task(**options), make_data(**dict(data_options))
    data.setup("fit")
    task.connect(data)
    task.trainer = make_trainer()
    return task.double() if double else task, data


def one_batch(data, number=0):
    return Equations(*(tensor[0] for tensor in data.train_dataloader().chunk(number, 1)))


@torch.no_grad()
def asked(network, tokens):
    """Logits (rows, examples, vocabulary) before each value, picked from those at all places of a sequence."""
    everywhere = network(tokens, slice(None)).double().numpy()
    places = [place for place in range(tokens.shape[1]) if place % 3 == 1]
    return everywhere[:, places]


def cross_entropy(logits, answers):
    """Loss of each answer (rows, examples), from the definition."""
    highest = logits.max(-1, keepdims=True)
    normalisers = np.log(np.exp(logits - highest).sum(-1)) + highest[..., 0]
    return normalisers - np.take_along_axis(logits, answers.numpy()[..., None], -1)[..., 0]


def measured(network, rows, prefix=""):
    """Accuracy of all answers and of the last ones, and loss, of sequences."""
    logits, answers = asked(network, rows.tokens), rows.answers
    right = logits.argmax(-1) == answers.numpy()
    return {
        f"{prefix}accuracy": right.mean(),
        f"{prefix}last_accuracy": right[:, -1].mean(),
        f"{prefix}loss": cross_entropy(logits, answers).mean(),
    }


def evaluated(network, data, part):
    """What is to be logged of a part, set after set."""
    network.eval()
    rows, values = data.parts[part], {}
    for number, name in enumerate(SETS):
        found = measured(network, rows.at(rows.sets == number))
        values |= {f"{part}/{key}_{name}": value for key, value in found.items()}
    return values | {f"{part}/{key}": value for key, value in found.items()}  # of the last set


class PlainLoop:
    """The training as one would write it without Lightning, read at all places, asked at those before values."""

    def __init__(self, data, optimizer=adam):
        data.setup("fit")
        torch.manual_seed(SEED)
        self.network = transformer(len(data.vocabulary), data.length)
        self.optimizer = optimizer(self.network.parameters())
        self.data, self.stream, self.step = data, data.train_dataloader(), 0

    def train(self, steps):
        self.network.train()
        losses, right, rows = 0.0, 0, 0
        for number in range(self.step, self.step + steps):
            tokens, answers = one_batch(self.data, number)
            whole = torch.cat([tokens, answers[:, -1:]], 1)
            labels = torch.full_like(whole, -100)
            labels[:, 2::3] = whole[:, 2::3]  # the loss is at values alone
            logits = self.network(tokens, slice(None))
            loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses += loss.item() * answers.numel()
            right += int((logits.argmax(-1)[:, 1::3] == answers).sum())
            rows += answers.numel()
        self.step += steps
        return {"train/loss": losses / rows, "train/accuracy": right / rows}


def close(values, expected, rel=1e-5):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=rel, abs=1e-6), name


def assert_close_weights(network, expected, **tolerance):
    weights, others = named_tensors(network), named_tensors(expected)
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


def assert_same_weights(network, expected):
    assert_close_weights(network, expected, rtol=0, atol=0)


# --- loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2, 8])
def test_the_loss_is_the_mean_over_all_values_of_all_rows(accumulate):
    task, data = fresh(double=True, accumulate=accumulate)
    tokens, answers = one_batch(data)
    logits = asked(task.network, tokens)
    assert logits.shape == (8, EXAMPLES, MODULUS)
    expected = cross_entropy(logits, answers).mean()
    loss, predictions = task.step(tokens, answers)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert predictions.numpy().tolist() == logits.argmax(-1).tolist()
    assert task.loss(task(tokens), answers).item() == loss.item()
    whole, its = descend(task, tokens, answers, torch.Tensor.backward)
    assert whole.item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(its, predictions)


def test_the_gradient_is_that_of_the_loss_whatever_the_number_of_parts():
    gradients = []
    for accumulate in (1, 2, 4):
        task, data = fresh(double=True, accumulate=accumulate)
        descend(task, *one_batch(data), torch.Tensor.backward)
        gradients.append({name: parameter.grad for name, parameter in task.network.named_parameters()})
    task, data = fresh(double=True)
    tokens, answers = one_batch(data)
    everywhere = task.network(tokens, slice(None)).log_softmax(-1)[:, 1::3]
    (-everywhere.gather(-1, answers[..., None]).mean()).backward()
    for name, parameter in task.network.named_parameters():
        for found in gradients:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-12, atol=1e-15)


def test_the_network_is_asked_before_each_value():
    task, data = fresh()
    tokens = one_batch(data).tokens
    before = task(tokens)
    assert before.shape == (8, EXAMPLES, MODULUS)
    for place in range(data.length):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % MODULUS
        is_other = (task(changed) != before).any(-1).any(0).tolist()
        assert is_other == [place <= read for read in range(1, data.length, 3)]  # no value hangs on what comes later


# --- training and evaluation ------------------------------------------------------------------------------------------


def test_metrics_and_weights_are_those_of_a_plain_loop():
    seed_everything(SEED)
    kept, task, data = Kept(), make_task(), make_data()
    trainer = fit(task, data, steps=40, logger=kept, callbacks=[Evaluation(15)])
    plain = PlainLoop(make_data(split_seed=SEED))
    expected = {0: evaluated(plain.network, plain.data, "val")}
    for step, steps in ((15, 15), (30, 15), (40, 10)):  # of the batches since the evaluation before
        expected[step] = plain.train(steps) | evaluated(plain.network, plain.data, "val")
    assert kept.rows.keys() == expected.keys()
    for step, row in kept.rows.items():
        assert row.pop("val/phase") in range(5)
        close(row, expected[step], rel=1e-3)
    assert_close_weights(task.network, plain.network, rtol=1e-3, atol=1e-4)
    assert trainer.global_step == 40


@pytest.mark.parametrize("largest", [2**18, 7 * (3 * EXAMPLES - 1)], ids=["at once", "in several batches"])
def test_the_metrics_of_the_four_sets_are_those_of_the_predictions(monkeypatch, largest):
    monkeypatch.setattr(batches, "EVALUATION_TOKENS", largest)
    seed_everything(SEED)
    kept, task, data = Kept(), make_task(), make_data()
    fit(task, data, steps=30, logger=kept, callbacks=[Evaluation(30)])
    assert len(data.val_dataloader()) == (1 if largest == 2**18 else 7)
    row = {name: value for name, value in kept.rows[30].items() if name.startswith("val/")}
    assert row.pop("val/phase") in range(5)
    expected = evaluated(task.network, data, "val")
    assert len(expected) == 15
    close(row, expected)
    trainer = make_trainer()
    for part, evaluate in (("val", trainer.validate), ("test", trainer.test)):
        [found] = evaluate(task, datamodule=data, verbose=False)
        close(found, evaluated(task.network, data, part))
    rows = data.parts["val"]
    right = asked(task.network, rows.tokens).argmax(-1) == rows.answers.numpy()
    assert row["val/accuracy_known"] == pytest.approx(right[rows.sets == 0].mean())
    assert row["val/last_accuracy"] == row["val/last_accuracy_new_both"]
    assert row["val/last_accuracy"] == pytest.approx(right[rows.sets == 3, -1].mean())


def test_the_train_accuracy_is_the_mean_over_the_batches_since_the_last_evaluation():
    class Counting(InContextTask):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.right, self.losses = [], []

        def step(self, tokens, answers):
            loss, predictions = super().step(tokens, answers)
            self.right.append(float((predictions == answers).double().mean()))
            self.losses.append(loss.item())
            return loss, predictions

    seed_everything(SEED)
    kept, task = Kept(), Counting(transformer, adam)
    fit(task, make_data(), steps=33, logger=kept, callbacks=[Evaluation(10)])
    assert len(task.right) == 33
    assert "train/accuracy" not in kept.rows[0]
    for start, end in ((0, 10), (10, 20), (20, 30), (30, 33)):
        assert kept.rows[end]["train/accuracy"] == pytest.approx(np.mean(task.right[start:end]), rel=1e-6)
        assert kept.rows[end]["train/loss"] == pytest.approx(np.mean(task.losses[start:end]), rel=1e-6)


class OneBatch(LinearInContextDataModule):
    """Gives the same batch again and again."""

    def train_dataloader(self):
        stream = super().train_dataloader()
        first = stream.chunk(0, 1)
        stream.chunk = lambda _, steps: Equations(*(tensor.expand(steps, *tensor.shape[1:]) for tensor in first))
        return stream


def test_one_batch_is_learned_by_heart():
    seed_everything(0)
    data = OneBatch(**OPTIONS | {"shared_inputs": False, "modulus": 7})
    firsts = data.inputs_of(one_batch(data).tokens)[:, 0].tolist()
    assert len({tuple(pair) for pair in firsts}) == 8  # so that they tell the sequences apart
    task = make_task(optimizer=partial(AdamW, lr=1e-2))
    trainer = fit(task, data, steps=200, callbacks=[Evaluation(50)])
    assert trainer.callback_metrics["train/accuracy"] == 1.0
    assert trainer.callback_metrics["train/loss"] < 0.02
    assert trainer.callback_metrics["val/accuracy"] < 0.5


def test_the_callbacks_of_a_run_that_names_none():
    trainer = fit(make_task(), make_data(), steps=2)
    assert {Evaluation, Phases, BestWeights} <= {type(c) for c in trainer.callbacks}
    (evaluation,) = (c for c in trainer.callbacks if isinstance(c, Evaluation))
    assert evaluation.cadence.every_n_steps == 500
    trainer = fit(make_task(), make_data(), steps=2, callbacks=[Evaluation(7)])
    assert [c.cadence.every_n_steps for c in trainer.callbacks if isinstance(c, Evaluation)] == [7]


def test_measuring_changes_nothing_in_the_training():
    networks = []
    for cadence in (1, 7, 1000):
        seed_everything(SEED)
        task = make_task(partial(transformer, dropout=0.1))
        fit(task, make_data(), steps=20, callbacks=[Evaluation(cadence)])
        networks.append(task.network)
    assert_same_weights(networks[1], networks[0])
    assert_same_weights(networks[2], networks[0])


def test_picture_data_are_the_embedding():
    task = make_task()
    fit(task, make_data(), steps=2)
    pictured = task.picture_data()
    assert tuple(pictured.names) == ("0", "1", "2", "3", "4")
    assert pictured.residues == range(MODULUS)
    assert pictured.grid is None
    assert torch.equal(pictured.vectors, task.network.embedding.table.weight)


# --- parts of a batch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accumulate", "options"),
    [
        (2, {}),
        (4, {}),
        (8, {}),
        (2, {"optimizer": partial(SGD, lr=0.3, momentum=0.9)}),
        (4, {"gradient_clip_norm": 0.2}),
    ],
)
def test_a_batch_in_parts_gives_the_same_weights_and_metrics(accumulate, options):
    networks, rows = [], []
    for parts in (1, accumulate):
        seed_everything(SEED)
        task, kept = make_task(accumulate=parts, lr_scheduler=partial(LinearLR, total_iters=9), **options), Kept()
        trainer = fit(task, make_data(), steps=25, callbacks=[Evaluation(10)], precision="64-true", logger=kept)
        assert trainer.global_step == 25
        networks.append(task.network)
        rows.append(kept.rows)
    assert all(tensor.dtype == torch.float64 for tensor in named_tensors(networks[0]).values())
    assert_close_weights(*networks, rtol=1e-12, atol=1e-12)
    for step, row in rows[0].items():
        close(rows[1][step], row)


def test_parts_pass_through_the_network_one_after_another():
    task, seen = make_task(accumulate=4), []
    seed_everything(SEED)
    data = make_data()
    data.setup("fit")
    task.connect(data)
    task.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fit(task, data, steps=2, limit_val_batches=0)
    assert [len(tokens) for tokens in seen] == [2] * 8
    expected = torch.cat([one_batch(data, number).tokens for number in range(2)])
    assert torch.equal(torch.cat(seen), expected)


# --- compiled ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
def test_a_compiled_network_is_compiled_once_and_used(monkeypatch, connected):
    compiled, used = [], []

    def compile_nothing(function, **options):
        compiled.append(options)

        def through(*arguments, **keywords):
            used.append(len(arguments[0]))
            return function(*arguments, **keywords)

        return through

    networks = []
    for asks in (False, True):
        monkeypatch.setattr(torch, "compile", compile_nothing)
        seed_everything(SEED)
        task, data = make_task(compiled=asks, accumulate=2), make_data()
        if connected:
            data.setup("fit")
            task.connect(data)
        assert not compiled
        fit(task, data, steps=6, callbacks=[Evaluation(3)])
        networks.append(task.network)
    assert compiled == [{"dynamic": False}]
    whole = len(data.parts["val"])
    assert used == [whole, *[4] * 6, whole, *[4] * 6, whole]
    assert_same_weights(*networks)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(monkeypatch):
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # here, not in processes that stay
    monkeypatch.setenv("_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR", "0")  # which torch sets, and this takes back
    tasks = []
    for compiled in (False, True):
        seed_everything(SEED)
        task, data = make_task(compiled=compiled, accumulate=2), make_data()
        trainer = fit(task, data, steps=5, callbacks=[Evaluation(5)])
        tasks.append(task)
    plain, compiled = tasks
    assert_close_weights(compiled.network, plain.network, rtol=1e-3, atol=1e-5)
    [found] = trainer.test(compiled, datamodule=data, verbose=False)
    close(found, evaluated(plain.network, data, "test"), rel=1e-3)
    # Hooks that are set after compiling are heard.
    assert torch.equal(pruned_accuracy(compiled.network.eval(), data), pruned_accuracy(plain.network.eval(), data))


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_in_mixed_precision_all_stays_finite_and_something_is_learned(accumulate):
    seed_everything(SEED)
    kept = Kept()
    task = make_task(optimizer=partial(AdamW, lr=1e-2), accumulate=accumulate)
    fit(task, make_data(), steps=60, precision="bf16-mixed", logger=kept, callbacks=[Evaluation(20)])
    values = [value for row in kept.rows.values() for value in row.values()]
    assert len(values) == 4 * 16 + 3 * 2
    assert np.isfinite(values).all()
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in task.network.parameters())
    assert kept.rows[60]["train/loss"] < kept.rows[20]["train/loss"] < np.log(MODULUS) + 0.1


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_task_from_a_checkpoint_alone_knows_where_it_reads(tmp_path):
    seed_everything(SEED)
    task, data = make_task(), make_data()
    fit(task, data, steps=12).save_checkpoint(tmp_path / "run.ckpt")
    content = torch.load(tmp_path / "run.ckpt", weights_only=True)[CHECKPOINT_KEY]
    assert content["reads"] == [1, 3, EXAMPLES]
    assert content["length"] == data.length

    again = InContextTask.load_from_checkpoint(tmp_path / "run.ckpt", network=transformer, weights_only=True).eval()
    assert_same_weights(again.network, task.network)
    assert again.network.classifier.output.weight is again.network.embedding.table.weight
    tokens = data.parts["val"].tokens
    assert torch.equal(again(tokens), task.eval()(tokens))
    assert range(data.length)[again.reads] == range(1, data.length, 3)
    [tested] = make_trainer().test(again, datamodule=data, verbose=False)
    close(tested, evaluated(task.network, data, "test"))
    fit(again.train(), make_data(), steps=3)  # and it trains on


def test_a_checkpoint_of_three_variables_is_read_at_other_places(tmp_path):
    options = {"variables": 3, "selection": "random", "modulus": 3, "examples": 2}
    task, data = make_task(), make_data(**options)
    fit(task, data, steps=2).save_checkpoint(tmp_path / "run.ckpt")
    again = InContextTask.load_from_checkpoint(tmp_path / "run.ckpt", network=transformer, weights_only=True)
    assert list(range(data.length)[again.reads]) == [2, 6]
    assert again(data.parts["val"].tokens).shape == (len(data.parts["val"]), 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": 5}, "the checkpoint is of sequences of 11 tokens, not of 14"),
        ({"modulus": 7}, "the checkpoint has another vocabulary than the data"),
        ({"variables": 3, "selection": "random", "examples": 3}, "functions of another number of variables"),
    ],
)
def test_a_checkpoint_of_other_sequences_is_refused(tmp_path, options, message):
    fit(make_task(), make_data(), steps=2).save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match=message):
        fit(make_task(), make_data(**options), steps=4, resume=tmp_path / "run.ckpt")


STOPPING = """
import os, signal
from lightning.pytorch import Callback

class Stops(Callback):
    '''Sends the process a signal after a step, as the environment says.'''

    def __init__(self):
        self.next_step = int(os.environ.get("STOPS", -1))  # chunks of batches are cut there

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.next_step:
            os.kill(os.getpid(), signal.SIGINT)
"""
RECIPE = f"""\
model:
  class_path: InContextTask
  init_args:
    network:
      class_path: ArithmeticTransformer
      init_args:
        width: 8
        heads: 2
        positions: rotary
        tied: true
        bias: false
        classifier_bias: false
        residual_scaling: mlp
        dropout: 0.1
    optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 1e-2, weight_decay: 1.0}}}}
    lr_scheduler: {{class_path: torch.optim.lr_scheduler.LinearLR, init_args: {{total_iters: 20}}}}
    accumulate: 2
data:
  class_path: LinearInContextDataModule
  init_args:
    modulus: {MODULUS}
    examples: {EXAMPLES}
    functions: 4
    train_fraction: 0.6
    batch_size: 8
    evaluation_functions: 5
    evaluation_size: 40
trainer:
  max_steps: 23
  accelerator: cpu
  callbacks:
    - {{class_path: Evaluation, init_args: {{every_n_steps: 5}}}}
    - {{class_path: RunCheckpoint, init_args: {{every_n_steps: 5}}}}
    - {{class_path: InContextProgress, init_args: {{every_n_steps: 10}}}}
    - stops_in_context.Stops
"""


def run_folder(root):
    return root / "logs/small/run_000/run/seed_0"


@pytest.fixture
def command(lightning, tmp_path, monkeypatch):
    """The command that runs the recipe, and is told to stop after a step."""
    monkeypatch.setattr("grok_lightning.commands.save_picture", lambda report: None)

    def run(folder, stops=None):
        folder.mkdir(exist_ok=True)
        (folder / "small.yaml").write_text(RECIPE)
        (folder / "stops_in_context.py").write_text(STOPPING)
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            if stops is not None:
                patch.setenv("STOPS", str(stops))
            code = lightning("fit", "--config", "small.yaml").code
        return code, run_folder(folder)

    return run


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(command, tmp_path):
    code, whole = command(tmp_path / "whole")
    assert code == 0
    assert command(tmp_path / "part", stops=12)[0] == 128 + signal.SIGINT
    folder = run_folder(tmp_path / "part")
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert checkpoint.name == "step_00000012.ckpt"  # between two evaluations, with two batches to be counted
    state = torch.load(checkpoint, weights_only=True)
    assert state[CHECKPOINT_KEY]["train_totals"]["rows"] == 2 * 8 * EXAMPLES
    assert not (folder / "best.safetensors").exists()
    assert command(tmp_path / "part") == (0, folder)

    for name in ("network.safetensors", "best.safetensors"):
        tensors, expected = load_file(folder / name), load_file(whole / name)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    for name in ("metrics.csv", "shots.csv", "explained.csv"):
        assert (folder / name).read_text() == (whole / name).read_text(), name
    manifest, expected = (json.loads((path / "manifest.json").read_text()) for path in (folder, whole))
    assert manifest["results"] == expected["results"]
    assert manifest["data"] == expected["data"]
    assert manifest["results"]["best_step"] in (0, 5, 10, 15, 20, 23)

    with (folder / "shots.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "set", *map(str, range(EXAMPLES))]
    assert [(int(row[0]), row[1]) for row in rows] == [*itertools.product((0, 10, 20, 23), SETS)]
    assert {"shots", "shots_over_time", "pruning", "grid"} <= {path.stem for path in folder.glob("*.png")}


# --- the network of the paper -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "expected"), [(2, 6_311_424), (4, 12_606_976), (6, 18_902_528)])
def test_the_networks_of_the_paper_have_their_number_of_parameters(blocks, expected):
    width, vocabulary, length = 512, 29, 95
    with torch.device("meta"):
        data = LinearInContextDataModule(split_seed=0)
        task = make_task(partial(ArithmeticTransformer, width=width, heads=4, blocks=blocks, **PAPER))
        task.connect(data)
    network = task.network
    assert (network.vocabulary_size, network.length) == (vocabulary, length)
    of_a_block = 4 * width**2 + 2 * width * 4 * width + 2 * 2 * width  # attention, MLP, two LayerNorms
    assert expected == vocabulary * width + blocks * of_a_block + 2 * width
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


# --- refused ----------------------------------------------------------------------------------------------------------


def one_answer(*_, **options):
    return BinaryOperationDataModule(**{"operation": "add", "modulus": MODULUS, "batch_size": 8} | options)


REFUSED = [
    (
        {"network": partial(transformer, causal=False)},
        make_data,
        "network.causal is false: the network would see the values that it has to say; give true",
    ),
    (
        {"network": partial(QuadraticMLP, width=8)},
        make_data,
        "network: InContextTask is for an ArithmeticTransformer, not for a QuadraticMLP",
    ),
    ({"accumulate": 3}, make_data, "accumulate is 3; expected a divisor of the 8 sequences that a device has"),
    ({"accumulate": 16}, make_data, "accumulate is 16; expected a divisor of the 8 sequences"),
    (
        {},
        one_answer,
        "InContextTask is for sequences of examples, as of LinearInContextDataModule, not for BinaryOp",
    ),
]


@pytest.mark.parametrize(("options", "data", "message"), REFUSED)
def test_what_could_not_be_trained_is_refused_by_the_check(options, data, message):
    with pytest.raises(ValueError, match=message):
        make_task(**options).check(make_trainer(), data())


@pytest.mark.parametrize(("options", "data", "message"), REFUSED)
def test_what_could_not_be_trained_is_refused_without_the_check_too(options, data, message):
    with pytest.raises(ValueError, match=message):
        fit(make_task(**options), data(), steps=2)


def test_a_division_of_the_share_of_each_device_is_asked_for():
    task, data = make_task(accumulate=8), make_data()
    task.check(make_trainer(), data)
    two = make_trainer(devices=2, strategy="ddp")
    with pytest.raises(ValueError, match="accumulate is 8; expected a divisor of the 4 sequences that a device has"):
        task.check(two, data)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="accumulate is 0; expected a positive number of parts of a batch"):
        make_task(accumulate=0)
    with pytest.raises(ValueError, match=r"gradient_clip_norm is 0\.0; expected a positive number, or null"):
        make_task(gradient_clip_norm=0.0)


def test_the_check_needs_no_storage_and_trains_nothing():
    task, data = make_task(), make_data()
    with torch.device("meta"):
        task.connect(data)
    task.check(make_trainer(), data)
    assert all(tensor.device.type == "meta" for tensor in named_tensors(task.network).values())


def test_data_with_several_answers_are_refused_by_the_task_of_equations():
    task = EquationTask(transformer, adam)
    message = "EquationTask is for one answer a row; LinearInContextDataModule has several: use InContextTask"
    with pytest.raises(ValueError, match=message):
        task.check(make_trainer(), make_data())
    with pytest.raises(ValueError, match=message):
        fit(EquationTask(transformer, adam), make_data(), steps=2)
