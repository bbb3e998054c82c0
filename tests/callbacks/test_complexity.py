"""How complex a network becomes: logged, kept, written and drawn."""

import csv
import itertools
from functools import partial

import matplotlib.image
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from scipy.stats import spearmanr
from torch.optim import SGD, AdamW

from grok_lightning.callbacks import ComplexityProgress, Evaluation, complexity
from grok_lightning.callbacks.complexity import weight_matrices
from grok_lightning.data import AdditionSquareDataModule, BinaryOperationDataModule, CompositeFunctionDataModule
from grok_lightning.networks import (
    AdditiveNetwork,
    ArithmeticTransformer,
    FeatureMachine,
    ParticleSystem,
    PlanarNetwork,
    QuadraticMLP,
    freeze,
)
from grok_lightning.tasks import EquationTask, FeatureMachineTask, ParticleTask

QUERY, KEY = "decoder.blocks.0.attention.query", "decoder.blocks.0.attention.key"
PICTURES = {"singular_values", "embedding_spectrum", "embedding_plane"}


class Weights(Callback):
    """Keeps the embedding table and the query map at every evaluation."""

    def __init__(self):
        self.table, self.query = {}, {}

    def on_validation_end(self, trainer, pl_module):
        network = pl_module.network
        self.table[trainer.global_step] = network.embedding.table.weight.detach().double().numpy().copy()
        query = network.decoder.blocks[0].attention.query
        self.query[trainer.global_step] = query.weight.detach().double().numpy().copy()


@pytest.fixture(autouse=True)
def drawn(request, monkeypatch):
    """The names of the pictures, which are drawn only where that is what is tested: they cost more than the runs."""
    if "draws" in request.fixturenames:
        return None
    kept = {}
    stand_in = lambda *arguments, **options: (arguments, options)  # noqa: E731
    for name in ("cosine_curve", "embedding_plane", "similarity_map", "singular_value_curves", "spectrum_history"):
        monkeypatch.setattr(complexity, name, stand_in)
    monkeypatch.setattr(complexity, "keep_figures", lambda trainer, figures: kept.update(figures))
    return kept


@pytest.fixture
def draws():
    """Let the callback draw."""


def addition(operation="add", modulus=7):
    return partial(BinaryOperationDataModule, operation, modulus, layout="a b", batch_size=None, train_fraction=0.7)


def composite():
    return CompositeFunctionDataModule(keys=(10, 19), length=5, split_modulus=4, size=3200, batch_size=50)


def about(row):
    return {name.removeprefix("complexity/"): v for name, v in row.items() if name.startswith("complexity/")}


def stable_rank(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return ((values / values[0]) ** 2).sum()


def spectrum(vectors):
    return np.sort(np.linalg.eigvalsh(np.cov(vectors.T)))[::-1][: min(vectors.shape)]


def order(vectors):
    pairs = list(itertools.combinations(range(len(vectors)), 2))
    return spearmanr([j - i for i, j in pairs], [np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs]).statistic


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


# what is logged


def test_the_first_query_map_and_the_embedding_are_logged_at_every_evaluation(train, kept):
    progress, weights = ComplexityProgress(), Weights()
    train([Evaluation(5), progress, weights], 10, logger=kept)
    assert {step for step, row in kept.rows.items() if about(row)} == weights.query.keys() == {0, 5, 10}
    for step, query in weights.query.items():
        row, numbers = about(kept.rows[step]), weights.table[step][:7]
        measures = ("stable_rank", "groups", "condensed")
        assert row.keys() == {*(f"{QUERY}/{name}" for name in measures), "embedding/dimensions", "embedding/order"}
        values = spectrum(numbers)
        assert row[f"{QUERY}/stable_rank"] == pytest.approx(stable_rank(query), rel=1e-5)
        assert row["embedding/dimensions"] == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-5)
        assert row["embedding/order"] == pytest.approx(order(numbers), rel=1e-5)
    assert progress.results() == {
        "stable_rank": pytest.approx(stable_rank(weights.query[10])),
        "condensed": pytest.approx(about(kept.rows[10])[f"{QUERY}/condensed"]),
        "embedding_order": pytest.approx(order(weights.table[10][:7])),
    }


