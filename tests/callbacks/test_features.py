"""How the feature matrix becomes circulant, logged, kept and drawn."""

from functools import partial

import matplotlib.image
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch.optim import AdamW

from grok_lightning.callbacks import Evaluation, FeatureProgress
from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule, MixedOperationDataModule
from grok_lightning.logger import RunLogger, read_metrics
from grok_lightning.networks import FeatureMachine, QuadraticMLP
from grok_lightning.tasks import EquationTask, FeatureMachineTask

LOGARITHMS = {5: [1, 2, 4, 3], 7: [1, 3, 2, 6, 4, 5]}
"""The powers of 2 modulo 5, and of 3 modulo 7."""


class Tables(Callback):
    """Keeps the embedding table and the readout at every evaluation."""

    def __init__(self):
        self.at, self.readout = {}, {}

    def on_validation_end(self, trainer, pl_module):
        network = pl_module.network
        self.at[trainer.global_step] = network.embedding.table.weight.detach().double().numpy().copy()
        self.readout[trainer.global_step] = network.classifier.output.weight.detach().double().numpy().copy()

    def by_position(self, step, length):
        """W₁ᵀ, where a token has a vector of its own at each position."""
        return np.concatenate(np.split(self.at[step], length, axis=1))


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
        self.drawn.append((tag, global_step))

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


@pytest.fixture(autouse=True)
def _no_pictures(request, monkeypatch):
    """Leave out the pictures, which cost more than the runs, where they are not what is tested."""
    if "draws" not in request.fixturenames:
        monkeypatch.setattr(FeatureProgress, "_draw", lambda self, trainer, network: None)


@pytest.fixture
def draws():
    """Let the callback draw."""


@pytest.fixture
def train_machine(train):
    """Fits a small feature machine."""

    def fit(operation, modulus, callbacks, steps=4, **options):
        data = partial(BinaryOperationDataModule, operation, modulus, train_fraction=0.7, layout="a b", batch_size=None)
        return train(callbacks, steps, task=FeatureMachineTask(FeatureMachine), data=data, **options)

    return fit


def deviations(block):
    shifted = [[np.roll(row, sign * number) for number, row in enumerate(block)] for sign in (-1, 1)]
    diagonal, antidiagonal = (((np.array(rows) - np.mean(rows, 0)) ** 2).sum() / (block**2).sum() for rows in shifted)
    return {
        "features/deviation": min(diagonal, antidiagonal),
        "features/deviation_diagonal": diagonal,
        "features/deviation_antidiagonal": antidiagonal,
    }


def cosine(one, other):
    return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())


def about(row, *words):
    """What of a logged row is of features, and named by one of the words."""
    return {name: value for name, value in row.items() if name.startswith(tuple(f"features/{word}" for word in words))}


# what is logged


@pytest.mark.parametrize(("operation", "order"), [(None, range(5)), ("sub", range(5)), ("mul", LOGARITHMS[5])])
def test_the_deviations_are_logged_at_every_evaluation(train, kept, operation, order):
    tables = Tables()
    train([Evaluation(5), FeatureProgress(operation=operation), tables], steps=15, modulus=5, logger=kept)
    assert tables.at.keys() == {0, 5, 10, 15}
    assert {step for step, row in kept.rows.items() if about(row, "deviation")} == tables.at.keys()
    for step, table in tables.at.items():
        rows = table[list(order)]
        assert about(kept.rows[step], "deviation") == pytest.approx(deviations(rows @ rows.T), rel=1e-4)


