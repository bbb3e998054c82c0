"""What bad input gets: a few lines that name file, stage and key; no traceback; finished runs as they were."""

import errno
import hashlib
import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

LONGEST_MESSAGE = 6
NOISE = ("Traceback", "usage:", "Union", "subtypes", "Namespace", "NoneType", "<class", "jsonargparse", "typing.")


@pytest.fixture
def refused(lightning, finished_chain, tmp_path):
    """Give a command that must be refused, and return what it says; the finished runs keep their bits."""

    def give(*words: object, log_dir: str = "logs") -> str:
        before = contents(tmp_path / "logs")
        outcome = lightning(*words, "--log_dir", log_dir)
        assert outcome.code == 2
        assert outcome.out == ""
        assert contents(tmp_path / "logs") == before
        assert len(outcome.err.splitlines()) <= LONGEST_MESSAGE
        assert not [noise for noise in NOISE if noise in outcome.err]
        return outcome.err

    return give


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of every file below a folder but for the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- one thing wrong in the recipe

SHORT = {
    "NETWORK": "model.init_args.network.init_args",
    "COMPOSITION": "CompositionDataModule",
    "SYSTEM": "SystemDataModule",
}
"""What stands for longer words in the cases."""

FAULTS = {
    # misspelt keys
    "key of the recipe": (("trainer: {", "trainr: {"), "trainr: no such key; did you mean 'trainer'?"),
    "key of a stage": (("compare_to:", "compareto:"), "stages.second.compareto", "'compare_to'"),
    "key of a class": (("  init_args: {modulus", "  init_arg: {modulus"), "stages.first.data.init_arg", "'init_args'"),
    "key of a transfer": (("freeze:", "freze:"), "stages.second.transfer.freze", "'freeze'"),
    "argument of the trainer": (("{max_steps: 40", "{max_step: 40"), "stages.first.trainer.max_step", "'max_steps'"),
    "argument of the task": (("optimizer:", "optimiser:"), "stages.first.model", "optimiser", "'optimizer'"),
    "argument of the network": (("{width:", "{widht:"), "stages.first.model", "network", "widht", "'width'"),
    "argument of the optimiser": (("{lr:", "{lrr:"), "stages.first.model", "optimizer", "lrr", "'lr'"),
    "argument of the data": (("{modulus:", "{moduls:"), "stages.first.data", "moduls", "'modulus'", "also in second"),
    "argument of a callback": (
        ("max_steps: 40", "max_steps: 40, callbacks: [{class_path: Milestones, init_args: {pateince: 3}}]"),
        "stages.first.trainer.callbacks",
        "pateince",
        "'patience'",
    ),
    "key in tiny": (("tiny: {trainer.", "tiny: {trainr."), "tiny.trainr", "'trainer'"),
    # misspelt names
    "class of the task": (("EquationTask", "EqationTask"), "stages.first.model", "EqationTask", "'EquationTask'"),
    "class of the network": (("ArithmeticTransformer", "ArithmeticTransfomer"), "network", "'ArithmeticTransformer'"),
    "class of the data": (
        ("BinaryOperationDataModule", "BinaryOperatonDataModule"),
        "data",
        "'BinaryOperationDataModule'",
    ),
    "class of the optimiser": (("torch.optim.AdamW", "torch.optim.AdmW"), "optimizer", "torch.optim has no", "'AdamW'"),
    "module of a class": (("torch.optim.AdamW", "torch.optm.AdamW"), "optimizer", "cannot import 'torch.optm'"),
    "class of a callback": (("max_steps: 40", "max_steps: 40, callbacks: [Milestone]"), "callbacks", "'Milestones'"),
    "operation": (("operation: sub", "operation: sbu"), "stages.second.data", "unknown operation 'sbu'", "'sub'"),
    "module of an operation": (("operation: sub", "operation: no_such.op"), "stages.second.data", "No module named"),
    "part": (("[embedding]", "[embeding]"), "stages.second.transfer", "'embeding' matches nothing", "'embedding'"),
    "part that is frozen": (("freeze: true", "freeze: [embeding]"), "stages.second.transfer", "'embedding'"),
    "stage of a transfer": (("from: first", "from: frist"), "stages.second.transfer.from", "'frist'", "'first'"),
    "stage of a comparison": (("compare_to: first", "compare_to: frist"), "stages.second.compare_to", "'first'"),
    "token": (("freeze: true", "tokens: ['0', '5']"), "stages.second.transfer", "'5'"),
    # the order of stages
    "transfer from itself": (("from: first", "from: second"), "stages.second.transfer.from", "from itself"),
    "transfer from a later stage": (
        ("operation: add\n", "operation: add\n    transfer: {from: second, parts: [decoder]}\n"),
        "stages.first.transfer.from: 'second' comes after 'first'",
        "no cycles",
    ),
    "comparison to itself": (("compare_to: first", "compare_to: second"), "stages.second.compare_to", "itself"),
    # wrong types
    "text for a whole number": (("max_steps: 40", "max_steps: many"), "stages.first.trainer.max_steps", "'many'"),
    "fraction for a whole number": (("heads: 2", "heads: 2.5"), "network", "heads", "whole number", "2.5"),
    "text for a number": (("lr: 1e-2", "lr: high"), "optimizer", "lr", "a number", "'high'"),
    "text for a choice": (("heads: 2", "heads: 2, norm: pro"), "network", "norm", "pre, post, none", "'pre'"),
    "text for true or false": (("heads: 2", "heads: 2, causal: maybe"), "network", "causal", "true or false"),
    "text for a list": (("[embedding]", "embedding"), "stages.second.transfer.parts", "expected a list"),
    "text for a mapping": (("{from: first, parts: [embedding], freeze: true}", "first"), "stages.second.transfer"),
    "list for a mapping": (("init_args: {lr: 1e-2}", "init_args: [1]"), "optimizer", "expected a mapping", "[1]"),
    "number for a stage": (("  second:\n", "  third: 3\n  second:\n"), "stages.third", "expected a mapping", "3"),
    "class of another kind": (("EquationTask", "torch.nn.Linear"), "stages.first.model", "no LightningModule"),
    "network of another kind": (("ArithmeticTransformer", "torch.nn.Linear"), "network", "is no Network"),
    "class without what it needs": (("    network:\n", "    network_: 1\n    unused:\n"), "network"),
    # values out of range
    "too large a fraction": (("{modulus: 5", "{train_fraction: 1.5, modulus: 5"), "stages.first.data", "1.5"),
    "no modulus": (("modulus: 5", "modulus: 1"), "stages.first.data", "modulus", "at least 2"),
    "division modulo an even number": (
        ("modulus: 5", "modulus: 6"),
        ("operation: sub", "operation: div"),
        "stages.second.data",
        "'div' needs an odd modulus",
        "6",
    ),
    "heads that do not divide the width": (("heads: 2", "heads: 3"), "stages.first", "`width` must divide", "8 and 3"),
    "negative learning rate": (("lr: 1e-2", "lr: -1"), "stages.first", "learning rate", "-1"),
    "no batch": (("batch_size: 8", "batch_size: 0"), "stages.first.data", "batch_size", "positive"),
    "negative steps": (("max_steps: 40", "max_steps: -5"), "stages.first.trainer", "max_steps", "-5"),
    "no replicates": (("tiny:", "replicates: 0\ntiny:"), "stages.first.replicates", "positive whole number", "0"),
    "negative seed": (("tiny:", "seed_everything: -1\ntiny:"), "stages.first.seed_everything", "-1"),
    "fewer donors than replicates": (
        ("compare_to: first", "replicates: 3"),
        ("operation: add\n", "operation: add\n    replicates: 2\n"),
        "stages.second.replicates",
        "3 replicates",
    ),
    "accelerator": (("accelerator: cpu", "accelerator: cpuu"), "stages.first.trainer", "cpuu", "cpu"),
    # expressions and systems
    "malformed expression": (
        ("data.init_args.operation: sub", "data: {class_path: COMPOSITION, init_args: {expression: a + }}"),
        "stages.second.data: expression 'a +': the end (character 4) is malformed",
    ),
    "operation in an expression": (
        ("data.init_args.operation: sub", "data: {class_path: COMPOSITION, init_args: {expression: a ** b}}"),
        "stages.second.data",
        "'a ** b' (character 1) is not understood",
    ),
    "more equations than there are": (
        (
            "data.init_args.operation: sub",
            "data: {class_path: COMPOSITION, init_args: {expression: a + b, modulus: 5}}",
        ),
        "stages.second: train_fraction is 100000, but only 25 equations",
    ),
    "unknown that is not there": (
        ("data.init_args.operation: sub", "data: {class_path: SYSTEM, init_args: {equations: [a + b = A], asked: B}}"),
        "stages.second.data: asked is 'B'",
        "did you mean 'A'?",
    ),
    "system without a unique answer": (
        ("data.init_args.operation: sub", "data: {class_path: SYSTEM, init_args: {equations: [a * A = b], asked: A}}"),
        "stages.second.data: a * A = b, A asked: A has several values for a = 0, b = 0",
        "leave_out_ambiguous",
    ),
    "key of a subset": (
        ("batch_size: 8", "batch_size: 8, train_tokens: {frist: 3}"),
        "stages.first.data.init_args.train_tokens.frist",
        "'first'",
    ),
    "two subsets": (("batch_size: 8", "batch_size: 8, train_tokens: {first: 3, random: 2}"), "first and random"),
    "too large a subset": (
        ("batch_size: 8", "batch_size: 8, train_tokens: {first: 9}"),
        "stages.first.data: train_tokens: first is 9; expected 1 to 5",
    ),
    # transfers that cannot be
    "part the donor lacks": (
        ("    data.init_args.operation: sub\n", "    data.init_args.operation: sub\n    NETWORK.embedding_mlps: 1\n"),
        "stages.second.transfer",
        "the donor has not",
    ),
    "part this network lacks": (
        ("    data.init_args.operation: add\n", "    data.init_args.operation: add\n    NETWORK.embedding_mlps: 1\n"),
        "stages.second.transfer",
        "this network has not",
    ),
    "other widths": (
        ("    data.init_args.operation: sub\n", "    data.init_args.operation: sub\n    NETWORK.width: 16\n"),
        "stages.second.transfer",
        "embedding.table.weight",
        "(7, 8)",
        "(7, 16)",
    ),
    "no token in common": (
        ("{modulus: 5,", "{layout: a b,"),
        ("operation: add\n", "operation: compose(3)\n    data.init_args.modulus: null\n"),
        "stages.second.transfer",
        "no token in common",
    ),
    "missing donor file": (("from: first", "from: ./gone.ckpt"), "stages.second.transfer", "gone.ckpt: no such file"),
    "folder that is no run": (("from: first", "from: ./logs/chain"), "stages.second.transfer", "no such file"),
    # the file itself
    "key given twice": (("tiny:", "trainer: {}\ntiny:"), "line 15: the key 'trainer' is given twice, first in line 14"),
    "key given dotted and nested": (
        (
            "    data.init_args.operation: add",
            "    data.init_args.operation: add\n    data: {init_args: {operation: mul}}",
        ),
        "stages.first.data.init_args.operation",
        "twice, dotted and nested",
    ),
    "open bracket": (("batch_size: 8}", "batch_size: 8"), "not valid YAML: line"),
    "tab": (("  class_path: Binary", "\tclass_path: Binary"), "not valid YAML: line 12, column 1"),
    "checkpoint to start from": (("tiny:", "ckpt_path: x\ntiny:"), "ckpt_path: ", "`transfer`"),
    "stages without names": (("stages:\n", "stages: [a, b]\nother:\n"), "stages: expected a mapping"),
}


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_a_faulty_recipe_is_refused(case, refused, write_recipe):
    edits = [part for part in case if isinstance(part, tuple)]
    for short, long in SHORT.items():
        edits = [(old, new.replace(short, long)) for old, new in edits]
    path = write_recipe(*edits, name="faulty.yaml")
    said = refused("fit", "--config", path)
    assert said.startswith(f"{path}: ")
    assert [words for words in case if isinstance(words, str) and words not in said] == []


