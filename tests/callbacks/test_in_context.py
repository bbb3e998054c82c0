"""How a network learns functions in context, kept, written and drawn."""

import csv
from functools import partial
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from matplotlib.figure import Figure
from torch.optim import AdamW

from grok_lightning import in_context
from grok_lightning.callbacks import Evaluation, InContextProgress, in_context_pictures
from grok_lightning.callbacks import in_context as progress_module
from grok_lightning.data import BinaryOperationDataModule, LinearInContextDataModule, OperationInContextDataModule
from grok_lightning.metrics import ShotMetrics
from grok_lightning.networks import ArithmeticTransformer, attention_maps
from grok_lightning.tasks import InContextTask

SETS = ("known", "new_inputs", "new_functions", "new_both")
CLASSES = ("copied", "ratio", "combined", "open")
SIZES = {"batch_size": 24, "evaluation_functions": 4, "evaluation_size": 40}
DATA = partial(LinearInContextDataModule, modulus=5, examples=4, functions=4, **SIZES)
EXAMPLES = 4
DRAWINGS = {
    in_context_pictures: (
        "attention_map",
        "head_plane",
        "pruning_chart",
        "shot_curves",
        "shot_grids",
        "similarity_map",
    ),
    progress_module: ("shot_history",),
}


def make_task(lr=1e-2, **options):
    torch.manual_seed(0)
    network = partial(ArithmeticTransformer, **{"width": 8, "heads": 2, "positions": "rotary", **options})
    return InContextTask(network, partial(AdamW, lr=lr))


class Answers(Callback):
    """Keeps which answers are right at every evaluation, by asking the network anew."""

    def __init__(self):
        self.by_shots = {}

    def on_validation_end(self, trainer, pl_module):
        rows = trainer.datamodule.parts["val"]
        with torch.no_grad():
            said = [pl_module.network(row[None], pl_module.reads)[0].argmax(-1) for row in rows.tokens]
        right, kinds = (torch.stack(said) == rows.answers).numpy(), rows.sets.numpy()
        self.by_shots[trainer.global_step] = np.stack([right[kinds == kind].mean(0) for kind in range(4)])


class Figures(Logger):
    """Takes figures, as TensorBoard does."""

    name, version = "figures", 0

    def __init__(self):
        super().__init__()
        self.drawn = []

    @property
    def experiment(self):
        return self

    def add_figure(self, tag, figure, global_step):
        assert isinstance(figure, Figure)
        self.drawn.append((tag, global_step))

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


@pytest.fixture(autouse=True)
def drawn(request, monkeypatch):
    """What is given to the pictures, which cost more than the runs and are left out where they are not asked for."""
    given_ = {name: [] for names in DRAWINGS.values() for name in names}

    def keep(name, *arguments):
        given_[name].append(arguments)
        return SimpleNamespace(savefig=lambda *args, **options: None)

    if "draws" not in request.fixturenames:
        for module, names in DRAWINGS.items():
            for name in names:
                monkeypatch.setattr(module, name, partial(keep, name))
    return given_


@pytest.fixture
def draws():
    """Let the callback draw."""


def table(path):
    with path.open(newline="") as file:
        return [*csv.reader(file)]


# accuracy by shots


def test_the_table_has_the_accuracy_of_each_set_by_step_and_shots(train, tmp_path):
    answers = Answers()
    train([Evaluation(5), InContextProgress(), answers], 15, task=make_task(), data=DATA)
    header, *rows = table(tmp_path / "shots.csv")
    assert header == ["step", "set", "0", "1", "2", "3"]
    assert [(int(step), name) for step, name, *_ in rows] == [(step, name) for step in (0, 5, 10, 15) for name in SETS]
    for step, name, *shares in rows:
        expected = answers.by_shots[int(step)][SETS.index(name)]
        np.testing.assert_allclose(np.array(shares, dtype=float), expected, rtol=1e-6)
    values = {share for row in rows for share in row[2:]}
    assert len(values) > 5


