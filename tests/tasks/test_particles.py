"""The simulation of particles, against numpy."""

import itertools
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from grok_lightning.callbacks import Evaluation, Milestones, RunCheckpoint, RunRecord, StageInterrupted
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.forces import Forces
from grok_lightning.networks import ParticleSystem, freeze
from grok_lightning.optim import ParameterRule
from grok_lightning.tasks import ParticleTask

TABLE = "embedding.table.weight"
RECIPE = """\
# Particles whose positions go to a network, and back.
data:
  class_path: BinaryOperationDataModule
  init_args: {operation: add, modulus: 5, layout: a b, batch_size: null, train_fraction: 0.8}
trainer: {max_steps: 4, accelerator: cpu}
stages:
  particles:
    model: &particles
      class_path: ParticleTask
      init_args:
        network: {class_path: ParticleSystem}
        optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.2}}
  network:
    model:
      class_path: EquationTask
      init_args: {network: {class_path: PlanarNetwork, init_args: {mlp_width: 8}}}
    transfer: {from: particles, parts: [embedding], freeze: true}
  back:
    model: *particles
    transfer: {from: network, parts: [embedding], tokens: [1, 3], freeze: true}
"""


class States(Callback):
    """Keeps the positions before training and after each step."""

    def __init__(self):
        self.at = {}

    def on_train_start(self, trainer, pl_module):
        self.keep(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.keep(trainer, pl_module)

    def keep(self, trainer, pl_module):
        self.at[trainer.global_step] = pl_module.network.embedding.table.weight.detach().clone()


class Rows(Logger):
    """Keeps what is logged, one row for each step and no value twice."""

    name, version = "rows", 0

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_metrics(self, metrics, step=None):
        row = self.rows.setdefault(step, {})
        assert not row.keys() & metrics.keys() - {"epoch"}
        row.update(metrics)

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def data_of(seed=0, **arguments):
    torch.manual_seed(seed)
    options = {"operation": "add", "modulus": 7, "train_fraction": 0.6, "layout": "a b", "batch_size": None}
    return BinaryOperationDataModule(**(options | arguments))


def task_of(seed=3, lr=0.2, weight_decay=0.01, momentum=0.0, copies=1, **arguments):
    torch.manual_seed(seed)
    arguments.setdefault("optimizer", partial(SGD, lr=lr, weight_decay=weight_decay, momentum=momentum))
    return ParticleTask(partial(ParticleSystem, copies=copies), **arguments)


def train(folder, steps, task, data=None, callbacks=(), resume=None, every=1, logger=False, precision="64-true"):
    states = States()
    saves = [] if any(isinstance(callback, RunCheckpoint) for callback in callbacks) else [RunCheckpoint()]
    trainer = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        accelerator="cpu",
        precision=precision,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[states, Evaluation(every), Milestones(stop=False), *callbacks, *saves],
    )
    trainer.fit(task, datamodule=data or data_of(), ckpt_path=resume, weights_only=True)
    return trainer, states.at


def rows_of(data, which):
    """First token, second token and answer of the pairs that act, from the equations."""
    parts = data.parts.values() if which == "all" else [data.parts["train"]]
    rows = [
        (*sorted(pair), answer)
        for part in parts
        for pair, answer in zip(part.tokens.tolist(), part.answers.tolist(), strict=True)
    ]
    return sorted(set(rows))


def numpy_force(e, rows, forces):
    """The force on each particle: the formulae of the module of forces, for the plane, in numpy alone."""
    n, a, b = len(e), *np.array(rows).T[:2]
    answers = np.array(rows).T[2]
    s = e[a] + e[b]
    w = (answers[:, None] == answers) - 1 / n
    apart = s[None] - s[:, None]
    r2 = (apart**2).sum(-1)
    sigma = forces.range
    fall = np.exp(-r2 / (2 * sigma**2)) if forces.kernel == "gaussian" else 1 / (sigma**2 + r2)
    clustering = 10 / len(rows) * ((w * fall)[..., None] * apart).sum(1)
    angles = np.arctan2(s[:, 1], s[:, 0])
    theta = angles[None] - angles[:, None]
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    alignment = 10 / len(rows) * (w * np.cos(theta) * np.sin(theta)).sum(1)[:, None] * across
    on_sums = forces.clustering * clustering + forces.alignment * alignment
    on_tokens = np.zeros_like(e)
    for p in range(len(rows)):
        on_tokens[a[p]] += on_sums[p] / n
        on_tokens[b[p]] += on_sums[p] / n
    return on_tokens