def test_all_faults_are_said_at_once(refused, write_recipe):
    path = write_recipe(
        ("{width:", "{widht:"),
        ("{modulus:", "{moduls:"),
        ("{max_steps: 40", "{max_step: 40"),
        ("from: first", "from: frist"),
        ("compare_to:", "compareto:"),
    )
    said = refused("fit", "--config", path)
    assert said.startswith(f"{path}: 5 faults\n")
    assert all(word in said for word in ("widht", "moduls", "max_step", "frist", "compareto"))


def test_each_stage_says_its_own_fault(refused, write_recipe):
    said = refused("fit", "-c", write_recipe(("operation: add", "operation: ad"), ("operation: sub", "operation: sbu")))
    assert "stages.first.data: unknown operation 'ad'" in said
    assert "stages.second.data: unknown operation 'sbu'" in said


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_refuses_the_same_faults(command, refused, write_recipe):
    assert "did you mean 'modulus'?" in refused(command, "--config", write_recipe(("{modulus:", "{moduls:")))


# --- on the command line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--trainr.max_steps 5", ["--trainr", "'trainer'"]),
        ("--trainer.max_step 5", ["trainer.max_step", "'max_steps'"]),
        ("--data.moduls 7", ["data", "moduls", "'modulus'"]),
        ("--data.modulus seven", ["data", "modulus", "'seven'"]),
        ("--data.modulus [5", ["--data.modulus", "'[5'", "not valid YAML"]),
        ("--stages.frist.data.modulus 7", ["--stages.frist", "no stage 'frist'", "'first'"]),
        ("--stages.first 7", ["--stages.first", "expected --stages.NAME.KEY"]),
        ("--replicates 0", ["replicates", "positive whole number"]),
        ("--model EqationTask", ["model", "'EquationTask'"]),
    ],
)
def test_a_faulty_override_is_refused(words, says, refused, write_recipe):
    path = write_recipe()
    said = refused("fit", "--config", path, *words.split())
    assert [part for part in says if part not in said] == []