@pytest.mark.parametrize(
    ("every", "cadence", "steps", "kept_"),
    [
        (3, {}, 9, [0, 3, 6, 9]),
        (3, {"every_n_steps": 10}, 20, [0, 12, 20]),  # the first evaluations at or after 0, 10 and 20
        (3, {"every_n_steps": 10}, 15, [0, 12, 15]),  # and the last
        (2, {"every_n_steps": 3, "growth": 2.0}, 14, [0, 4, 6, 12, 14]),
    ],
)
def test_evaluations_are_kept_on_a_cadence(train, every, cadence, steps, kept_):
    progress = InContextProgress(**cadence)
    train([Evaluation(every), progress], steps, task=make_task(), data=DATA)
    assert list(progress.history) == kept_


def measured(step):
    """A measure in which the step can be recognised."""
    measure = ShotMetrics(SETS, 64)
    right = (torch.arange(64)[None] < step % 65).long()
    measure.update(torch.arange(4), torch.zeros(4, 64), right.expand(4, 64), torch.ones(4, 64, dtype=torch.long))
    return measure


def evaluate(progress, step, fn="fit", sanity_checking=False, max_steps=-1):
    state = SimpleNamespace(fn=fn)
    trainer = SimpleNamespace(global_step=step, state=state, sanity_checking=sanity_checking, max_steps=max_steps)
    progress.on_validation_epoch_end(trainer, SimpleNamespace(measure=lambda part, what: measured(step)))


def test_what_is_kept_is_the_accuracy_at_its_step():
    progress, steps = InContextProgress(), [*range(3, 700, 7)]
    for step in steps:
        evaluate(progress, step)
    assert 33 <= len(progress.history) <= 64
    assert (min(progress.history), max(progress.history)) == (steps[0], steps[-1])
    for step, by_shots in progress.history.items():
        assert by_shots.shape == (4, 64)
        assert by_shots.sum(1).tolist() == [step % 65] * 4


def test_what_is_not_training_is_not_kept():
    progress = InContextProgress()
    evaluate(progress, 0, fn="validate")
    evaluate(progress, 0, fn="test")
    evaluate(progress, 0, sanity_checking=True)
    assert progress.history == {}


# what explains the answers


def test_the_table_of_what_explains_has_a_row_for_every_number_of_shots_and_class(train, tmp_path):
    progress, task = InContextProgress(), make_task(dropout=0.5)  # which rests
    assert progress.results() == {}
    trainer = train([Evaluation(5), progress], 20, task=task, data=DATA)
    task.network.eval()
    tables = in_context.explained(task.network, trainer.datamodule)
    header, *rows = table(tmp_path / "explained.csv")
    assert header == ["shots", "class", "share", "explained", "accuracy"]
    assert [(int(shots), name) for shots, name, *_ in rows] == [(k, name) for k in range(EXAMPLES) for name in CLASSES]
    found = np.array([row[2:] for row in rows], dtype=float).reshape(EXAMPLES, len(CLASSES), 3)
    for place, name in enumerate(header[2:]):
        np.testing.assert_allclose(found[..., place], tables[name].numpy(), rtol=1e-6)
    np.testing.assert_allclose(found[..., 0].sum(1), np.ones(EXAMPLES), rtol=1e-6)


@pytest.mark.parametrize("variables", [1, 2, 3])
def test_results_are_the_last_row_of_what_explains_the_answers(train, variables):
    progress, task = InContextProgress(), make_task()
    data = partial(LinearInContextDataModule, 11, 5, 3, "random", variables, 0.5, **SIZES | {"evaluation_size": 200})
    trainer = train([Evaluation(5), progress], 10, task=task, data=data)
    results = progress.results()
    assert list(results) == [f"{what}_{name}" for what in ("explained", "accuracy") for name in CLASSES]
    assert sum(results[f"explained_{name}"] for name in CLASSES) == pytest.approx(1)
    tables = in_context.explained(task.network.eval(), trainer.datamodule)
    for what in ("explained", "accuracy"):
        for name, value in zip(CLASSES, tables[what][-1].tolist(), strict=True):
            assert results[f"{what}_{name}"] == (None if value != value else pytest.approx(value))


def test_what_is_not_known_is_null():
    progress = InContextProgress()
    nothing = torch.full((3, 4), float("nan"))
    progress.explained = {"share": nothing, "explained": nothing, "accuracy": torch.tensor([[0, 0, 0, 0.5]])}
    unknown = {f"{what}_{name}": None for what in ("explained", "accuracy") for name in CLASSES}
    assert progress.results() == unknown | {f"accuracy_{name}": 0 for name in CLASSES[:3]} | {"accuracy_open": 0.5}


