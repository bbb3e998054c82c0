import json
import random
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grok_lightning.logger import read_metrics

DYING = """
import os, signal
from lightning.pytorch import Callback

class Dies(Callback):
    '''Sends the process a signal, as the environment says: at which stage, step and hook, and which signal.'''

    def __init__(self):
        self.stage, step, self.hook, self.signal = os.environ.get("DIES", "none -1 none SIGKILL").split()
        self.step = int(step)
        self.next_step = -1

    def setup(self, trainer, pl_module, stage):
        if self.stage in trainer.default_root_dir:
            self.next_step = self.step  # chunks of batches are cut there

    def die(self, trainer, hook):
        if trainer.global_step == self.next_step and hook == self.hook:
            for name in self.signal.split("+"):
                os.kill(os.getpid(), getattr(signal, name))

    def on_train_batch_end(self, trainer, *args):
        self.die(trainer, "batch")

    def on_validation_end(self, trainer, pl_module):
        self.die(trainer, "evaluation")

    def on_test_end(self, trainer, pl_module):
        self.die(trainer, "test")
"""
STEPS = 23
EVERY = 5


def make_mortal(lab):
    """Write a recipe of two stages with dropout, and a callback that can end the process."""
    callbacks = [
        {"class_path": "Evaluation", "init_args": {"every_n_steps": EVERY}},
        {"class_path": "RunCheckpoint", "init_args": {"every_n_steps": EVERY}},
        {"class_path": "dying.Dies"},
    ]
    lab.write(DYING, "dying.py")
    lab.write(lab.edited(lab.PAIR, trainer__max_steps=STEPS, trainer__callbacks=callbacks))
    return lab


