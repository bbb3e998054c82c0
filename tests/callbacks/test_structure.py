"""The structure of an embedding over training: logged, in the results, in a table."""

import csv
import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from sympy.ntheory import discrete_log, primitive_root
from torch.optim import SGD, AdamW

from grok_lightning.callbacks import Evaluation, StructureProgress
from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule, MixedOperationDataModule
from grok_lightning.networks import ParticleSystem, PlanarNetwork
from grok_lightning.structure import StructureThresholds, classify, measure_structure
from grok_lightning.tasks import EquationTask, ParticleTask

MEANS = ("purity", "radius_spread", "lattice", "second_lattice", "flatness", "norm")
CLASSES = ("circle", "grid", "line", "other")


class Vectors(Callback):
    """Keeps the vectors of all systems at every evaluation."""

    def __init__(self):
        self.at = {}

    def on_validation_end(self, trainer, pl_module):
        self.at[trainer.global_step] = pl_module.network.vectors_by_copy().detach().clone()


def addition(modulus=7, operation="add", **options):
    options = {"layout": "a b", "batch_size": None, "train_fraction": 0.7} | options
    return partial(BinaryOperationDataModule, operation, modulus, **options)


def planar(seed=0):
    torch.manual_seed(seed)
    return EquationTask(partial(PlanarNetwork, mlp_width=8), partial(AdamW, lr=0.05))


def particles(copies=1, seed=0, **options):
    torch.manual_seed(seed)
    return ParticleTask(partial(ParticleSystem, copies=copies, **options), optimizer=partial(SGD, lr=0.2))


def circle_of(frequency, n, members=None, size=None):
    """A circle over members of a group in their order; others of `size` tokens at the origin."""
    members = list(range(n)) if members is None else members
    table = torch.zeros(size or n, 2)
    for place, token in enumerate(members):
        angle = 2 * math.pi * frequency * place / n
        table[token] = torch.tensor([math.cos(angle), math.sin(angle)])
    return table


def at_rest(table, data):
    """A task whose embedding is this and hardly moves."""
    torch.manual_seed(0)
    task, data = EquationTask(partial(PlanarNetwork, mlp_width=8), partial(SGD, lr=1e-9)), data()
    data.setup("fit")
    task.connect(data)
    with torch.no_grad():
        task.network.embedding.table.weight.copy_(table)
    return task


def about(row):
    return {name.removeprefix("structure/"): v for name, v in row.items() if name.startswith("structure/")}


def looped_neighbours(vectors):
    """The share of pair sums whose nearest other one has the same sum of residues, one after the other."""
    n, same = len(vectors), 0
    pairs = [(a, b) for a in range(n) for b in range(a, n)]
    sums = {pair: vectors[list(pair)].sum(0).tolist() for pair in pairs}
    for pair in pairs:
        nearest = min((other for other in pairs if other != pair), key=lambda q: math.dist(sums[q], sums[pair]))
        same += sum(nearest) % n == sum(pair) % n
    return same / len(pairs)


# what is logged


def test_means_and_shares_are_logged_at_every_evaluation(train, kept):
    vectors, progress = Vectors(), StructureProgress()
    train([Evaluation(4), progress, vectors], 8, task=particles(3), data=addition(), logger=kept)
    assert vectors.at.keys() == {0, 4, 8}
    assert {step for step, row in kept.rows.items() if about(row)} == {0, 4, 8}
    for step, systems in vectors.at.items():
        row, measures = about(kept.rows[step]), measure_structure(systems, 1 / 3)
        assert row.keys() == {*MEANS, *CLASSES, "same_neighbours"}
        for name in MEANS:
            assert row[name] == pytest.approx(measures[name].mean().item(), rel=1e-5, abs=1e-7)
        neighbours = [looped_neighbours(system.double()) for system in systems]
        assert row["same_neighbours"] == pytest.approx(sum(neighbours) / 3, rel=1e-5)
        kinds = classify(measures, StructureThresholds())
        assert [row[kind] for kind in CLASSES] == pytest.approx([kinds.count(kind) / 3 for kind in CLASSES])