# --- files that are no recipes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- list\n", "expected a mapping"),
        (b"just text", "expected a mapping"),
        (b"\xff\xfe\x00binary", "cannot be read"),
        (b"a: !!python/object/apply:os.system ['touch executed']\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content, says, refused, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_bytes(content)
    said = refused("fit", "--config", path)
    assert said.startswith(f"{path}: ")
    assert says in said
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_or_a_folder_is_refused(refused, tmp_path):
    assert "gone.yaml: no such file" in refused("fit", "--config", "gone.yaml")
    assert f"{tmp_path}: is a folder" in refused("fit", "--config", tmp_path)


# --- weights that cannot be read


class Payload:
    """Creates a file when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


def weights_file(kind: str, run: Path, folder: Path) -> Path:
    """Make a weights file that is broken in one way."""
    good = {"ckpt": next(run.glob("checkpoints/*.ckpt")), "safetensors": run / "network.safetensors"}
    if kind == "code":
        path = folder / "code.ckpt"
        torch.save({"state_dict": {"embedding.table.weight": Payload()}}, path)
    elif kind == "plain pickle":
        path = folder / "pickle.ckpt"
        path.write_bytes(pickle.dumps(Payload()))
    elif kind == "no checkpoint":
        path = folder / "tensors.ckpt"
        torch.save({"weights": torch.zeros(2)}, path)
    else:
        how, suffix = kind.split()
        path = folder / f"{how}.{suffix}"
        whole = good[suffix].read_bytes()
        path.write_bytes(b"" if how == "empty" else whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("code", "such as code; it was not loaded, and nothing in it was run"),
        ("plain pickle", "not loaded, and nothing in it was run"),
        ("no checkpoint", "no state_dict"),
        ("cut ckpt", "is damaged"),
        ("empty ckpt", "is damaged"),
        ("cut safetensors", "is damaged"),
        ("empty safetensors", "is damaged"),
    ],
)
def test_weights_that_cannot_be_read_are_refused(kind, says, refused, write_recipe, finished_chain, tmp_path):
    path = weights_file(kind, finished_chain / "first/seed_0", tmp_path)
    recipe = write_recipe(("from: first", f"from: ./{path.name}"))
    said = refused("fit", "--config", recipe)
    assert "stages.second.transfer" in said
    assert path.name in said
    assert says in said
    assert not (tmp_path / "executed").exists()


def test_the_payload_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload())).close()
    assert (tmp_path / "executed").exists()


# --- what only shows when it runs


def unfinished(run: Path) -> Path:
    """Make a finished run an interrupted one, and return its checkpoint."""
    (run / "manifest.json").write_text((run / "manifest.json").read_text().replace('"finished"', '"interrupted"'))
    (run / "network.safetensors").unlink()
    return next(run.glob("checkpoints/*.ckpt"))


@pytest.mark.parametrize("kind", ["cut ckpt", "code"])
def test_a_damaged_checkpoint_to_resume_from_is_named(kind, lightning, finished_chain, tmp_path):
    checkpoint = unfinished(finished_chain / "second/seed_0")
    shutil.move(weights_file(kind, finished_chain / "second/seed_0", tmp_path), checkpoint)
    first = contents(finished_chain / "first")
    code, out, err = lightning("fit", "--config", "chain.yaml")
    assert code == 1
    assert "second, seed 0: failed" in out
    assert checkpoint.name in out
    assert "delete it to start that run over" in out
    assert not [noise for noise in NOISE if noise in out + err]
    assert contents(finished_chain / "first") == first
    assert not (tmp_path / "executed").exists()

    checkpoint.unlink()  # as the message says
    assert lightning("fit", "--config", "chain.yaml").code == 0


def test_a_log_folder_that_cannot_be_one_is_named(refused, tmp_path):
    (tmp_path / "taken").write_text("a file")
    said = refused("fit", "--config", "chain.yaml", log_dir="taken")
    assert said.startswith("taken: cannot be written")
    assert "--log_dir" in said
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_log_folder_is_named(refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    said = refused("fit", "--config", "chain.yaml", log_dir="locked")
    assert said.startswith("locked: cannot be written (Permission denied)")


def test_a_full_disk_while_a_checkpoint_is_written(lightning, finished_chain, tmp_path, monkeypatch):
    def write_half(trainer, path, *args, **kwargs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    before = contents(finished_chain)
    words = ["fit", "--config", "chain.yaml", "--data.modulus", "7", "--trainer.max_steps", "4"]
    with monkeypatch.context() as full:
        full.setattr("lightning.pytorch.Trainer.save_checkpoint", write_half)
        code, out, err = lightning(*words)
    assert code == 1
    assert "first, seed 0: failed" in out
    assert "No space left on device" in out
    assert "second, seed 0: not trained" in out
    assert not [noise for noise in NOISE if noise in out + err]
    assert contents(finished_chain) == before
    assert lightning(*words).code == 0  # once there is space again


USERS_TASK = """
from grok_lightning.tasks import EquationTask

class Broken(EquationTask):
    def training_step(self, chunk, batch_idx):
        return self.no_such_thing

class Refusing(EquationTask):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.no_such_thing
"""


def test_a_bug_in_a_users_module_fails_its_run_and_those_that_need_it(lightning, write_recipe, tmp_path, monkeypatch):
    (tmp_path / "users_task.py").write_text(USERS_TASK)
    path = write_recipe(("EquationTask", "users_task.Broken"))
    code, out, err = lightning("fit", "--config", path)
    assert code == 1
    assert "first, seed 0: failed" in out
    assert "no_such_thing" in out
    assert "second, seed 0: not trained: it needs first/seed_0, which failed" in out
    assert "Traceback" not in out + err
    status = yaml.safe_load((tmp_path / "logs/chain/run_000/first/seed_0/manifest.json").read_text())
    assert status["status"] == "failed"
    assert "no_such_thing" in status["error"]

    kept = tmp_path / "logs/chain/run_000/first/seed_0/traceback.txt"
    assert "its traceback: logs/chain/run_000/first/seed_0/traceback.txt" in out
    assert "users_task.py" in kept.read_text()
    assert "return self.no_such_thing" in kept.read_text()
    (tmp_path / "users_task.py").write_text(
        USERS_TASK.replace("return self.no_such_thing", "super().training_step(chunk, batch_idx)")
    )
    monkeypatch.delitem(sys.modules, "users_task")
    assert lightning("fit", "--config", path).code == 0  # other code makes other runs
    assert kept.exists()
    mended = tmp_path / "logs/chain/run_001/first/seed_0"
    assert yaml.safe_load((mended / "manifest.json").read_text())["status"] == "finished"
    assert not (mended / "traceback.txt").exists()


def test_a_bug_in_a_users_constructor_is_a_fault(lightning, write_recipe, tmp_path):
    (tmp_path / "users_task.py").write_text(USERS_TASK)
    code, out, err = lightning("fit", "--config", write_recipe(("EquationTask", "users_task.Refusing")))
    assert (code, out) == (2, "")
    assert "stages.first.model" in err
    assert "no_such_thing" in err
    assert not [noise for noise in NOISE if noise in err]