# what is given to the pictures


def test_pictures_show_the_last_and_the_kept_accuracies(train, drawn):
    answers = Answers()
    progress = InContextProgress()
    train([Evaluation(5), progress, answers], 10, task=make_task(), data=DATA)
    ((curves, chance, ceilings),) = drawn["shot_curves"]
    assert list(curves) == [f"{f} functions, {i} inputs" for f in ("known", "new") for i in ("known", "new")]
    np.testing.assert_allclose(np.stack([*curves.values()]), answers.by_shots[10], rtol=1e-6)
    assert chance == 1 / 5
    share = progress.explained["share"].numpy()
    assert list(ceilings) == [f"{name}, else a guess" for name in ("copying", "ratio matching", "modular regression")]
    for classes, ceiling in enumerate(ceilings.values(), start=1):  # what is solved, and a fifth of the rest
        solved = share[:, :classes].sum(1)
        np.testing.assert_allclose(ceiling, solved + (1 - solved) / 5, rtol=1e-5)
    ((history, title),) = drawn["shot_history"]
    assert title == "new functions, new inputs"
    assert list(history) == [0, 5, 10]
    for step, by_shots in history.items():
        np.testing.assert_allclose(by_shots, answers.by_shots[step][3], rtol=1e-6)


def test_pictures_show_grids_of_a_new_function_by_shots(train, drawn):
    task = make_task()
    data = train([InContextProgress()], 10, task=task, data=DATA).datamodule
    task.network.eval()
    ((right, matched, title),) = drawn["shot_grids"]
    a, b = data.functions.new[0].tolist()
    assert title == f"new function {a}·x + {b}·y mod 5"
    assert list(right) == list(matched) == [1, 2, 3]
    for shots in (1, 2, 3):
        expected = in_context.shot_grid(task.network, data, (a, b), shots)
        assert torch.equal(right[shots], expected[0])
        assert torch.equal(matched[shots], expected[1])


def test_pictures_show_the_head_that_is_missed_most(train, drawn):
    task = make_task(blocks=2)
    data = train([InContextProgress()], 20, task=task, data=DATA).datamodule
    task.network.eval()
    ((left, whole, title),) = drawn["pruning_chart"]
    assert left.shape == (2, 2)
    assert torch.equal(left, in_context.pruned_accuracy(task.network, data))
    assert whole == pytest.approx(in_context.accuracy(task.network, data))
    assert title == "new functions, new inputs"
    ((points, labels, title, shares),) = drawn["head_plane"]
    block, head = np.unravel_index(left.numpy().argmin(), (2, 2))
    assert title == f"head {head} of block {block}, missed most"
    vectors = in_context.head_vectors(task.network, data, data.functions.new[0].tolist(), 3, (block, head)).numpy()
    centred = vectors - vectors.mean(0)
    _, lengths, directions = np.linalg.svd(centred)
    np.testing.assert_allclose(points.abs().numpy(), np.abs(centred @ directions[:2].T), atol=1e-4)
    assert shares == pytest.approx((lengths**2 / (lengths**2).sum())[:2], rel=1e-3)
    pairs = [(x, y) for x in range(5) for y in range(5)]
    logarithms = {0: -1, 1: 0, 2: 1, 4: 2, 3: 3}  # to the base 2
    if labels["log x"][10] != 1:  # or to the base 3
        logarithms = {0: -1, 1: 0, 3: 1, 4: 2, 2: 3}
    assert labels["x"].tolist() == [x for x, _ in pairs]
    assert labels["y"].tolist() == [y for _, y in pairs]
    assert labels["log x"].tolist() == [logarithms[x] for x, _ in pairs]
    assert labels["log y"].tolist() == [logarithms[y] for _, y in pairs]
    ((cosines, title, edges),) = drawn["similarity_map"]
    np.testing.assert_allclose(cosines, np.corrcoef(vectors), atol=1e-4)
    assert title == f"head {head} of block {block}, missed most: queries x, y"
    assert [*edges] == [5, 10, 15, 20]  # queries of one x stand together