def test_a_circle_of_residues_is_a_circle(train, kept, tmp_path):
    progress, data = StructureProgress(), addition(11)
    train([progress], 1, task=at_rest(circle_of(4, 11), data), data=data, logger=kept)
    assert about(kept.rows[1])["circle"] == 1
    assert about(kept.rows[1])["purity"] == pytest.approx(1)
    found = progress.results()
    assert found.keys() == {"structure", "frequency", "generator", "second_generator"}
    assert (found["structure"], found["frequency"]) == ("circle", 4)


@pytest.mark.parametrize("operation", ["mul", "div"])
def test_products_are_put_in_the_order_of_their_logarithms(train, kept, operation):
    p, progress, data = 11, StructureProgress(), addition(11, operation)
    members = sorted(range(1, p), key=lambda x: discrete_log(p, x, primitive_root(p)))
    train([progress], 1, task=at_rest(circle_of(3, p - 1, members, p), data), data=data, logger=kept)
    assert about(kept.rows[0])["purity"] == pytest.approx(1)
    assert about(kept.rows[0])["norm"] == pytest.approx(1)
    assert (progress.results()["structure"], progress.results()["frequency"]) == ("circle", 3)


def test_thresholds_are_heeded(train):
    table, data = circle_of(2, 7) * torch.tensor([1.0, 0.3]), addition()
    for flat, kind in ((0.2, "other"), (0.5, "line")):
        thresholds = StructureThresholds(purity=1.0, lattice=1 / 7, second_lattice=1 / 7, flatness=flat)
        progress = StructureProgress(thresholds)
        moved = table + torch.tensor([[0.2, 0.0], *[[0.0, 0.0]] * 6])
        train([progress], 1, task=at_rest(moved, data), data=data)
        assert progress.results()["structure"] == ("grid" if kind == "other" else kind)


# results and table