def test_neurons_in_few_directions_are_condensed(train, kept, small_task):
    task, data = small_task(optimizer=partial(SGD, lr=1e-9)), BinaryOperationDataModule("add", 7, batch_size=9)
    data.setup("fit")
    task.connect(data)
    table = torch.cat([torch.arange(7.0), torch.tensor([50.0, 90.0])])  # the signs are no numbers
    with torch.no_grad():
        task.network.decoder.blocks[0].attention.query.weight.copy_(torch.eye(16)[[*[0] * 6, *[5] * 6, 1, 2, 3, 4]])
        task.network.embedding.table.weight.copy_(table[:, None] * torch.ones(16))
    progress = ComplexityProgress()
    train([progress], 1, task=task, data=lambda: data, logger=kept)
    row = about(kept.rows[0])
    assert row[f"{QUERY}/groups"] == 6
    assert row[f"{QUERY}/condensed"] == 0.75
    assert row[f"{QUERY}/stable_rank"] == pytest.approx((6 + 6 + 4) / 6)
    assert row["embedding/dimensions"] == pytest.approx(1)
    assert row["embedding/order"] == pytest.approx(1, abs=0.02)  # rounding breaks ties
    assert progress.results()["condensed"] == 0.75


def test_patterns_choose_the_matrices_in_their_order(train, kept):
    progress = ComplexityProgress(["*.key.weight", "decoder.blocks.0.attention.query", "classifier"])
    train([progress], 1, logger=kept)
    assert progress.chosen == [f"{KEY}.weight", f"{QUERY}.weight", "classifier.output.weight"]
    names = {name.rpartition("/")[0] for name in about(kept.rows[0])}
    assert names == {KEY, QUERY, "classifier.output", "embedding"}
    assert progress.results()["stable_rank"] == pytest.approx(about(kept.rows[1])[f"{KEY}/stable_rank"])


@pytest.mark.parametrize(
    ("network", "first"),
    [
        (partial(ArithmeticTransformer, blocks=2, width=8, heads=2), f"{QUERY}.weight"),
        (partial(AdditiveNetwork, width=8), "classifier.hidden.weight"),
        (partial(PlanarNetwork, mlp_width=8), "classifier.hidden.weight"),
        (partial(QuadraticMLP, width=8), "classifier.output.weight"),
        (FeatureMachine, "classifier.output.weight"),
        (ParticleSystem, "embedding.table.weight"),
    ],
)
def test_every_family_has_a_first_matrix(network, first):
    progress = ComplexityProgress()
    with torch.device("meta"):
        progress.check_run(network(7, 2), None)
    assert progress.chosen == [first]


def test_weight_matrices_are_parameters_with_two_dimensions_split_tables_in_full():
    network = ArithmeticTransformer(7, 3, width=8, heads=2, tied=True, norm="pre")
    freeze(network, "decoder.positions.weight", [0, 2])
    maps = ("attention.query", "attention.key", "attention.value", "attention.output", "mlp.hidden", "mlp.output")
    found = weight_matrices(network)
    block = {f"decoder.blocks.0.{name}.weight" for name in maps}
    assert found.keys() == {"embedding.table.weight", "decoder.positions.weight", *block}
    assert found["decoder.positions.weight"].shape == (3, 8)
    network.compile()
    assert weight_matrices(network).keys() == found.keys()
    assert "classifier.pairs" not in weight_matrices(ParticleSystem(7, 2))


def test_composite_functions_are_ordered_by_their_keys(train, kept):
    weights = Weights()
    train([Evaluation(4), ComplexityProgress(), weights], 4, data=composite, logger=kept)
    start = 10 - composite().numbers.start
    for step in (0, 4):
        expected = order(weights.table[step][start : start + 10])
        assert about(kept.rows[step])["embedding/order"] == pytest.approx(expected, rel=1e-5)


def test_sums_are_left_out_of_the_order_of_operands(train, kept):
    data = partial(AdditionSquareDataModule, (0, 7), (3, 4), layout="a b", batch_size=16)
    task = EquationTask(partial(QuadraticMLP, width=8), partial(AdamW, lr=1e-2))
    train([ComplexityProgress()], 1, task=task, data=data, logger=kept)
    table = task.network.token_vectors().detach().double().numpy()
    assert about(kept.rows[1])["embedding/order"] == pytest.approx(order(table[:8]), rel=1e-5)


def test_weights_that_are_not_finite_are_neither_measured_nor_drawn(train, kept, tmp_path, drawn, small_task):
    progress, task = ComplexityProgress(), small_task()
    data = BinaryOperationDataModule("add", 7, batch_size=9)
    data.setup("fit")
    task.connect(data)
    with torch.no_grad():
        task.network.decoder.blocks[0].attention.query.weight[0, 0] = torch.nan
    train([progress], 1, task=task, data=lambda: data, logger=kept)
    assert progress.results() == progress.history == drawn == {}
    assert not any(about(row) for row in kept.rows.values())
    assert list(tmp_path.iterdir()) == []