@pytest.fixture
def mortal(lab):
    """A laboratory with that recipe."""
    return make_mortal(lab)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, make_lab):
    """A laboratory in which that recipe has run in one go."""
    lab = make_mortal(make_lab(tmp_path_factory.mktemp("uninterrupted")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        patch.setattr("grok_lightning.commands.save_picture", lambda report: None)
        assert lab.fit() == 0
    return lab


def scalars(folder):
    """Return the scalars of a run's event file: steps and values by tag, as TensorBoard reads them."""
    assert len(list(folder.glob("events.out.tfevents*"))) == 1
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same(lab, other, number=0):
    """Compare all that the two stages leave behind, to the bit."""
    for stage in ("donor", "heir"):
        folder, expected = lab.run(stage, number=number), other.run(stage)
        assert lab.weights(stage, number=number) == other.weights(stage)
        assert (folder / "metrics.csv").read_text() == (expected / "metrics.csv").read_text()
        assert scalars(folder) == scalars(expected)
        manifest = lab.manifest(stage, number=number)
        assert manifest["results"] == other.manifest(stage)["results"]
        assert manifest["status"] == "finished"
        assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step_{STEPS:08d}.ckpt"]


def test_a_run_in_one_go_evaluates_at_its_cadence_and_at_both_ends(uninterrupted):
    metrics = read_metrics(uninterrupted.run("heir"))
    assert metrics["val/accuracy"].steps == [0, 5, 10, 15, 20, 23]
    assert [step for step, _ in scalars(uninterrupted.run("heir"))["val/loss"]] == [0, 5, 10, 15, 20, 23]
    assert metrics["test/accuracy"].steps == [23]


# killed


def draw_deaths(seed, count):
    """Draw stages, steps and hooks at which to die."""
    generator = random.Random(seed)
    deaths = []
    while len(deaths) < count:
        stage, hook = generator.choice(("donor", "heir")), generator.choice(("batch", "batch", "evaluation", "test"))
        steps = {"batch": range(1, STEPS + 1), "evaluation": [0, *range(EVERY, STEPS, EVERY), STEPS], "test": [STEPS]}
        deaths.append((stage, generator.choice(steps[hook]), hook))
    return deaths


def die_and_resume(lab, other, stage, step, hook, capsys):
    process = lab.start(DIES=f"{stage} {step} {hook} SIGKILL")
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, (lab.folder / "other.txt").read_text()
    assert lab.manifest(stage)["status"] == "running"
    done = lab.manifest("donor")["status"] == "finished"
    before, saved = lab.times(), list((lab.run(stage) / "checkpoints").glob("step_*.ckpt"))
    assert lab.fit() == 0
    assert (f"{stage}, seed 0: resumed" in capsys.readouterr().out) == bool(saved)
    if done:
        donor = str(lab.run("donor"))
        assert {path: at for path, at in lab.times().items() if path.startswith(donor)} == {
            path: at for path, at in before.items() if path.startswith(donor)
        }
    assert_same(lab, other)


@pytest.mark.parametrize(("stage", "step", "hook"), [*draw_deaths(seed=1, count=2), ("heir", 17, "batch")])
def test_a_killed_job_goes_on_to_the_same_bits(mortal, uninterrupted, stage, step, hook, capsys):
    die_and_resume(mortal, uninterrupted, stage, step, hook, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step", "hook"), draw_deaths(seed=2, count=20))
def test_a_killed_job_goes_on_to_the_same_bits_wherever_it_dies(mortal, uninterrupted, stage, step, hook, capsys):
    die_and_resume(mortal, uninterrupted, stage, step, hook, capsys)


@pytest.mark.slow
def test_a_job_killed_from_outside_goes_on_to_the_same_bits(mortal, uninterrupted):
    command = [sys.executable, "-m", "grok_lightning", "fit", "--config", "small.yaml"]
    metrics = mortal.run("heir") / "metrics.csv"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
            time.sleep(0.001)
        process.kill()
        said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said
    assert mortal.fit() == 0
    assert_same(mortal, uninterrupted)


# interrupted


@pytest.mark.parametrize(("hook", "step"), [("batch", 12), pytest.param("evaluation", 15, marks=pytest.mark.slow)])
def test_ctrl_c_saves_and_the_same_command_goes_on_to_the_same_bits(
    mortal, uninterrupted, monkeypatch, capsys, hook, step
):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setenv("DIES", f"heir {step} {hook} SIGINT")
        assert mortal.fit() == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert f"interrupted at step {step}; the same command goes on from there" in capsys.readouterr().out
    interrupted = mortal.manifest("heir")
    assert (interrupted["status"], interrupted["error"]) == ("interrupted", f"interrupted at step {step}")
    assert [path.name for path in (mortal.run("heir") / "checkpoints").iterdir()] == [f"step_{step:08d}.ckpt"]
    assert mortal.fit() == 0
    assert "heir, seed 0: resumed" in capsys.readouterr().out
    assert mortal.manifest("heir")["seconds"]["training"] >= interrupted["seconds"]["training"]
    assert_same(mortal, uninterrupted)


def test_a_fresh_start_that_was_interrupted_goes_on_without_fresh(mortal, uninterrupted, monkeypatch, capsys):
    assert mortal.fit("--only", "donor") == 0
    with monkeypatch.context() as patch:
        patch.setenv("DIES", "donor 12 batch SIGINT")
        assert mortal.fit("--fresh") == 130
    said = capsys.readouterr().out
    assert "interrupted at step 12; the same command without --fresh goes on from there" in said
    assert mortal.fit() == 0
    assert "donor, seed 0: resumed" in capsys.readouterr().out
    assert not mortal.run("heir", number=1).is_symlink()  # though it is finished in the folder before
    assert_same(mortal, uninterrupted, number=1)


def test_a_fresh_start_that_slurm_requeues_goes_on_in_its_own_folder(mortal, monkeypatch, capsys):
    assert mortal.fit("--only", "donor") == 0
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with monkeypatch.context() as patch:
        patch.setenv("DIES", "donor 12 batch SIGUSR1")
        assert mortal.fit("--fresh", "--only", "donor") == 128 + signal.SIGUSR1
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    capsys.readouterr()
    assert mortal.fit("--fresh", "--only", "donor") == 0
    assert "donor, seed 0: resumed" in capsys.readouterr().out
    assert not mortal.run("donor", number=1).is_symlink()
    monkeypatch.setenv("SLURM_JOB_ID", "8")  # requeued before it came to this command
    assert mortal.fit("--fresh", "--only", "donor") == 0
    assert "donor, seed 0: ended at step" in capsys.readouterr().out
    assert not mortal.run("donor", number=2).is_symlink()


def test_a_second_ctrl_c_is_obeyed_at_once(mortal, uninterrupted, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setenv("DIES", "heir 12 batch SIGINT+SIGINT")
        assert mortal.fit() == 130
    assert "interrupted before it could save itself; the same command goes on" in capsys.readouterr().out
    assert mortal.manifest("heir")["status"] == "interrupted"
    assert [path.name for path in (mortal.run("heir") / "checkpoints").iterdir()] == ["step_00000010.ckpt"]
    assert mortal.fit() == 0
    assert_same(mortal, uninterrupted)


def test_a_damaged_checkpoint_of_a_run_is_told_and_can_be_deleted(lab, capsys):
    lab.write(lab.edited(lab.SMALL, trainer__max_steps=2))
    assert lab.fit() == 0
    finished, weights = lab.manifest("run"), lab.weights("run")
    (lab.run("run") / "manifest.json").write_text(json.dumps({**finished, "status": "interrupted"}))
    (checkpoint,) = (lab.run("run") / "checkpoints").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert lab.fit() == 1
    said = capsys.readouterr().out
    assert f"{checkpoint.name}: is damaged or cut short" in said
    assert "delete it to start that run over" in said
    checkpoint.unlink()
    assert lab.fit() == 0
    assert lab.weights("run") == weights


# what a run leaves


def test_a_manifest_says_what_a_run_was_and_found(trained):
    said = trained.manifest("heir")
    assert {key: said[key] for key in ("recipe", "stage", "seed", "status", "max_steps", "device", "error")} == {
        "recipe": "small",
        "stage": "heir",
        "seed": 0,
        "status": "finished",
        "max_steps": 20,
        "device": "cpu",
        "error": None,
    }
    assert {name: said["data"][name] for name in ("train", "val", "test")} == {"train": 12, "val": 6, "test": 7}
    assert (
        said["data"]["hash"] == trained.manifest("plain")["data"]["hash"] != trained.manifest("donor")["data"]["hash"]
    )
    tensors = load_file(trained.run("heir") / "network.safetensors")
    total = sum(tensor.numel() for tensor in tensors.values())
    assert said["parameters"] == {"total": total, "trainable": total - 6 * 16}  # 0…4 and "=", of width 16, are frozen
    assert said["results"]["steps"] == 20
    metrics = read_metrics(trained.run("heir"))
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"):
        assert said["results"][name] == metrics[name.replace("_", "/")].values[-1]
    seconds = said["seconds"]
    assert seconds["total"] == pytest.approx(
        sum(seconds[part] for part in ("training", "evaluation", "setup")), abs=2e-3
    )
    assert min(seconds.values()) > 0


def test_the_config_of_a_run_is_a_recipe_of_its_own(trained):
    trained.write((trained.run("plain") / "config.yaml").read_text(), "again.yaml")
    assert trained.fit(recipe="again.yaml") == 0
    assert trained.run("run", recipe="again").resolve() == trained.run("plain").resolve()


# transfer through the whole job


def test_frozen_rows_and_tensors_keep_their_bits_over_500_steps_of_weight_decay(lab):
    recipe = lab.edited(
        lab.PAIR,
        stages__donor={"data.init_args.operation": "add", "trainer.max_steps": 3},
        stages__heir={
            "data.init_args.operation": "sub",
            "data.init_args.modulus": 7,
            "transfer": {"from": "donor", "parts": ["embedding", "decoder"], "freeze": True},
            "trainer": {
                "max_steps": 500,
                "callbacks": [
                    {"class_path": "Evaluation", "init_args": {"every_n_steps": 250}},
                    {"class_path": "Milestones", "init_args": {"stop": False}},
                    {"class_path": "Snapshots", "init_args": {"parts": ["embedding"], "every_n_steps": 500}},
                ],
            },
        },
    )
    lab.write(recipe)
    assert lab.fit() == 0
    assert lab.manifest("heir")["results"]["steps"] == 500
    donor, heir = (load_file(lab.run(stage) / "network.safetensors") for stage in ("donor", "heir"))
    untrained = load_file(lab.run("heir") / "snapshots" / "step_00000000.safetensors")["embedding.table.weight"]
    table, given = heir["embedding.table.weight"], donor["embedding.table.weight"]
    # the donor knows 0…4, "+", "="; the heir 0…6, "-", "="
    for row, donor_row in {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 8: 6}.items():
        assert table[row].numpy().tobytes() == given[donor_row].numpy().tobytes()
    for row in (5, 6, 7):
        assert (table[row] - untrained[row]).abs().min() > 0
    for name in donor:
        moved = name.startswith(("embedding.", "decoder."))
        if name != "embedding.table.weight":
            assert (donor[name].numpy().tobytes() == heir[name].numpy().tobytes()) == moved, name


def test_weights_come_from_a_run_folder_or_a_checkpoint_with_split_rows(trained):
    heir = trained.run("heir").relative_to(trained.folder)
    sources = {"folder": heir, "checkpoint": heir / "checkpoints" / "step_00000020.ckpt"}
    stages = {
        name: {"transfer": {"from": str(source), "parts": ["embed*"], "freeze": True}}
        for name, source in sources.items()
    }
    trained.write(trained.edited(trained.SMALL, stages=stages, trainer__max_steps=2, data__init_args__operation="sub"))
    assert trained.fit() == 0
    for name in sources:
        table = trained.weights(name, number=1)["embedding.table.weight"]
        assert table == trained.weights("heir")["embedding.table.weight"]
    (landed,) = json.loads((trained.run("folder", number=1) / "transfer.json").read_text())
    assert (landed["source"], landed["frozen"]) == (str(heir / "network.safetensors"), True)
    # what both sources hold is the same, so it is one run
    assert trained.run("checkpoint", number=1).resolve() == trained.run("folder", number=1)