@pytest.mark.parametrize(("examples", "length"), [(4, 11), (12, 24)])
def test_pictures_show_where_each_block_looks(train, drawn, examples, length):
    task = make_task(blocks=2)
    data = train([InContextProgress()], 2, task=task, data=partial(DATA, examples=examples)).datamodule
    tokens = data.parts["val"].tokens[-1:]
    expected = attention_maps(task.network, tokens)
    assert len(drawn["attention_map"]) == 2
    for block, (maps, names, title) in enumerate(drawn["attention_map"]):
        assert maps.shape == (2, length, length)
        torch.testing.assert_close(maps, expected[block][0, :, :length, :length])
        assert names == data.sequence_names(tokens)[0].split()[:length]
        assert title == f"block {block}, a new function on new inputs"


# pictures


def is_a_picture(path):
    height, width, _ = matplotlib.image.imread(path).shape
    return min(height, width) > 100


ALWAYS = {"attention_0.png", "pruning.png", "shots.csv", "shots.png", "shots_over_time.png"}
PRIME = ALWAYS | {"explained.csv"}
PAIRS = PRIME | {"grid.png", "head.png", "similarity.png"}
SMALL = SIZES | {"evaluation_size": 8}
COMPOSITE = partial(LinearInContextDataModule, 6, 4, 4, **SMALL)
SINGLE = partial(LinearInContextDataModule, 7, 3, 3, "random", 1, **SMALL)
TRIPLE = partial(LinearInContextDataModule, 3, 3, 4, "random", 3, **SMALL)
BITS = partial(LinearInContextDataModule, 2, 3, 2, "random", train_fraction=0.5, **SMALL)
RESIDUES = partial(OperationInContextDataModule, ["add", "sub"], ["mul", "sum_of_squares"], 7, 4, **SMALL)
PERMUTATIONS = partial(OperationInContextDataModule, ["compose(3)"], ["conjugate(3)", "aba(3)"], None, 4, **SMALL)


@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize(
    ("data", "files", "options"),
    [
        (DATA, PAIRS, {}),
        (partial(DATA, examples=1), PAIRS | {"attention_1.png"}, {"heads": 1, "blocks": 2}),
        (COMPOSITE, ALWAYS, {"positions": "learned"}),
        (SINGLE, PRIME, {}),
        (TRIPLE, PRIME, {"positions": "none"}),
        (BITS, PAIRS, {"tied": True}),
        (RESIDUES, ALWAYS, {"dropout": 0.1}),
        (PERMUTATIONS, ALWAYS, {}),
        (DATA, PAIRS - {"head.png", "similarity.png"}, {"lr": 1e37}),  # which is not finite in the end
    ],
    ids=["pairs", "one_example", "composite", "single", "triple", "bits", "residues", "permutations", "diverged"],
)
@pytest.mark.filterwarnings("ignore:InContextProgress. what a head writes is not finite")
def test_what_can_be_drawn_is_drawn(train, tmp_path, data, files, options):
    figures, progress = Figures(), InContextProgress()
    train([Evaluation(2), progress], 3, task=make_task(**options), data=data, logger=figures)
    assert {path.name for path in tmp_path.iterdir()} == files
    pictures = sorted(name for name in files if name.endswith(".png"))
    assert all(is_a_picture(tmp_path / name) for name in pictures)
    assert sorted(figures.drawn) == [(f"pictures/{name.removesuffix('.png')}", 3) for name in pictures]
    steps = {int(row[0]) for row in table(tmp_path / "shots.csv")[1:]}
    assert steps == {0, 2, 3}
    assert bool(progress.results()) == ("explained.csv" in files)


def test_vectors_that_are_not_finite_are_told(train):
    with pytest.warns(UserWarning, match="InContextProgress: what a head writes is not finite, and not drawn"):
        train([InContextProgress()], 3, task=make_task(lr=1e37), data=DATA)


@pytest.mark.usefixtures("draws")
def test_a_network_in_half_precision_is_drawn(train, tmp_path):
    train([InContextProgress()], 1, task=make_task(), data=DATA, precision="bf16-true")
    assert {path.name for path in tmp_path.iterdir()} == PAIRS