def test_in_the_end_the_kept_matrices_are_compared_with_the_last(train, kept):
    tables, progress = Tables(), FeatureProgress(every_n_steps=3, growth=2.0)
    train([Evaluation(2), tables, progress], steps=12, modulus=5, logger=kept)
    assert list(progress.history) == [0, 4, 6, 12]  # the first evaluations at or after 0, 3, 6 and 12
    features = {step: np.tile(table @ table.T, (4, 4)) for step, table in tables.at.items()}
    for step, matrix in progress.history.items():
        np.testing.assert_allclose(matrix, features[step], rtol=1e-5, atol=1e-6)
    assert {step for step, row in kept.rows.items() if about(row, "alignment", "block")} == progress.history.keys()
    for step in progress.history:
        assert about(kept.rows[step], "alignment", "block") == pytest.approx(
            {
                "features/alignment": cosine(features[step], features[12]),
                "features/block_alignment": cosine(features[step][:5, :5], features[12][:5, :5]),
            },
            rel=1e-4,
        )


def test_the_last_matrix_is_the_one_compared_with_also_where_the_history_is_not_due(train, kept):
    progress = FeatureProgress(every_n_steps=10)
    train([Evaluation(3), progress], steps=8, modulus=5, logger=kept)
    assert list(progress.history) == [0, 8]
    assert kept.rows[8]["features/alignment"] == pytest.approx(1)


def test_kept_matrices_do_not_change_with_the_network(train):
    progress = FeatureProgress()
    train([Evaluation(5), progress], steps=10, modulus=5)
    assert list(progress.history) == [0, 5, 10]
    matrices = list(progress.history.values())
    assert not torch.equal(matrices[0], matrices[1])
    assert not torch.equal(matrices[1], matrices[2])


@pytest.mark.parametrize("operation", ["add", "div"])
def test_a_machine_is_measured_as_soon_as_it_has_features(train_machine, kept, operation):
    tables, progress = Tables(), FeatureProgress()
    assert progress.results() == {"orientation": None}
    train_machine(operation, 5, [progress, tables], logger=kept)
    assert list(progress.history) == [0, 1, 2, 3, 4]
    order = list(range(5)) if operation == "add" else LOGARITHMS[5]
    features = {step: (rows := tables.by_position(step, 2)) @ rows.T for step in tables.at}
    for step in (0, 1):  # the identity: its block is zero
        assert about(kept.rows[step], "") == {"features/alignment": pytest.approx(cosine(features[step], features[4]))}
    for step in (2, 3, 4):
        block = features[step][5:, :5]
        aligned = {
            "features/alignment": cosine(features[step], features[4]),
            "features/block_alignment": cosine(block, features[4][5:, :5]),
        }
        assert about(kept.rows[step], "") == pytest.approx(deviations(block[np.ix_(order, order)]) | aligned)
    last = kept.rows[4]
    diagonal, antidiagonal = (last[f"features/deviation_{name}"] for name in ("diagonal", "antidiagonal"))
    assert progress.results() == {"orientation": "diagonal" if diagonal < antidiagonal else "antidiagonal"}


def test_the_orientation_is_that_of_the_random_features_a_machine_begins_with(train):
    for operation, orientation in (("add", "diagonal"), ("sub", "antidiagonal")):
        progress = FeatureProgress()
        data = partial(BinaryOperationDataModule, operation, 5, layout="a b", batch_size=None)
        task = FeatureMachineTask(partial(FeatureMachine, inputs="random_circulant"))
        train([progress], steps=1, task=task, data=data)
        assert progress.results() == {"orientation": orientation}


def test_features_never_learned_have_no_orientation(train_machine, kept):
    progress = FeatureProgress()
    train_machine("add", 5, [progress], steps=1, logger=kept)
    assert progress.results() == {"orientation": None}
    logged = {name for row in kept.rows.values() for name in about(row, "")}
    assert logged == {"features/alignment"}