def test_tokens_without_numbers_have_no_order(train, kept, tmp_path, drawn):
    progress, weights = ComplexityProgress(), Weights()
    data = partial(BinaryOperationDataModule, "compose(3)", None, batch_size=9)
    train([progress, weights], 1, data=data, logger=kept)
    names = {name.rpartition("/")[2] for name in about(kept.rows[1]) if name.startswith("embedding/")}
    assert names == {"dimensions"}
    assert progress.results().keys() == {"stable_rank", "condensed"}
    assert drawn.keys() == {*PICTURES, f"neurons_{QUERY}"}
    values = [float(value) for value in list(read(tmp_path / "embedding_spectrum.csv")[-1].values())[1:]]
    np.testing.assert_allclose(values, spectrum(weights.table[1]), rtol=1e-4, atol=1e-9)


def test_measuring_leaves_the_training_alone(train, small_task):
    tables = []
    for callbacks in ([], [ComplexityProgress(["decoder"])]):
        task = small_task(dropout=0.2)
        train([Evaluation(2), *callbacks], 4, task=task)
        tables.append(task.network.state_dict())
    assert all(torch.equal(tables[1][name], tensor) for name, tensor in tables[0].items())


# tables and pictures


def test_the_tables_have_all_singular_values_and_the_spectrum_of_every_step(train, tmp_path):
    progress, weights = ComplexityProgress(every_n_steps=4), Weights()
    trainer = train([Evaluation(3), progress, weights], 7)
    assert list(progress.history) == [0, 6]
    rows = read(tmp_path / "embedding_spectrum.csv")
    assert [int(row["step"]) for row in rows] == [0, 6, 7]
    for row in rows:
        values = [float(row[f"{number}"]) for number in range(1, 8)]
        np.testing.assert_allclose(values, spectrum(weights.table[int(row["step"])][:7]), rtol=1e-4, atol=1e-9)
    rows = read(tmp_path / "singular_values.csv")
    matrices = weight_matrices(trainer.lightning_module.network)
    assert list(dict.fromkeys(row["matrix"] for row in rows)) == [name.removesuffix(".weight") for name in matrices]
    for name, matrix in matrices.items():
        its = [row for row in rows if f"{row['matrix']}.weight" == name]
        assert [int(row["number"]) for row in its] == list(range(1, min(matrix.shape) + 1))
        expected = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
        np.testing.assert_allclose([float(row["singular_value"]) for row in its], expected, rtol=1e-9)


def test_neurons_are_sorted_by_group_with_borders_between(train, drawn, small_task):
    task, data = small_task(optimizer=partial(SGD, lr=1e-9)), BinaryOperationDataModule("add", 7, batch_size=9)
    data.setup("fit")
    task.connect(data)
    kinds = [0, 1, 0, 1, 0, 2, 3, 0, 1, 4, 5, 6, 7, 8, 9, 10]
    with torch.no_grad():
        task.network.decoder.blocks[0].attention.query.weight.copy_(torch.eye(16)[kinds])
    train([ComplexityProgress()], 1, task=task, data=lambda: data)
    (matrix, title, borders), _ = drawn[f"neurons_{QUERY}"]
    assert borders == [4, 7]
    expected = np.eye(11)[sorted(kinds)]
    np.testing.assert_allclose(matrix, expected @ expected.T, atol=1e-4)
    assert QUERY in title


@pytest.mark.usefixtures("draws")
def test_all_pictures_are_in_the_folder(train, tmp_path):
    train([ComplexityProgress()], 2)
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names == {*PICTURES, "embedding_cosines", f"neurons_{QUERY}"}
    for name in names:
        height, width, _ = matplotlib.image.imread(tmp_path / f"{name}.png").shape
        assert min(height, width) > 100


def test_particles_are_measured_system_by_system(train, kept, drawn):
    progress = ComplexityProgress()
    task = ParticleTask(partial(ParticleSystem, copies=3), optimizer=partial(SGD, lr=0.2))
    train([Evaluation(2), progress], 2, task=task, data=addition(), logger=kept)
    systems = task.network.vectors_by_copy().detach().double().numpy()
    row = about(kept.rows[2])
    assert row["embedding/order"] == pytest.approx(np.mean([order(system) for system in systems]), rel=1e-5)
    assert drawn.keys() >= {*PICTURES, "embedding_cosines", "neurons_embedding.table"}
    np.testing.assert_allclose(progress.history[2], np.mean([spectrum(system) for system in systems], 0), rtol=1e-5)


def test_a_machine_is_measured_too(train, kept):
    train([ComplexityProgress()], 2, task=FeatureMachineTask(FeatureMachine), data=addition(), logger=kept)
    # The coefficients begin at zero, which has the rank 0, and each row of zeros is alone.
    assert about(kept.rows[0])["classifier.output/stable_rank"] == 0
    assert about(kept.rows[0])["classifier.output/groups"] == 7
    assert about(kept.rows[2])["classifier.output/stable_rank"] > 1