def test_a_run_that_evaluates_nothing_writes_nothing(train, tmp_path):
    train([InContextProgress()], 3, task=make_task(), data=DATA, limit_val_batches=0)
    assert list(tmp_path.iterdir()) == []


# the run around it


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_asking_leaves_the_training_alone(train, dropout):
    networks = []
    for callbacks in ([], [InContextProgress()]):
        task = make_task(dropout=dropout)
        train([Evaluation(2), *callbacks], 6, task=task, data=DATA)
        networks.append(task.network.state_dict())
        assert task.network.training
    plain, asked = networks
    assert all(torch.equal(asked[name], tensor) for name, tensor in plain.items())


def test_an_interrupted_run_has_the_tables_of_an_uninterrupted_one(train_in, tmp_path, interrupt):
    whole, first, second = (InContextProgress(every_n_steps=4) for _ in range(3))
    folders = [tmp_path / name for name in ("whole", "resumed")]
    for folder in folders:
        folder.mkdir()
    run = partial(train_in, steps=16, data=DATA)
    run(folders[0], [Evaluation(2), whole], task=make_task())
    with pytest.raises(InterruptedError):
        run(folders[1], [Evaluation(2), first, interrupt(10, tmp_path / "run.ckpt")], task=make_task())
    assert first.results() == {}
    assert list(folders[1].iterdir()) == []
    run(folders[1], [Evaluation(2), second], task=make_task(), resume=tmp_path / "run.ckpt")
    assert list(second.history) == list(whole.history) == [0, 4, 8, 12, 16]
    assert second.results() == pytest.approx(whole.results(), nan_ok=True)
    for name in ("shots.csv", "explained.csv"):
        assert (folders[1] / name).read_text() == (folders[0] / name).read_text()


def test_a_run_resumed_after_its_last_step_is_shown_too(train_in, tmp_path):
    whole, resumed = InContextProgress(), InContextProgress()
    folders = [tmp_path / name for name in ("whole", "resumed")]
    for folder in folders:
        folder.mkdir()
    run = partial(train_in, steps=6, data=DATA)
    run(folders[0], [Evaluation(2), whole], task=make_task()).save_checkpoint(tmp_path / "run.ckpt")
    run(folders[1], [Evaluation(2), resumed], task=make_task(), resume=tmp_path / "run.ckpt")
    assert resumed.results() == whole.results() != {}
    for name in ("shots.csv", "explained.csv"):
        assert (folders[1] / name).read_text() == (folders[0] / name).read_text()


ON_A_GPU = pytest.param("gpu", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.mark.parametrize("accelerator", ["cpu", ON_A_GPU])
def test_the_network_is_asked_on_the_device_of_the_run(tmp_path, monkeypatch, accelerator):
    explained, devices = in_context.explained, []

    def ask(network, data):
        devices.append(next(network.parameters()).device)
        return explained(network, data)

    monkeypatch.setattr(in_context, "explained", ask)
    task, quiet = make_task(), ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(
        max_steps=2,
        accelerator=accelerator,
        devices=1,
        default_root_dir=tmp_path,
        callbacks=[InContextProgress()],
        **dict.fromkeys(quiet, False),
    )
    trainer.fit(task, datamodule=DATA())
    assert devices == [trainer.strategy.root_device]
    assert {parameter.device.type for parameter in task.parameters()} == {"cpu"}


# refusals


@pytest.mark.parametrize(
    ("arguments", "message"), [({"every_n_steps": 0}, "every_n_steps is 0"), ({"growth": 0.5}, "growth is 0.5")]
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InContextProgress(**arguments)


def test_data_without_examples_are_refused_before_training(train, tmp_path, watch):
    message = "InContextProgress is for sequences of examples, .* not for BinaryOperationDataModule"
    with pytest.raises(ValueError, match=message):
        train([watch, InContextProgress()])
    assert watch.steps == watch.evaluations == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=message):
        InContextProgress().check_run(None, BinaryOperationDataModule("add", 5))
    with pytest.raises(ValueError, match="not for NoneType"):
        InContextProgress().check_run(None, None)


def test_sequences_of_examples_are_taken():
    InContextProgress().check_run(None, DATA())
