"""The command, as a user gives it."""

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

import grok_lightning
from grok_lightning import catalogue, cli
from grok_lightning.chain.fingerprint import own_code
from grok_lightning.operations import registry

USER_MODULE = """\
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from grok_lightning.networks import QuadraticMLP
from grok_lightning.operations import operation


@operation(formula="x + 2y")
def plus_twice(x: int, y: int, n: int) -> int:
    return (x + 2 * y) % n


class Halved(QuadraticMLP):
    def forward(self, tokens):
        return super().forward(tokens) / 2


class Line(LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.layer, self.out = nn.Linear(3, width), nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.layer(x).tanh())

    def training_step(self, batch, batch_idx):
        return self._loss(batch, "train")

    def validation_step(self, batch, batch_idx):
        return self._loss(batch, "val")

    def test_step(self, batch, batch_idx):
        return self._loss(batch, "test")

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    def _loss(self, batch, part):
        loss = (self(batch[0]) - batch[1]).square().mean()
        self.log(f"{part}/loss", loss)
        return loss


class Points(LightningDataModule):
    def __init__(self, rows: int = 8):
        super().__init__()
        x = torch.linspace(-1, 1, 3 * rows).reshape(rows, 3)
        self.points = TensorDataset(x, x.sum(1, keepdim=True))

    def train_dataloader(self):
        return DataLoader(self.points, batch_size=len(self.points))

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader
"""
FOREIGN = """\
model:
  class_path: {module}.Line
  init_args: {{width: 5}}
data: {{class_path: {module}.Points}}
optimizer:
  class_path: torch.optim.SGD
  init_args: {{lr: 0.5}}
lr_scheduler:
  class_path: torch.optim.lr_scheduler.StepLR
  init_args: {{step_size: 1, gamma: 0.5}}
trainer: {{max_epochs: 3, accelerator: cpu}}
"""


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def fingerprints(folder: Path) -> dict[str, str]:
    return {path.parent.parent.name: manifest(path.parent)["fingerprint"] for path in folder.glob("*/*/manifest.json")}


# --- one program


def test_all_names_start_the_same_program():
    scripts = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"lightning", "grok-lightning"}
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert getattr(import_module(module), name) is cli.main