def numpy_potential(e, rows, forces):
    n, total = len(e), 0.0
    for (a, b, x), (c, d, y) in itertools.product(rows, repeat=2):
        p, q = e[a] + e[b], e[c] + e[d]
        weight = (x == y) - 1 / n
        r2 = ((p - q) ** 2).sum()
        gaussian = forces.range**2 * math.exp(-r2 / (2 * forces.range**2))
        shape = gaussian if forces.kernel == "gaussian" else -0.5 * math.log(forces.range**2 + r2)
        cos = p @ q / np.linalg.norm(p) / np.linalg.norm(q)
        total -= 10 / (2 * len(rows)) * weight * (forces.clustering * shape + forces.alignment * cos**2 / 2)
    return total


def simulate(e, rows, forces, steps, eta=0.2, decay=0.01):
    """Positions after each step of e ← e + η (f − λ e)."""
    path = [e]
    for _ in range(steps):
        path.append(path[-1] + eta * (numpy_force(path[-1], rows, forces) - decay * path[-1]))
    return path


# steps


@pytest.mark.parametrize("which", ["all", "train"])
@pytest.mark.parametrize(
    "forces",
    [
        Forces(alignment=0.0, range=1.0),
        Forces(clustering=0.0),
        Forces(alignment=0.7, clustering=1.3, range=0.6),
        Forces(alignment=0.3, kernel="rational"),
    ],
)
def test_steps_are_those_of_a_simulation_in_numpy(tmp_path, which, forces):
    data = data_of()
    trainer, states = train(tmp_path, 25, task_of(forces=forces, pairs=which), data)
    assert trainer.global_step == 25
    assert list(states) == list(range(26))
    path = simulate(states[0].numpy(), rows_of(data, which), forces, 25)
    assert np.abs(path[25] - path[0]).max() > 0.1
    for step, table in states.items():
        np.testing.assert_allclose(table, path[step], rtol=0, atol=1e-10)