def test_the_root_of_the_agop_is_that_of_the_jacobians_on_the_training_equations(train, kept):
    tables, progress = Tables(), FeatureProgress("agop")
    data = partial(BinaryOperationDataModule, "add", 5, layout="a b", batch_size=None, train_fraction=0.8)
    task = EquationTask(partial(QuadraticMLP, width=8), partial(AdamW, lr=1e-2), loss="mse")
    trainer = train([Evaluation(3), progress, tables], steps=6, task=task, data=data, logger=kept, precision="64-true")
    assert {step for step, row in kept.rows.items() if about(row, "agop")} == {0, 3, 6}
    for step in (0, 3, 6):
        first, second = tables.by_position(step, 2).T, tables.readout[step]
        total, points = np.zeros((10, 10)), trainer.datamodule.parts["train"].tokens.tolist()
        for a, b in points:
            x = np.zeros(10)
            x[a] = x[5 + b] = 1
            jacobian = 2 * second @ np.diag(first @ x) @ first
            total += jacobian.T @ jacobian / len(points)
        values, vectors = np.linalg.eigh(total)
        root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
        features, outside = first.T @ first, ~np.eye(10, dtype=bool)
        np.testing.assert_allclose(progress.history[step], root, atol=1e-6)
        expected = deviations(root[5:, :5]) | {
            "features/agop_correlation": np.corrcoef(features.ravel(), root.ravel())[0, 1],
            "features/agop_correlation_off_diagonal": np.corrcoef(features[outside], root[outside])[0, 1],
        }
        assert about(kept.rows[step], "deviation", "agop") == pytest.approx(expected, rel=1e-4)


def test_features_alone_are_not_compared_with_the_agop(train, kept):
    train([FeatureProgress()], steps=1, modulus=5, logger=kept)
    assert not any(about(row, "agop") for row in kept.rows.values())


@pytest.mark.parametrize("matrix", ["features", "agop"])
def test_measuring_leaves_the_training_alone(train, small_task, matrix):
    networks = []
    for callbacks in ([], [FeatureProgress(matrix)]):
        task = small_task(dropout=0.2)
        train([Evaluation(2), *callbacks], steps=4, task=task, modulus=5)
        networks.append(task.network.state_dict())
    plain, measured = networks
    assert all(torch.equal(measured[name], tensor) for name, tensor in plain.items())


# interruptions


def test_an_interrupted_run_has_the_history_and_the_rows_of_an_uninterrupted_one(train, kept, tmp_path, interrupt):
    whole, first, second = (FeatureProgress(every_n_steps=10) for _ in range(3))
    before, after = type(kept)(), type(kept)()
    train([Evaluation(5), whole], 20, modulus=5, logger=kept)
    with pytest.raises(InterruptedError):
        train([Evaluation(5), first, interrupt(15, tmp_path / "run.ckpt")], 20, modulus=5, logger=before)
    assert not any(about(row, "alignment") for row in before.rows.values())
    train([Evaluation(5), second], 20, modulus=5, logger=after, resume=tmp_path / "run.ckpt")
    assert list(second.history) == list(whole.history) == [0, 10, 20]
    assert all(torch.equal(second.history[step], matrix) for step, matrix in whole.history.items())
    assert second.results() == whole.results() != {"orientation": None}
    assert {step for step, row in after.rows.items() if about(row, "alignment")} == {0, 10, 20}
    for step in kept.rows:
        assert before.rows.get(step, {}) | after.rows.get(step, {}) == kept.rows[step]


def test_a_resumed_run_that_measures_nothing_more_keeps_its_orientation():
    progress, resumed = FeatureProgress(), FeatureProgress()
    progress.orientation = "antidiagonal"
    progress.history.keep(0, torch.eye(2))
    resumed.load_state_dict(progress.state_dict())
    assert resumed.results() == {"orientation": "antidiagonal"}
    assert list(resumed.history) == [0]


# pictures