def in_a_process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own, with no terminal."""
    # Given as a mapping: readline, which pytest imports, puts COLUMNS behind Python's back.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "grok_lightning", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_module_runs_it_too(tmp_path):
    assert "commutative, abelian group, undone by sub" in in_a_process(tmp_path, "list", "operations").stdout
    refused = in_a_process(tmp_path, "lits")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "lightning: no command 'lits'; did you mean 'list'?; see lightning -h\n"


def test_words_come_from_the_process_unless_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightning", "list", "tasks"])
    assert cli.main() == 0
    assert "EquationTask" in capsys.readouterr().out


# --- reading the command line


@pytest.mark.parametrize(
    ("words", "own", "overrides"),
    [
        ("fit -c r.yaml --data.modulus 7", "fit -c r.yaml", [("data.modulus", "7")]),
        ("test --data.modulus 7 runs/a", "test runs/a", [("data.modulus", "7")]),
        ("fit --data.modulus=7 --tiny", "fit --tiny", [("data.modulus", "7")]),
        ("fit --trainer.max_steps -1 --config=r.x.yaml", "fit --config=r.x.yaml", [("trainer.max_steps", "-1")]),
        ("fit --replicates 5 --model Mine", "fit", [("replicates", "5"), ("model", "Mine")]),
        ("fit --trainer.callbacks+ Pictures", "fit", [("trainer.callbacks+", "Pictures")]),
        ("fit --trainer.help --tiny", "fit --tiny", [("trainer.help", "")]),
        ("fit --model.help EquationTask", "fit", [("model.help", "EquationTask")]),
        ("fit --a.b=--c", "fit", [("a.b", "--c")]),
        ("fit --log_dir a.b --replicate 5", "fit --log_dir a.b --replicate 5", []),
    ],
)
def test_keys_of_the_recipe_are_told_from_options(words, own, overrides):
    assert cli.split_overrides(words.split()) == (own.split(), overrides)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fti", "lightning: no command 'fti'; did you mean 'fit'?"),
        ("--x", "lightning: no option --x"),
        ("fit", "lightning fit: name a recipe with --config RECIPE; `lightning list` shows some"),
        ("test", "name a recipe with --config RECIPE, or give run folders"),
        ("fit chain.yaml", "did you mean --config chain.yaml?"),
        ("fit --config", "argument -c/--config: expected one argument"),
        ("fit -c a.yaml -c b.yaml", "one recipe at a time, found --config a.yaml --config b.yaml"),
        ("test -c chain.yaml some/run", "a recipe or run folders, not both; found chain.yaml and some/run"),
        ("test some/run --data.modulus 5", "--data.modulus: a run folder has its config already"),
        ("fit -c chain.yaml --fersh", "no option --fersh; did you mean '--fresh'?"),
        ("fit -c chain.yaml --fre", "no option --fre; did you mean '--fresh'?"),
        ("fit -c chain.yaml --replicate 5", "no option --replicate; did you mean '--replicates'?"),
        ("fit -c chain.yaml --trainer.max_steps", "--trainer.max_steps: its value is missing"),
        ("fit -c chain.yaml --trainer.max_steps --tiny", "--trainer.max_steps: its value is missing"),
        ("fit --trainer.max_steps -c chain.yaml", "--trainer.max_steps: its value is missing"),
        ("fit -c chain.yaml --only secnd", "--only secnd: no such stage; did you mean 'second'?"),
        ("list operaions", "there are no 'operaions' to list; did you mean 'operations'?"),
        ("list --data.modulus 5", "lightning list: no option --data.modulus"),
        ("copy", "lightning copy: the following arguments are required: RECIPE"),
        ("copy trasnfer_add_to_sub", "did you mean 'transfer_add_to_sub'?"),
        ("report --jsno logs", "no option --jsno; did you mean '--json'?"),
        ("report nowhere", "nowhere: no recipe.yaml in it"),
        ("describe nothing_like_it", "nothing_like_it: no such file, and no recipe of that name"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(words, says, lightning, write_recipe, tmp_path):
    write_recipe()
    code, out, err = lightning(*words.split())
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["chain.yaml"]


def test_without_words_there_is_help(lightning):
    code, out, err = lightning()
    assert (code, err) == (2, "")
    assert all(name in out for name in ("fit", "validate", "test", "predict", "list", "describe", "copy", "check"))


def test_help_of_fit_is_short_and_says_what_matters(lightning, capsys):
    with pytest.raises(SystemExit) as leaving:
        lightning("fit", "--help")
    text = capsys.readouterr().out
    assert leaving.value.code == 0
    assert len(text.splitlines()) <= 25
    assert all(word in text for word in ("--config", "--tiny", "--only", "--fresh", "--stages.", "--model.help"))


def test_help_on_classes_and_the_trainer(lightning):
    code, out, err = lightning("fit", "--model.help", "EquationTask")
    assert (code, err) == (0, "")
    assert all(f"--model.{name}" in out for name in ("network", "optimizer", "lr_scheduler", "loss"))
    code, out, _ = lightning("fit", "--trainer.help")
    assert code == 0
    assert "--trainer.max_steps" in out
    code, out, _ = lightning("fit", "--data.help=BinaryOperationDataModule")
    assert code == 0
    assert "--data.modulus" in out
    code, out, err = lightning("fit", "--model.help", "EqationTask")
    assert (code, out) == (2, "")
    assert "did you mean 'EquationTask'?" in err


def test_only_one_process_of_a_distributed_job_speaks(lightning, monkeypatch):
    monkeypatch.setattr(cli, "UNHEARD_SECONDS", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert lightning("fit", "-c", "nothing.yaml") == (2, "", "")
    monkeypatch.setenv("RANK", "0")
    assert "nothing.yaml: no such file" in lightning("fit", "-c", "nothing.yaml").err


def test_ctrl_c_outside_a_run_ends_quietly(lightning, monkeypatch):
    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("grok_lightning.commands.find_recipe", interrupted)
    assert lightning("fit", "-c", "chain.yaml") == (130, "", "")


# --- list, describe, copy, check, report


def test_a_listed_recipe_can_be_described_copied_and_checked(lightning, packaged):
    assert "small" in lightning("list", "recipes").out
    described = lightning("describe", "small")
    assert described.code == 0
    assert "A chain of two small runs." in described.out
    assert lightning("copy", "small", "mine.yaml") == (0, "mine.yaml\n", "")
    code, out, err = lightning("copy", "small", "mine.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("mine.yaml: exists already and is not overwritten")
    assert lightning("check", "mine.yaml") == (0, "mine.yaml: fine\n", "")
    assert lightning("check") == (0, "small: fine\n", "")


@pytest.fixture
def packaged(write_recipe, monkeypatch, tmp_path):
    """The small recipe as the only one that comes with the package."""
    (tmp_path / "packaged").mkdir()
    monkeypatch.setattr(catalogue, "recipes_folder", lambda: tmp_path / "packaged")
    return write_recipe(name="packaged/small.yaml")


def test_describe_says_what_the_stages_are(lightning, write_recipe):
    callbacks = "callbacks: [Pictures, {class_path: Snapshots, init_args: {parts: [embedding]}}]"
    path = write_recipe(("{max_steps: 40", f"{{{callbacks}, max_steps: 40"), ("freeze: true", "freeze: [embedding]"))
    size = "train 12, val 6, test 7 · 1,031 parameters · at most 40 steps"
    assert [line.strip() for line in lightning("describe", path).out.splitlines()] == [
        "A chain of two small runs.",
        "",
        "all stages  seed_everything 0",
        "model: EquationTask",
        "model.network: ArithmeticTransformer, width 8, heads 2",
        "model.optimizer: AdamW, lr 0.01",
        "data: BinaryOperationDataModule, modulus 5, batch_size 8",
        "trainer: callbacks [Pictures, Snapshots], max_steps 40, accelerator cpu",
        "first       data: operation add",
        size,
        "second      data: operation sub",
        size,
        "takes embedding of first, of which embedding frozen",
        "compared to first",
    ]


def test_describe_says_all_settings_of_a_single_stage(lightning, write_recipe):
    text = write_recipe().read_text()
    write_recipe((text, f"replicates: 3\n{text[text.index('model:') : text.index('stages:')]}"))
    lines = [line.strip() for line in lightning("describe", "chain.yaml").out.splitlines()]
    assert lines[:3] == ["run  seed_everything 0", "model: EquationTask", lines[2]]
    assert lines[2].startswith("model.network: ArithmeticTransformer")
    assert lines[-1] == "train 12, val 6, test 7 · 1,031 parameters · at most 40 steps · 3 seeds"


def test_describe_says_what_varies_and_shows_the_first_point(lightning, write_recipe):
    vary = "vary: {model.optimizer.lr: [1e-3, 1e-2], stages.second.data.train_fraction: [0.3, 0.4, 0.5]}\n"
    path = write_recipe(("stages:\n", f"replicates: 2\n{vary}stages:\n"))
    lines = [line.strip() for line in lightning("describe", path).out.splitlines()]
    assert "model.optimizer: AdamW, lr 0.001" in lines
    assert lines[lines.index("first       data: operation add") :] == [
        "first       data: operation add",
        "train 12, val 6, test 7 · 1,031 parameters · at most 40 steps · 2 seeds",
        "second      data: operation sub, train_fraction 0.3",
        "train 7, val 9, test 9 · 1,031 parameters · at most 40 steps · 2 seeds",
        "takes embedding of first[lr=0.001], frozen",
        "compared to first[lr=0.001]",
        "varied      model.optimizer.lr: 0.001, 0.01",
        "stages.second.data.train_fraction: 0.3, 0.4, 0.5",
        "8 points, 16 runs",
    ]


def test_check_finds_the_faults_of_all_recipes(lightning, write_recipe):
    write_recipe(("max_steps: 40", "max_stesp: 40"), ("modulus: 5", "modlus: 5"), name="a.yaml")
    write_recipe(("trainer.max_steps: 2", "trainer.max_stesp: 2"), name="b.yaml")
    write_recipe(name="c.yaml")
    code, out, err = lightning("check", "a.yaml", "b.yaml", "c.yaml", "d.yaml")
    assert (code, out) == (2, "c.yaml: fine\n")
    assert "a.yaml: 2 faults" in err
    assert "b.yaml with --tiny: 1 fault" in err
    assert "d.yaml: no such file" in err


def test_report_is_a_table_or_json(lightning, finished_chain):
    table = lightning("report", "logs/chain")
    assert table.code == 0
    assert all(word in table.out for word in ("first", "second", "grokked at", "sustained at", "speed-up"))
    code, out, err = lightning("report", finished_chain, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found == json.loads((finished_chain / "report.json").read_text()) | {"stages": found["stages"]}
    assert found["recipe"] == "chain"
    assert list(found["stages"]) == ["first", "second"]
    second = found["stages"]["second"]
    assert set(second) >= {"runs", "median", "compare_to", "speedup", "speedup_with_donor"}
    results = manifest(finished_chain / "second/seed_0")["results"]
    assert {**second["runs"][0], **results} == second["runs"][0]
    assert second["runs"][0]["seed"] == 0
    assert second["median"]["test_accuracy"] == results["test_accuracy"]


# --- fit and its overrides


def test_what_print_config_prints_runs_and_finds_the_same_runs(lightning, write_recipe, tmp_path):
    path = write_recipe()
    changes = ["--tiny", "--data.train_fraction", "0.6"]
    assert lightning("fit", "-c", path, *changes).code == 0
    code, printed, err = lightning("fit", "-c", path, *changes, "--print_config")
    assert (code, err) == (0, "")
    assert yaml.safe_load(printed)["stages"]["second"]["trainer"]["max_steps"] == 2
    Path("printed.yaml").write_text(printed)
    code, out, _ = lightning("fit", "-c", "printed.yaml")
    assert code == 0
    assert out.count("reused from") == 2
    made, found = (fingerprints(tmp_path / f"logs/{name}/run_000") for name in ("chain", "printed"))
    assert made == found
    assert set(made) == {"first", "second"}


def test_overrides_reach_the_stages_they_name(lightning, write_recipe):
    words = [
        *("--trainer.max_steps", "5"),
        *("--data.modulus", "7"),
        *("--stages.second.model.optimizer.lr", "3e-3"),
        *("--stages.second.trainer.max_steps", "6"),
        *("--trainer.callbacks+", "{class_path: Snapshots, init_args: {parts: [embedding], every_n_steps: 3}}"),
        *("--trainer.callbacks+", "Pictures"),
    ]
    code, out, _ = lightning("fit", "-c", write_recipe(), *words, "--print_config")
    first, second = yaml.safe_load(out)["stages"].values()
    assert code == 0
    assert (first["trainer"]["max_steps"], second["trainer"]["max_steps"]) == (5, 6)
    assert first["data"]["init_args"]["modulus"] == second["data"]["init_args"]["modulus"] == 7
    assert first["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 1e-2
    assert second["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 3e-3
    assert first["trainer"]["callbacks"] == [
        {"class_path": "Snapshots", "init_args": {"parts": ["embedding"], "every_n_steps": 3}},
        "Pictures",
    ]


def test_an_override_takes_effect(lightning, write_recipe, tmp_path):
    words = ["--trainer.callbacks+", "{class_path: Snapshots, init_args: {parts: [embedding], every_n_steps: 2}}"]
    code, _, _ = lightning("fit", "-c", write_recipe(), "--trainer.max_steps", 3, "--only", "first", *words)
    assert code == 0
    run = tmp_path / "logs/chain/run_000/first/seed_0"
    assert manifest(run)["results"]["steps"] == 3
    steps = sorted(path.stem for path in (run / "snapshots").iterdir())
    assert steps == ["step_00000000", "step_00000002", "step_00000003"]
    assert not (run.parent.parent / "second").exists()


def test_only_one_stage_and_what_it_needs(lightning, write_recipe, tmp_path):
    third = "  third:\n    data.init_args.operation: mul\n  second:\n"
    assert lightning("fit", "-c", write_recipe(("  second:\n", third)), "--tiny", "--only", "second").code == 0
    assert set(fingerprints(tmp_path / "logs/chain/run_000")) == {"first", "second"}


# --- validate, test and predict


def test_validate_and_test_measure_what_the_manifest_says(lightning, finished_chain):
    runs = [finished_chain / f"{stage}/seed_0" for stage in ("first", "second")]
    for command, part in (("validate", "val"), ("test", "test")):
        expected = [manifest(run)["results"][f"{part}_accuracy"] for run in runs]
        code, out, _ = lightning(command, "-c", "chain.yaml")
        assert code == 0
        assert column(out, f"{part}/accuracy") == pytest.approx(expected, abs=1e-5)
        code, out, _ = lightning(command, runs[1])
        assert column(out, f"{part}/accuracy") == pytest.approx(expected[1:], abs=1e-5)


def column(table: str, name: str) -> list[float]:
    """Return the numbers in a column of a printed table."""
    header, *rows = (re.split(r"  +", line.strip()) for line in table.strip().splitlines())
    return [float(row[header.index(name)]) for row in rows]


def test_predict_writes_every_answer(lightning, finished_chain):
    run = finished_chain / "second/seed_0"
    code, out, _ = lightning("predict", "-c", "chain.yaml", "--only", "second")
    assert code == 0
    assert out.split()[-1].endswith("second/seed_0/answers.csv")
    rows = list(csv.DictReader((run / "answers.csv").open(encoding="utf-8")))
    assert {row["equation"]: row["answer"] for row in rows} == {
        f"{a} - {b} =": str((a - b) % 5) for a in range(5) for b in range(5)
    }
    for part in ("val", "test"):
        marks = [row["prediction"] == row["answer"] for row in rows if row["part"] == part]
        assert sum(marks) / len(marks) == pytest.approx(manifest(run)["results"][f"{part}_accuracy"], abs=1e-6)
    assert all((row["correct"] == "1") == (row["prediction"] == row["answer"]) for row in rows)


def test_what_is_not_finished_is_not_evaluated(lightning, write_recipe, finished_chain):
    code, out, err = lightning("test", "-c", write_recipe(), "--data.modulus", "7")
    assert (code, out) == (2, "")
    assert "chain.yaml: not finished in logs: first/seed_0, second/seed_0" in err
    code, out, err = lightning("predict", finished_chain)
    assert (code, out) == (2, "")
    assert "no run; expected a folder such as logs/<recipe>/run_000/<stage>/seed_0" in err


# --- ordinary configs and a user's own modules


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A module beside the recipe, under a name that no other test has imported; its operation is forgotten again."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USER_MODULE)
    yield name
    sys.modules.pop(name, None)


def test_an_ordinary_config_is_a_chain_of_one(lightning, user_module, tmp_path):
    Path("line.yaml").write_text(FOREIGN.format(module=user_module))
    assert lightning("fit", "-c", "line.yaml").code == 0
    run = tmp_path / "logs/line/run_000/run/seed_0"
    assert manifest(run)["results"]["steps"] == 3

    loaded = grok_lightning.load(run)
    torch.manual_seed(0)
    by_hand = type(loaded.task)(width=5)
    inputs, targets = loaded.data.points.tensors
    losses = []
    for step in range(3):  # plain gradient descent, with the rates of the scheduler: 0.5, 0.25, 0.125
        loss = (by_hand(inputs) - targets).square().mean()
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters(), gradients, strict=True):
                parameter -= 0.5 ** (step + 1) * gradient
            losses.append(float((by_hand(inputs) - targets).square().mean()))
    for trained, expected in zip(loaded.network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(trained, expected)

    assert column(lightning("validate", "-c", "line.yaml").out, "val/loss") == pytest.approx(losses[-1:], rel=1e-4)
    assert column(lightning("test", run).out, "test/loss") == pytest.approx(losses[-1:], rel=1e-4)
    assert lightning("predict", run).code == 0
    answers = [float(row[0]) for row in list(csv.reader((run / "answers.csv").open()))[1:]]
    assert answers == pytest.approx(by_hand(inputs).flatten().tolist(), rel=1e-4)
    assert "reused from" in lightning("fit", "-c", "line.yaml").out


def test_overrides_reach_an_ordinary_config(lightning, user_module):
    Path("line.yaml").write_text(FOREIGN.format(module=user_module))
    words = ["--optimizer.lr", "0.25", "--lr_scheduler.gamma=1", "--data.rows", "4", "--model.width", "2"]
    code, out, _ = lightning("fit", "-c", "line.yaml", *words, "--print_config")
    assert code == 0
    config = yaml.safe_load(out)["stages"]["run"]
    assert config["optimizer"]["init_args"] == {"lr": 0.25}
    assert config["lr_scheduler"]["init_args"] == {"step_size": 1, "gamma": 1}
    assert config["data"]["init_args"] == {"rows": 4}
    assert config["model"]["init_args"] == {"width": 2}


def test_own_operation_and_network_by_import_path(lightning, write_recipe, user_module, tmp_path):
    path = write_recipe(
        ("operation: sub", f"operation: {user_module}.plus_twice"),
        ("      class_path: ArithmeticTransformer\n", f"      class_path: {user_module}.Halved\n"),
        ("init_args: {width: 8, heads: 2}", "init_args: {width: 8}"),
    )
    assert lightning("fit", "-c", path, "--tiny").code == 0
    run = grok_lightning.load(tmp_path / "logs/chain/run_000/second/seed_0")
    assert type(run.network).__name__ == "Halved"
    tokens, answers = (torch.cat(part) for part in zip(*run.data.parts.values(), strict=True))
    words = [[run.vocabulary[token] for token in row] for row in tokens.tolist()]
    assert len(words) == 25
    assert [run.vocabulary[token] for token in answers.tolist()] == [
        str((int(a) + 2 * int(b)) % 5) for a, _, b, _ in words
    ]


def test_runs_of_an_edited_operation_are_trained_anew_and_old_ones_no_longer_opened(
    lightning, write_recipe, user_module, tmp_path, monkeypatch
):
    path = write_recipe(("operation: sub", f"operation: {user_module}.plus_twice"))
    assert lightning("fit", "-c", path, "--tiny").code == 0
    assert lightning("fit", "-c", path, "--tiny").out.count("reused from") == 2
    (tmp_path / f"{user_module}.py").write_text(USER_MODULE.replace("2 * y", "2 * y * y"))
    sys.modules.pop(user_module)  # as in a new process
    monkeypatch.setattr(
        registry, "_REGISTRY", {name: op for name, op in registry._REGISTRY.items() if "twice" not in name}
    )
    code, out, _ = lightning("fit", "-c", path, "--tiny")
    assert code == 0
    assert "first, seed 0: finished before" in out
    assert "second, seed 0: ended at step" in out
    second = tmp_path / "logs/chain/run_001/second/seed_0"
    assert not second.is_symlink()
    assert lightning("test", second).code == 0
    code, _, err = lightning("test", tmp_path / "logs/chain/run_000/second/seed_0")
    assert code == 2
    assert "its data are no longer those it was trained on" in err


def test_code_counts_wherever_a_package_has_it_from(tmp_path, monkeypatch):
    package = tmp_path / f"package_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").write_text("from .networks import Halved\nfrom .operations import plus_twice\n")
    (package / "networks.py").write_text("from .bases import Base\nclass Halved(Base): pass\n")
    (package / "bases.py").write_text("class Base: pass\n")
    (package / "operations.py").write_text("def plus_twice(x, y, n): return x\n")
    (package / "callbacks.py").write_text("class Watch: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = package.name
    import_module(f"{name}.callbacks")
    config = {
        "model": {"class_path": f"{name}.Halved"},
        "data": {"operation": f"{name}.plus_twice", "layout": "a op b", "path": "os.path", "class": "torch.nn.Linear"},
        "trainer": {"callbacks": [{"class_path": f"{name}.callbacks.Watch"}]},
    }
    before = own_code(config)
    assert set(before) == {name, f"{name}.networks", f"{name}.bases", f"{name}.operations"}
    (package / "bases.py").write_text("class Base: a = 1\n")
    assert {module for module, code in own_code(config).items() if code != before[module]} == {f"{name}.bases"}
    assert own_code({"model": {"class_path": "grok_lightning.tasks.EquationTask"}}) == {}


def test_a_fault_in_a_users_module_is_named(lightning, write_recipe, user_module):
    path = write_recipe(("operation: sub", f"operation: {user_module}.plus_twic"))
    code, _, err = lightning("fit", "-c", path)
    assert code == 2
    assert "stages.second.data" in err
    assert "did you mean 'plus_twice'?" in err


# --- what a run prints


QUIET_LINES = [
    r"first, seed 0: ended at step 2 · .* steps/s",
    r" *tensor +shape +rows +from *",
    r" *embedding\.table\.weight +7 × 8 +6 of 7 .*frozen *",
    r"second, seed 0: ended at step 2 · .* steps/s",
    r" *chain *",
    r" *stage +runs +grokked at +sustained at +seconds +test accuracy +speed-up +with donor *",
    r" *─+ *",
    r" *(first|second) +1 .*",
    r"report, figure and runs: logs/chain/run_000",
    r"\s*",
]


def test_a_run_prints_nothing_but_what_it_does(write_recipe, tmp_path):
    write_recipe((", accelerator: cpu", ""))
    done = in_a_process(tmp_path, "fit", "--config", "chain.yaml", "--tiny")
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if not any(re.fullmatch(q, line) for q in QUIET_LINES)] == []
    assert done.returncode == 0