def test_without_forces_there_is_only_decay(tmp_path):
    _, states = train(tmp_path, 5, task_of(forces=Forces(alignment=0, clustering=0)))
    np.testing.assert_allclose(states[5], (1 - 0.2 * 0.01) ** 5 * states[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize("operation", ["sub", "mul"])
def test_other_operations_have_their_own_pairs(tmp_path, operation):
    data, forces = data_of(operation=operation), Forces()
    _, states = train(tmp_path, 5, task_of(), data)
    path = simulate(states[0].numpy(), rows_of(data, "all"), forces, 5)
    np.testing.assert_allclose(states[5], path[5], rtol=0, atol=1e-10)


def test_systems_side_by_side_are_each_alone(tmp_path):
    data, forces = data_of(), Forces(alignment=0.5)
    _, states = train(tmp_path, 20, task_of(forces=forces, copies=3), data)
    for copy in range(3):
        own = slice(2 * copy, 2 * copy + 2)
        path = simulate(states[0][:, own].numpy(), rows_of(data, "all"), forces, 20)
        np.testing.assert_allclose(states[20][:, own], path[20], rtol=0, atol=1e-10)
    assert not np.allclose(states[0][:, :2], states[0][:, 2:4])


def test_it_moves_the_same_however_seldom_it_is_looked_at(tmp_path):
    often = train(tmp_path / "often", 90, task_of())[1]
    seldom = train(tmp_path / "seldom", 90, task_of(), every=80)[1]
    assert list(seldom) == [0, 64, 80, 90]  # a chunk has 64 steps at most
    assert all(torch.equal(table, often[step]) for step, table in seldom.items())


def test_momentum_and_schedule_act(tmp_path):
    data, forces = data_of(), Forces()
    task = task_of(momentum=0.9, lr_scheduler=partial(StepLR, step_size=4, gamma=0.5))
    _, states = train(tmp_path, 12, task, data, every=12)
    e, speed = states[0].numpy(), 0
    for step in range(12):
        speed = 0.9 * speed + numpy_force(e, rows_of(data, "all"), forces) - 0.01 * e
        e = e + 0.2 * 0.5 ** (step // 4) * speed
    np.testing.assert_allclose(states[12], e, rtol=0, atol=1e-10)


def test_rules_multiply_the_rate_and_the_decay(tmp_path):
    data, forces = data_of(), Forces()
    rules = [ParameterRule("embedding", lr=0.5, weight_decay=3.0)]
    _, states = train(tmp_path, 5, task_of(parameter_groups=rules), data)
    path = simulate(states[0].numpy(), rows_of(data, "all"), forces, 5, eta=0.1, decay=0.03)
    np.testing.assert_allclose(states[5], path[5], rtol=0, atol=1e-10)


def test_frozen_positions_stay_and_act_on_the_others(tmp_path):
    data, task, forces = data_of(), task_of(), Forces()
    data.setup("fit")
    task.connect(data)
    freeze(task.network, TABLE, [1, 4])
    _, states = train(tmp_path, 10, task, data)
    e = states[0].numpy()
    for step in range(1, 11):
        moved = e + 0.2 * (numpy_force(e, rows_of(data, "all"), forces) - 0.01 * e)
        moved[[1, 4]] = e[[1, 4]]
        e = moved
        np.testing.assert_allclose(states[step], e, rtol=0, atol=1e-10)
        assert torch.equal(states[step][[1, 4]], states[0][[1, 4]])


def test_particles_that_are_all_frozen_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing is left to train"):
        train(tmp_path, 2, task_of(parameter_groups=[ParameterRule("embedding", lr=0)]))


def test_particles_that_blow_up_fail(tmp_path):
    task = ParticleTask(ParticleSystem, optimizer=partial(SGD, lr=1e30))
    with pytest.raises(FloatingPointError, match="loss is nan"):
        train(tmp_path, 4, task, callbacks=[RunRecord()], precision="32-true")


# what is logged


def test_the_potential_is_logged_and_falls_where_clustering_acts_alone(tmp_path):
    data, logged = data_of(), Rows()
    forces = Forces(alignment=0.0, range=0.8)
    task = task_of(forces=forces, lr=0.05, weight_decay=0.0, copies=2)
    _, states = train(tmp_path, 12, task, data, logger=logged)
    potentials = [logged.rows[step]["val/potential"] for step in range(13)]
    for step, found in enumerate(potentials):
        systems = [states[step][:, own].numpy() for own in (slice(0, 2), slice(2, 4))]
        expected = np.mean([numpy_potential(e, rows_of(data, "all"), forces) for e in systems])
        assert found == pytest.approx(expected, rel=1e-5)
    assert all(after < before for before, after in itertools.pairwise(potentials))


@pytest.mark.parametrize("kernel", ["gaussian", "rational"])
def test_the_potential_is_that_of_the_pairs_that_act(tmp_path, kernel):
    data, forces = data_of(), Forces(alignment=0.4, clustering=1.5, kernel=kernel)
    trainer, states = train(tmp_path, 2, task_of(forces=forces, pairs="train"), data)
    expected = numpy_potential(states[2].numpy(), rows_of(data, "train"), forces)
    assert trainer.callback_metrics["val/potential"].item() == pytest.approx(expected, rel=1e-5)


def answered(e, rows, part):
    """Share of a part whose nearest other sum has the right answer, and its mean cross-entropy."""
    right, losses = [], []
    for (a, b), answer in zip(part.tokens.tolist(), part.answers.tolist(), strict=True):
        far = {}
        for c, d, y in rows:
            if {a, b} != {c, d}:
                far.setdefault(y, []).append(((e[a] + e[b] - e[c] - e[d]) ** 2).sum())
        farthest = max(max(each) for each in far.values())
        logits = -np.array([min(far.get(y, [farthest])) for y in range(len(e))])
        right.append(logits.argmax() == answer)
        losses.append(np.log(np.exp(logits).sum()) - logits[answer])
    return np.mean(right), np.mean(losses)


@pytest.mark.parametrize("which", ["all", "train"])
def test_answers_are_those_of_the_nearest_sums_in_every_system(tmp_path, which):
    data, logged = data_of(), Rows()
    _, states = train(tmp_path, 70, task_of(pairs=which, copies=2), data, logger=logged, every=70)
    systems = [states[70][:, own].numpy() for own in (slice(0, 2), slice(2, 4))]
    for part in ("train", "val"):  # train is of step 70 alone, although its steps came in two chunks
        found = np.mean([answered(e, rows_of(data, which), data.parts[part]) for e in systems], axis=0)
        assert logged.rows[70][f"{part}/accuracy"] == pytest.approx(found[0])
        assert logged.rows[70][f"{part}/loss"] == pytest.approx(found[1], rel=1e-5)


# checkpoints


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@pytest.mark.parametrize("frozen", [[], [2]])
def test_resumed_is_uninterrupted_to_the_bit(tmp_path, frozen, precision):
    def run(name, callbacks=(), **options):
        data, task = data_of(), task_of(momentum=0.9, lr_scheduler=partial(StepLR, step_size=2))
        data.setup("fit")
        task.connect(data)
        if frozen:
            freeze(task.network, TABLE, frozen)
        return train(tmp_path / name, 8, task, data, callbacks, precision=precision, **options)[1]

    whole, asked = run("whole"), RunCheckpoint(every_n_steps=1)
    asked.interrupted = lambda: True
    with pytest.raises(StageInterrupted):
        run("part", [asked])
    (checkpoint,) = (tmp_path / "part/checkpoints").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    resumed = run("part", resume=checkpoint)
    assert list(resumed) == [1, *range(2, 9)]
    assert all(torch.equal(table, whole[step]) for step, table in resumed.items())


def test_a_checkpoint_alone_is_enough(tmp_path):
    task = task_of(pairs="train", copies=2)
    train(tmp_path, 3, task)
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    again = ParticleTask.load_from_checkpoint(checkpoint, network=partial(ParticleSystem, copies=2), weights_only=True)
    tokens = torch.cartesian_prod(torch.arange(7), torch.arange(7))
    torch.testing.assert_close(again.double()(tokens), task.double()(tokens))
    assert torch.equal(again.network.classifier.pairs, task.network.classifier.pairs)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_run_goes_on_where_it_ended_in_another_number_of_steps(tmp_path, precision):
    whole = train(tmp_path / "whole", 6, task_of(), precision=precision)[1]
    train(tmp_path / "part", 3, task_of(), precision=precision)
    (checkpoint,) = (tmp_path / "part/checkpoints").glob("*.ckpt")
    longer = train(tmp_path / "part", 6, task_of(), resume=checkpoint, precision=precision)[1]
    assert torch.equal(longer[6], whole[6])


# recipes


def test_positions_go_to_a_network_and_come_back(lightning, tmp_path):
    (tmp_path / "planar.yaml").write_text(RECIPE)
    code, out, _ = lightning("fit", "--config", "planar.yaml")
    assert code == 0, out
    from grok_lightning import load

    folder = "logs/planar/run_000"
    runs = {stage: load(f"{folder}/{stage}/seed_0") for stage in ("particles", "network", "back")}
    particles, network, back = (run.network.token_vectors().detach() for run in runs.values())
    assert torch.equal(particles, network)
    assert torch.equal(back[[1, 3]], network[[1, 3]])
    torch.manual_seed(runs["back"].task.seed)
    start = ParticleSystem(5, 2).token_vectors()
    others = [0, 2, 4]
    assert not torch.isclose(back[others], start[others]).any()
    assert not torch.isclose(back[others], network[others]).any()
    (landing,) = json.loads((tmp_path / f"{folder}/back/seed_0/transfer.json").read_text())
    assert (landing["name"], landing["rows"], landing["frozen"]) == (TABLE, [1, 3], True)

    run = runs["particles"]
    for part in ("validate", "test", "predict"):
        code, out, err = lightning(part, f"{folder}/particles/seed_0")
        assert code == 0, err
        if part == "test":
            assert f"{run.manifest.results['test_accuracy']:.4g}" in out
    rows = [(a, b, (a + b) % 5) for a in range(5) for b in range(a, 5)]
    accuracy, loss = answered(particles.double().numpy(), rows, run.data.parts["test"])
    assert run.manifest.results["test_accuracy"] == pytest.approx(accuracy)
    assert run.manifest.results["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert list(run.metrics["val/potential"].steps) == [0, 4]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("batch_size: null", "batch_size: 16"), "data.batch_size is 16: particles feel all pairs at once; give null"),
        (("max_steps: 4", "devices: 2, max_steps: 4"), "trainer.devices: particles move on one device, not on 2"),
        (("max_steps: 4", "precision: bf16-true, max_steps: 4"), "trainer.precision is bf16-true: particles move in"),
        (
            ("layout: a b,", "layout: a op b =,"),
            "a ParticleSystem is for pairs (`layout: a b`), not for sequences of 4",
        ),
        (("ParticleSystem}", "ParticleSystem}\n        pairs: val"), "pairs"),
        (("batch_size: null", "batch_size: null, commutative_augmentation: true"), "turned around is the same pair"),
        (
            ("ParticleSystem}", "ParticleSystem}\n        forces: {range: -1}"),
            "`range` must be positive and finite, got -1",
        ),
        (("ParticleSystem}", "ParticleSystem}\n        forces: {kernel: gauss}"), "kernel"),
        (("{class_path: ParticleSystem}", "{class_path: PlanarNetwork}"), "ParticleSystem"),
        (
            ("ParticleSystem}", "ParticleSystem}\n        parameter_groups: [{pattern: embedding, lr: 0}]"),
            "nothing is left to train",
        ),
        (("parts: [embedding], freeze: true", "parts: [classifier]"), "classifier"),
        (("class_path: ParticleSystem}", "class_path: ParticleSystem, init_args: {copies: 2}}"), "must be alike"),
    ],
)
def test_what_it_cannot_work_with_is_refused_before_training(edit, message, lightning, tmp_path):
    assert edit[0] in RECIPE
    (tmp_path / "planar.yaml").write_text(RECIPE.replace(*edit, 1))
    code, out, err = lightning("check", "planar.yaml")
    assert code != 0
    assert message in " ".join((out + err).split())


def test_batches_are_refused_without_the_command_too(tmp_path):
    with pytest.raises(ValueError, match=r"data\.batch_size is 16"):
        train(tmp_path, 2, task_of(), data_of(batch_size=16))


def test_an_unknown_choice_of_pairs_is_refused():
    with pytest.raises(ValueError, match=r"`pairs` must be one of all, train, got 'trian'.* Did you mean 'train'"):
        task_of(pairs="trian")