@pytest.mark.usefixtures("draws")
def test_both_pictures_are_drawn_at_the_end(train_machine, tmp_path, monkeypatch):
    from grok_lightning.callbacks import features

    given, figures, progress = {}, Figures(), FeatureProgress(every_n_steps=2)

    def keep(name, draw, *arguments):
        given[name] = arguments
        return draw(*arguments)

    for name in ("feature_matrices", "progress_curves"):
        monkeypatch.setattr(features, name, partial(keep, name, getattr(features, name)))
    train_machine("mul", 7, [progress], logger=[RunLogger(tmp_path), figures])
    for name in ("features", "progress"):
        height, width, _ = matplotlib.image.imread(tmp_path / f"{name}.png").shape
        assert min(height, width) > 100
    assert sorted(figures.drawn) == [("pictures/features", 4), ("pictures/progress", 4)]

    matrices, orders = given["feature_matrices"]
    assert list(matrices) == [0, 2, 4]
    assert all(torch.equal(matrices[step], matrix) for step, matrix in progress.history.items())
    by_number, by_group = (order.tolist() for order in orders.values())
    assert by_number == list(range(14))
    assert by_group == [*LOGARITHMS[7], *(7 + x for x in LOGARITHMS[7])]
    (series,) = given["progress_curves"]
    written = read_metrics(tmp_path)
    assert series.keys() == written.keys() - {"features/deviation"} >= {"val/accuracy", "features/alignment"}
    assert all(tuple(series[name]) == tuple(written[name]) for name in series)


# refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("root",), "matrix is 'root'; expected features or agop"),
        (("features", None, 0), "every_n_steps is 0"),
        (("features", None, 10, 0.5), "growth is 0.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureProgress(*arguments)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (partial(CompositionDataModule, "a + b * c", 5, 50, 20, 20), "FeatureProgress.* binary operations"),
        (partial(BinaryOperationDataModule, "sum_of_squares", 5), "'sum_of_squares' .* no abelian group .*`operation`"),
        (partial(MixedOperationDataModule, ["add", "sub"], 5), "several operations, add and sub.*`operation`"),
    ],
)
def test_data_without_a_group_are_refused_before_training(train, tmp_path, watch, data, message):
    with pytest.raises(ValueError, match=message):
        train([watch, FeatureProgress()], data=data)
    assert watch.steps == watch.evaluations == []
    assert list(tmp_path.iterdir()) == []


def test_another_operation_can_give_the_group(train, kept):
    tables, progress = Tables(), FeatureProgress(operation="mul")
    data = partial(BinaryOperationDataModule, "sum_of_squares", 7, batch_size=9)
    train([Evaluation(2), progress, tables], steps=2, data=data, logger=kept)
    rows = tables.at[2][LOGARITHMS[7]]
    assert about(kept.rows[2], "deviation") == pytest.approx(deviations(rows @ rows.T), rel=1e-4)
    with pytest.raises(ValueError, match="FeatureProgress: operation 'sum_of_squares'"):
        FeatureProgress(operation="sum_of_squares").check_run(None, BinaryOperationDataModule("add", 7))


RECIPE = """\
# A recipe that asks for what its data have not.
model:
  class_path: EquationTask
  init_args: {network: {class_path: ArithmeticTransformer, init_args: {width: 8, heads: 2}}}
data:
  class_path: CompositionDataModule
  init_args: {expression: a + b * c, modulus: 5, train_fraction: 50, val_fraction: 20, test_fraction: 20}
trainer: {max_steps: 2, accelerator: cpu, callbacks: [FeatureProgress]}
"""


def test_check_and_fit_refuse_a_recipe_that_has_nothing_to_measure(lightning, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    for words in (("check", "recipe.yaml"), ("fit", "--config", "recipe.yaml")):
        code, out, err = lightning(*words)
        assert (code, out) == (2, "")
        assert "FeatureProgress: CompositionDataModule has no equations of binary operations" in " ".join(err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("[FeatureProgress]", "[Evaluation]"))
    assert lightning("check", "recipe.yaml").code == 0


def test_callbacks_are_asked_about_network_and_data_where_they_can_be(small_task):
    class Asked(Callback):
        def check_run(self, network, datamodule):
            self.run = network, datamodule

    asked, task, data = Asked(), small_task(), BinaryOperationDataModule("add", 5)
    task.check(Trainer(callbacks=[Callback(), asked], accelerator="cpu", logger=False), data)
    assert asked.run == (task.network, data)