def test_of_several_systems_each_class_is_counted(train, tmp_path):
    progress, vectors = StructureProgress(), Vectors()
    train([Evaluation(30), progress, vectors], 60, task=particles(5), data=addition(), seed=1)
    measures = measure_structure(vectors.at[60], 0.2)
    kinds = classify(measures, StructureThresholds())
    assert progress.results() == {"structure": {kind: kinds.count(kind) for kind in CLASSES}}
    with (tmp_path / "structure.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == list("01234")
    assert [row["structure"] for row in rows] == kinds
    for number, row in enumerate(rows):
        assert row.keys() == {"system", "structure", *measures, "same_neighbours"}
        for name, values in measures.items():
            assert float(row[name]) == pytest.approx(values[number].item(), rel=1e-9)
        neighbours = looped_neighbours(vectors.at[60][number].double())
        assert float(row["same_neighbours"]) == pytest.approx(neighbours)


def test_the_table_of_one_system_has_one_row(train, tmp_path):
    progress = StructureProgress()
    train([progress], 2, task=planar(), data=addition())
    (row,) = csv.DictReader((tmp_path / "structure.csv").read_text().splitlines())
    found = progress.results()
    assert row["structure"] == found["structure"]
    assert isinstance(found["structure"], str)
    for name in ("frequency", "generator", "second_generator"):
        assert int(row[name]) == found[name]


def test_before_a_run_there_are_no_results():
    assert StructureProgress().results() == {}


@pytest.mark.parametrize("make", [planar, partial(particles, 3)])
def test_an_interrupted_run_has_the_rows_and_results_of_an_uninterrupted_one(train_in, kept, tmp_path, interrupt, make):
    whole, first, second = (StructureProgress() for _ in range(3))
    before, after = type(kept)(), type(kept)()
    options = {"data": addition()}
    train_in(tmp_path / "whole", [Evaluation(3), whole], 9, task=make(), logger=kept, **options)
    callbacks = [Evaluation(3), first, interrupt(6, tmp_path / "run.ckpt")]
    with pytest.raises(InterruptedError):
        train_in(tmp_path / "part", callbacks, 9, task=make(), logger=before, **options)
    assert not (tmp_path / "part/structure.csv").exists()
    resume = tmp_path / "run.ckpt"
    train_in(tmp_path / "part", [Evaluation(3), second], 9, task=make(), logger=after, resume=resume, **options)
    assert second.results() == whole.results()
    tables = [(tmp_path / name / "structure.csv").read_bytes() for name in ("whole", "part")]
    assert tables[0] == tables[1]
    for step in kept.rows:
        assert about(before.rows.get(step, {}) | after.rows.get(step, {})) == about(kept.rows[step])


def test_a_run_that_measures_nothing_more_keeps_what_was_found():
    progress, resumed = StructureProgress(), StructureProgress()
    progress.found, progress.rows = {"structure": "grid"}, [{"system": 0, "structure": "grid"}]
    resumed.load_state_dict(progress.state_dict())
    assert resumed.results() == {"structure": "grid"}
    resumed.results()["structure"] = "circle"
    assert resumed.results() == {"structure": "grid"}


def test_validating_afterwards_changes_nothing(train, tmp_path):
    progress, data = StructureProgress(), addition(11)
    task = at_rest(circle_of(4, 11), data)
    trainer = train([progress], 1, task=task, data=data)
    before = progress.results()
    with torch.no_grad():
        task.network.embedding.table.weight.normal_()
    (found,) = trainer.validate(task, datamodule=trainer.datamodule, verbose=False)
    assert "val/accuracy" in found
    assert about(found) == {}
    assert progress.results() == before


@pytest.mark.parametrize("make", [planar, particles])
def test_measuring_leaves_the_training_alone(train, make):
    tables = []
    for callbacks in ([], [StructureProgress()]):
        task = make()
        train([Evaluation(2), *callbacks], 6, task=task, data=addition())
        tables.append(task.network.state_dict())
    assert all(torch.equal(tables[1][name], tensor) for name, tensor in tables[0].items())


# refusals


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (addition(8, "mul"), r"StructureProgress: the operation's group has the cyclic factors \[2, 2\]; expected one"),
        (addition(3, "mul"), r"the cyclic factors \[2\]; expected one, of order 4 or more, such as that of add"),
        (addition(3), r"the cyclic factors \[3\]"),
        (addition(5, "sum_of_squares"), "StructureProgress: operation 'sum_of_squares'.* no abelian group"),
        (
            partial(CompositionDataModule, "a + b * c", 5, 50, 20, 20),
            "StructureProgress: CompositionDataModule has no equations of binary operations",
        ),
        (partial(MixedOperationDataModule, ["add", "sub"], 5), "StructureProgress: .*several operations"),
    ],
)
def test_data_that_make_no_cycle_are_refused_before_training(train, tmp_path, watch, data, message):
    with pytest.raises(ValueError, match=message):
        train([watch, StructureProgress()], task=planar(), data=data)
    assert watch.steps == watch.evaluations == []
    assert list(tmp_path.iterdir()) == []


RECIPE = """\
# A recipe whose group is no cycle.
model:
  class_path: EquationTask
  init_args: {network: {class_path: PlanarNetwork}}
data:
  class_path: BinaryOperationDataModule
  init_args: {operation: mul, modulus: 8, layout: a b}
trainer:
  max_steps: 2
  accelerator: cpu
  callbacks:
    - {class_path: StructureProgress, init_args: {thresholds: {purity: 0.8}}}
"""


def test_check_refuses_a_recipe_before_it_trains(lightning, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    code, _, err = lightning("check", "recipe.yaml")
    assert code == 2
    assert "StructureProgress: the operation's group has the cyclic factors [2, 2]" in " ".join(err.split())
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("mul", "add").replace("purity: 0.8", "purity: 1.8"))
    code, _, err = lightning("check", "recipe.yaml")
    assert code == 2
    assert "`purity` must be above 0 and at most 1, got 1.8" in " ".join(err.split())
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("mul", "add"))
    assert lightning("check", "recipe.yaml").code == 0