# interruptions


def test_an_interrupted_run_has_the_tables_and_results_of_an_uninterrupted_one(train_in, kept, tmp_path, interrupt):
    whole, first, second = (ComplexityProgress(every_n_steps=4) for _ in range(3))
    before, after = type(kept)(), type(kept)()
    train_in(tmp_path / "whole", [Evaluation(3), whole], 10, logger=kept)
    callbacks = [Evaluation(3), first, interrupt(6, tmp_path / "run.ckpt")]
    with pytest.raises(InterruptedError):
        train_in(tmp_path / "part", callbacks, 10, logger=before)
    assert not list((tmp_path / "part").glob("*.csv"))
    resume = tmp_path / "run.ckpt"
    train_in(tmp_path / "part", [Evaluation(3), second], 10, logger=after, resume=resume)
    assert second.results() == whole.results()
    for table in ("singular_values.csv", "embedding_spectrum.csv"):
        assert (tmp_path / "part" / table).read_bytes() == (tmp_path / "whole" / table).read_bytes()
    assert {step for step, row in after.rows.items() if about(row)} == {9, 10}
    for step in kept.rows:
        assert about(before.rows.get(step, {}) | after.rows.get(step, {})) == about(kept.rows[step])


def test_a_run_that_measures_nothing_more_keeps_what_was_found():
    progress, resumed = ComplexityProgress(), ComplexityProgress()
    assert progress.results() == {}
    progress.found = {"condensed": 0.5}
    progress.history.keep(0, torch.ones(2))
    resumed.load_state_dict(progress.state_dict())
    assert (resumed.results(), list(resumed.history)) == ({"condensed": 0.5}, [0])


def test_validating_afterwards_changes_nothing(train, tmp_path):
    progress = ComplexityProgress()
    trainer = train([progress], 1)
    before, history = progress.results(), dict(progress.history)
    with torch.no_grad():
        trainer.lightning_module.network.embedding.table.weight.normal_()
    (found,) = trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert about(found) == {}
    assert progress.results() == before
    assert progress.history.keys() == history.keys()


# refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrices": []}, r"matrices is \[\]; expected a list, such as \['decoder.blocks.0'\], or null"),
        ({"matrices": "decoder"}, "matrices is 'decoder'; expected a list"),
        ({"threshold": 1.0}, "threshold is 1.0; expected a cosine above 0 and below 1"),
        ({"every_n_steps": 0}, "every_n_steps is 0"),
        ({"growth": 0.5}, "growth is 0.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ComplexityProgress(**arguments)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (["decoder.block.0"], r"ComplexityProgress: 'decoder.block.0' matches no weight matrix. Did you mean 'decoder"),
        (["decoder.norm"], "'decoder.norm' matches no weight matrix"),
        (["*.query.weight", "decoder"], rf"'\*.query.weight' and 'decoder' both match {QUERY}.weight; let one"),
        (["classifier", "classifier"], "'classifier' and 'classifier' both match classifier.output.weight"),
    ],
)
def test_patterns_that_choose_nothing_or_something_twice_are_refused_before_training(
    train, tmp_path, watch, matrices, message
):
    with pytest.raises(ValueError, match=message):
        train([watch, ComplexityProgress(matrices)])
    assert watch.steps == watch.evaluations == []
    assert list(tmp_path.iterdir()) == []


def test_a_matrix_with_too_many_rows_is_refused():
    network = AdditiveNetwork(7, 2, width=4, mlp_width=2049)
    with pytest.raises(ValueError, match=r"classifier.hidden.weight has 2049 rows; at most 2048 are compared"):
        ComplexityProgress().check_run(network, None)
    ComplexityProgress(["embedding"]).check_run(network, None)


RECIPE = """\
# A recipe that measures what the network has not.
model:
  class_path: EquationTask
  init_args: {network: {class_path: ArithmeticTransformer, init_args: {width: 8, heads: 2}}}
data: {class_path: BinaryOperationDataModule, init_args: {modulus: 5}}
trainer:
  max_steps: 2
  accelerator: cpu
  callbacks:
    - {class_path: ComplexityProgress, init_args: {matrices: [decoder.blocks.1]}}
"""


def test_check_refuses_a_recipe_before_it_trains(lightning, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    code, _, err = lightning("check", "recipe.yaml")
    assert code == 2
    message = "ComplexityProgress: 'decoder.blocks.1' matches no weight matrix. Did you mean 'decoder.blocks.0'?"
    assert message in " ".join(err.split())
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("blocks.1", "blocks.0"))
    assert lightning("check", "recipe.yaml").code == 0
