import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.demos import boring_classes  # noqa: F401 - so that a config can call them by name
from torch import Tensor, nn
from torch.optim import AdamW

import grok_lightning.tasks  # noqa: F401 - as above
from grok_lightning.chain.annotations import words
from grok_lightning.chain.build import RunCLI
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.schema import config_faults, print_arguments


class LateNet(nn.Module):
    """A network that is told its sizes late."""

    def __init__(self, vocabulary_size: int, length: int) -> None:
        super().__init__()


class DeepLateNet(LateNet):
    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        width: int = 4,
        norm: Literal["pre", "post", "none"] = "pre",
        dropout: float = 0.0,
        inner: "Piece | None" = None,
    ) -> None:
        super().__init__(vocabulary_size, length)


class Piece(nn.Module):
    def __init__(self, size: int = 1) -> None:
        super().__init__()


class AbstractLateNet(LateNet, ABC):
    @abstractmethod
    def width(self) -> int: ...


def make_net(vocabulary_size: int, length: int) -> LateNet:
    return LateNet(vocabulary_size, length)


@dataclass
class Rule:
    pattern: str
    lr: float = 1.0

    def __post_init__(self) -> None:
        if self.lr < 0:
            raise ValueError(f"lr is {self.lr}; expected a positive number")


class Plain:
    """A class that is no module: its arguments may be given without its name."""

    def __init__(self, size: int) -> None:
        self.size = size


class Range(NamedTuple):
    low: int
    high: int = 9


class Colour(Enum):
    red = 1
    blue = 2


Unknown = TypeVar("Unknown")


class EveryKindTask(LightningModule):
    """A task with an argument of every kind.

    Args:
        network: The network.
    """

    def __init__(
        self,
        network: Callable[[int, int], LateNet],
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        rules: list[Rule] | None = None,
        rule: Rule | None = None,
        filled: Rule = Rule("all", 2.0),  # noqa: B008 - LightningCLI completes it
        plain: Plain | None = None,
        span: Range | None = None,
        table: dict[str, float] | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        rate: float | Tensor = 1e-3,
        colour: Colour = Colour.red,
        size: int | Literal["all"] = "all",
        implicit: int = None,  # type: ignore[assignment]  # noqa: RUF013
        free: Any = None,
        untyped=3,
        unknown: Unknown = None,  # type: ignore[assignment]
    ) -> None:
        super().__init__()


class HandingOnTask(EveryKindTask):
    def __init__(self, extra: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class OpaqueTask(LightningModule):
    def __init__(self, known: int = 1, **kwargs: Any) -> None:
        super().__init__()
        self.rest = dict(kwargs)


class UntypedTask(LightningModule):
    def __init__(self, width) -> None:
        super().__init__()


class UnresolvedTask(LightningModule):
    def __init__(self, width: "not_there.Width" = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
        super().__init__()


class PuzzlingTask(LightningModule):
    def __init__(self, share: int = "half") -> None:  # type: ignore[assignment]
        super().__init__()


class NumbersData(LightningDataModule):
    """NumbersData up to a modulus."""

    def __init__(
        self, modulus: int = 97, fraction: float = 0.5, name: str = "x", split: int | None = None, shuffle: bool = True
    ) -> None:
        super().__init__()
        if modulus < 2:
            raise ValueError(f"modulus is {modulus}; expected at least 2")
        if name == "loud":
            warnings.warn("loud", stacklevel=1)
        if name == "silent":
            raise ValueError
        if name == "broken":
            raise RuntimeError("out of luck\nfor good")


class CountingCallback(Callback):
    def __init__(self, every: int = 5) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; expected a positive number of steps")


BORING = {"class_path": "BoringModel"}


def faults(config):
    """Faults of a config by place; the config must stay as it is."""
    before = copy.deepcopy(config)
    found = {}
    for fault in config_faults(config, ""):
        found[fault.where] = f"{found[fault.where]} | {fault.message}" if fault.where in found else fault.message
    assert config == before
    for message in found.values():
        assert "\n" not in message
        assert len(message) < 400
        assert not any(noise in message for noise in ("Union", "Namespace", "<class", "Parser key", "jsonargparse"))
    return found


def task_faults(**arguments):
    """Faults of the arguments of a `EveryKindTask`, by their place below init_args."""
    prefix = "model.init_args."
    found = faults({"model": {"class_path": "EveryKindTask", "init_args": {"network": "DeepLateNet", **arguments}}})
    assert all(where.startswith(prefix) for where in found)
    return {where.removeprefix(prefix): message for where, message in found.items()}


def data_faults(value):
    return faults({"model": BORING, "data": value})


def trainer_faults(value):
    return faults({"model": BORING, "trainer": value})


def test_a_config_without_faults():
    config = {
        "seed_everything": 3,
        "model": {
            "class_path": "EveryKindTask",
            "init_args": {
                "network": {"class_path": "DeepLateNet", "init_args": {"width": 8, "inner": {"class_path": "Piece"}}},
                "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-3}},
                "lr_scheduler": {"class_path": "LinearLR", "init_args": {"total_iters": 5}},
                "rules": [{"pattern": "x", "lr": 0}, {"pattern": "y"}],
                "rule": {"pattern": "z"},
                "filled": {"lr": 3},
                "plain": {"size": 3},
                "span": {"low": 1},
                "table": {"a.b": 1},
                "betas": [0.5, 1],
                "rate": 1,
                "colour": "blue",
                "size": "all",
                "implicit": None,
                "free": {"anything": [1, None]},
                "untyped": "x",
                "unknown": 5,
            },
        },
        "data": {"class_path": "NumbersData", "init_args": {"modulus": 7, "split": None}},
        "trainer": {
            "max_steps": 5,
            "accelerator": "cpu",
            "strategy": "auto",
            "logger": [{"class_path": "CSVLogger", "init_args": {"save_dir": "x"}}],
            "callbacks": ["Timer", {"class_path": "CountingCallback", "init_args": {"every": 2}}],
        },
        "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.1}},
        "lr_scheduler": None,
    }
    assert faults(config) == {}


def test_networks_may_come_from_functions():
    assert task_faults(network=f"{__name__}.make_net") == {}
    missing = dict.fromkeys(["vocabulary_size", "length"], "is missing; expected a whole number")
    found = task_faults(network={"class_path": f"{__name__}.make_net"})
    assert found == {f"network.init_args.{name}": message for name, message in missing.items()}
    assert task_faults(network=f"{__name__}.words") == {"network": f"'{__name__}.words' is no LateNet"}


@pytest.mark.parametrize("model", [None, {}])
def test_a_model_is_needed(model):
    missing = "is missing; expected "
    (message,) = faults({"model": model, "trainer": {}}).values()
    assert message.startswith(missing)
    assert faults({})["model"].startswith(missing)


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        ("BoringModle", "", "no LightningModule is called 'BoringModle'; did you mean 'BoringModel'?"),
        (
            {"class_path": "BoringModle"},
            ".class_path",
            "no LightningModule is called 'BoringModle'; did you mean 'Bori",
        ),
        ({"class_path": None}, ".class_path", "is missing; expected the name of a class below LightningModule"),
        ({"init_args": {}}, ".class_path", "is missing; expected the name of a class below LightningModule"),
        ({"class_path": "torch.nn.Linear"}, ".class_path", "'torch.nn.Linear' is no LightningModule"),
        ({"class_path": "torch.nn.Linaer"}, ".class_path", "torch.nn has no 'Linaer'; did you mean 'Linear'?"),
        ({"class_path": "trch.nn.Linear"}, ".class_path", "cannot import 'trch.nn': No module named 'trch'"),
        ({"class_path": "torch.nn"}, ".class_path", "'torch.nn' is no LightningModule"),
        ({"class_path": "torch.pi"}, ".class_path", "'torch.pi' is no LightningModule"),
        ({"class_path": ".x"}, ".class_path", "'.x' is no path of a class; expected one such as my_module.MyClass"),
        ({"class_path": "a b.c"}, ".class_path", "'a b.c' is no path of a class"),
        ({"class_path": "BoringModel", "init_arg": {}}, ".init_arg", "no such key; did you mean 'init_args'?"),
        ({"class_path": "UntypedTask", "width": 5}, ".width", "no such key; arguments belong under init_args"),
        (
            {"class_path": "UntypedTask", "init_args.width": 5},
            ".init_args.width",
            "no such key; nest it: dotted keys are",
        ),
        ({"class_path": "UntypedTask", "init_args": None}, ".init_args", "expected a mapping of arguments, found null"),
        ({"class_path": "UntypedTask", "init_args": [5]}, ".init_args", "expected a mapping of arguments, found [5]"),
        ({"class_path": "UntypedTask"}, ".init_args.width", "is missing; expected any value"),
        ({"class_path": "BoringModel", "dict_kwargs": 5}, ".dict_kwargs", "expected a mapping of arguments, found 5"),
        (5, "", "expected class_path and init_args of LightningModule, found 5"),
        ([BORING], "", 'expected class_path and init_args of LightningModule, found [{"class_path": "BoringModel"}]'),
    ],
)
def test_faults_of_a_class(value, where, message):
    found = faults({"model": value})
    assert message in found[f"model{where}"]


def test_a_name_far_from_all_others_asks_for_the_module():
    message = "no Optimizer is called 'Zzz'; a class of your own is given with its module, as in my_module.MyClass"
    assert faults({"model": BORING, "optimizer": "Zzz"}) == {"optimizer": message}


def test_a_module_that_fails_in_its_own_way(tmp_path, monkeypatch):
    (tmp_path / "broken_syntax.py").write_text("def f(:\n")
    (tmp_path / "broken_import.py").write_text("import not_there\n")
    (tmp_path / "broken_code.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    expected = {
        "broken_syntax": "cannot import 'broken_syntax': SyntaxError: invalid syntax",
        "broken_import": "cannot import 'broken_import': No module named 'not_there'",
        "broken_code": "cannot import 'broken_code': ZeroDivisionError: division by zero",
    }
    for module, message in expected.items():
        assert faults({"model": f"{module}.Model"})["model"].startswith(message)


def test_a_users_own_module(tmp_path, monkeypatch):
    (tmp_path / "own_task.py").write_text(
        "from lightning.pytorch import LightningModule\n"
        "class Own(LightningModule):\n"
        "    def __init__(self, width: int = 3):\n"
        "        super().__init__()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert faults({"model": {"class_path": "own_task.Own", "init_args": {"width": 5}}}) == {}
    assert faults({"model": {"class_path": "own_task.Own", "init_args": {"widht": 5}}}) == {
        "model.init_args.widht": "Own has no such argument; did you mean 'width'?"
    }
    assert faults({"model": "own_task.Onw"}) == {"model": "own_task has no 'Onw'; did you mean 'Own'?"}


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("modulus", "x", "expected a whole number, found 'x'"),
        ("modulus", None, "expected a whole number, found null"),
        ("modulus", 7.0, "expected a whole number, found 7.0; write 7"),
        ("modulus", 7.5, "expected a whole number, found 7.5"),
        ("modulus", True, "expected a whole number, found true"),
        ("modulus", [7], "expected a whole number, found [7]"),
        ("modulus", {"class_path": "Piece"}, 'expected a whole number, found {"class_path": "Piece"}'),
        ("fraction", "half", "expected a number, found 'half'"),
        ("fraction", None, "expected a number, found null"),
        ("name", 5, "expected text, found 5"),
        ("split", "x", "expected a whole number or null, found 'x'"),
        ("shuffle", "ture", "expected true or false, found 'ture'"),
        ("shuffle", 1, "expected true or false, found 1"),
        ("moduls", 7, "NumbersData has no such argument; did you mean 'modulus'?"),
        ("moduls", None, "NumbersData has no such argument; did you mean 'modulus'?"),
        ("a.b", 7, "NumbersData has no such argument; nest it: dotted keys are for the top of a recipe and of a stage"),
    ],
)
def test_faults_of_an_argument(argument, value, message):
    found = data_faults({"class_path": "NumbersData", "init_args": {argument: value}})
    assert found == {f"data.init_args.{argument}": message}


def test_long_values_are_cut_short():
    message = data_faults({"class_path": "NumbersData", "init_args": {"modulus": list(range(1000))}})
    assert message["data.init_args.modulus"].endswith("…")


@pytest.mark.parametrize(
    ("arguments", "where", "message"),
    [
        ({"network": "DepLateNet"}, "network", "no LateNet is called 'DepLateNet'; did you mean 'DeepLateNet'?"),
        (
            {"network": {"class_path": "DepLateNet"}},
            "network.class_path",
            "no LateNet is called 'DepLateNet'; did you mean 'DeepLateNet",
        ),
        ({"network": "torch.nn.Linear"}, "network", "'torch.nn.Linear' is no LateNet"),
        ({"network": {"class_path": "torch.nn.Linear"}}, "network.class_path", "'torch.nn.Linear' is no LateNet"),
        (
            {"network": {"class_path": "AbstractLateNet"}},
            "network.class_path",
            "'AbstractLateNet' is abstract; name a class below it",
        ),
        ({"network": 5}, "network", "expected class_path and init_args of LateNet, found 5"),
        ({"network": None}, "network", "expected class_path and init_args of LateNet, found null"),
        (
            {"network": {"init_args": {"width": 3}}},
            "network.class_path",
            "is missing; expected the name of a class belo",
        ),
        ({"optimizer": "AdmW"}, "optimizer", "no Optimizer is called 'AdmW'; did you mean 'AdamW'?"),
        ({"optimizer": "torch.optim.AdmW"}, "optimizer", "torch.optim has no 'AdmW'; did you mean 'AdamW'?"),
        ({"optimizer": None}, "optimizer", "expected class_path and init_args of Optimizer, found null"),
        ({"lr_scheduler": "LinearRL"}, "lr_scheduler", "no LRScheduler or ReduceLROnPlateau is called 'LinearRL'; did"),
        ({"lr_scheduler": "StepLR"}, "lr_scheduler.init_args.step_size", "is missing; expected a whole number"),
        (
            {"lr_scheduler": "ReduceLROnPlateau"},
            "lr_scheduler",
            "several classes are called 'ReduceLROnPlateau'; write",
        ),
        ({"rules": 5}, "rules", "expected a list (a mapping (pattern, lr) each) or null, found 5"),
        (
            {"rules": [{"pattern": "x", "patern": "x"}]},
            "rules[0].patern",
            "Rule has no such argument; did you mean 'pattern'?",
        ),
        ({"rules": [{"pattern": "x"}, {"lr": 2}]}, "rules[1].pattern", "is missing; expected text"),
        ({"rules": [{"pattern": "x", "lr": "y"}]}, "rules[0].lr", "expected a number, found 'y'"),
        ({"rules": [{"pattern": "x", "lr": -1}]}, "rules[0]", "lr is -1.0; expected a positive number"),
        ({"rules": ["x"]}, "rules[0]", "expected a mapping (pattern, lr), found 'x'"),
        ({"rule": {"pattern": None}}, "rule.pattern", "expected text, found null"),
        ({"filled": {"lr": "x"}}, "filled.lr", "expected a number, found 'x'"),
        ({"plain": {"sise": 3}}, "plain.class_path", "is missing; expected the name of a class below Plain"),
        ({"span": [1, "x"]}, "span", 'expected a list or a mapping (low, high) or null, found [1, "x"]'),
        ({"table": {"a": "x"}}, "table.a", "expected a number, found 'x'"),
        ({"table": [1]}, "table", "expected a mapping (a number each) or null, found [1]"),
        ({"betas": [0.9]}, "betas", "expected a list of 2 (a number, a number), found [0.9]"),
        ({"betas": [0.9, "x"]}, "betas[1]", "expected a number, found 'x'"),
        ({"betas": 0.9}, "betas", "expected a list of 2 (a number, a number), found 0.9"),
        ({"rate": "x"}, "rate", "expected a number, found 'x'"),
        ({"rate": None}, "rate", "expected a number, found null"),
        ({"colour": "bleu"}, "colour", "expected one of red, blue, found 'bleu'; did you mean 'blue'?"),
        ({"size": "al"}, "size", "expected one of all or a whole number, found 'al'; did you mean 'all'?"),
        ({"implicit": "x"}, "implicit", "expected a whole number or null, found 'x'"),
        ({"free": {"class_path": "torch.nn.Linaer"}}, "free.class_path", "torch.nn has no 'Linaer'; did you mean 'Lin"),
        ({"free": {"a": {"class_path": "torch.Linear"}}}, "free.a.class_path", "torch has no 'Linear'"),
        ({"free": [{"class_path": "Linear"}]}, "free[0].class_path", "no class is called 'Linear'; a class of your ow"),
    ],
)
def test_faults_of_arguments_of_every_kind(arguments, where, message):
    found = task_faults(**arguments)
    assert list(found) == [where]
    assert message in found[where]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("norm", "pro", "expected one of pre, post, none, found 'pro'; did you mean 'pre'?"),
        ("norm", False, "expected one of pre, post, none, found false"),
        ("norm", None, "expected one of pre, post, none, found null"),
        ("width", "x", "expected a whole number, found 'x'"),
        ("widht", None, "DeepLateNet has no such argument; did you mean 'width'?"),
        ("vocabulary_size", 5, "DeepLateNet gets this argument from the run; leave it out"),
        ("inner", "Peice", "no Piece is called 'Peice'; did you mean 'Piece'?"),
    ],
)
def test_faults_inside_a_network_that_is_built_late(name, value, message):
    found = task_faults(network={"class_path": "DeepLateNet", "init_args": {name: value}})
    assert found == {f"network.init_args.{name}": message}


def test_faults_inside_an_optimizer():
    arguments = {"lr": "x", "betas": [0.9], "fused": "ture", "wieght_decay": None, "eps": None}
    place = "optimizer.init_args."
    assert task_faults(optimizer={"class_path": "torch.optim.AdamW", "init_args": arguments}) == {
        f"{place}lr": "expected a number, found 'x'",
        f"{place}betas": "expected a list of 2 (a number, a number), found [0.9]",
        f"{place}fused": "expected true or false or null, found 'ture'",
        f"{place}wieght_decay": "AdamW has no such argument; did you mean 'weight_decay'?",
        f"{place}eps": "expected a number, found null",
    }


def test_arguments_that_are_handed_on():
    arguments = {"network": "DeepLateNet", "extra": "x", "rat": 1, "rate": "y"}
    assert faults({"model": {"class_path": "HandingOnTask", "init_args": arguments}}) == {
        "model.init_args.extra": "expected a whole number, found 'x'",
        "model.init_args.rat": "HandingOnTask has no such argument; did you mean 'rate'?",
        "model.init_args.rate": "expected a number, found 'y'",
    }
    assert "model.init_args.network" in faults({"model": {"class_path": "HandingOnTask"}})


def test_annotations_that_cannot_be_resolved():
    config = {"class_path": "UnresolvedTask", "init_args": {"widht": 5}}
    assert faults({"model": config}) == {
        "model.init_args.widht": "UnresolvedTask has no such argument; did you mean 'width'?"
    }
    assert faults({"model": {"class_path": "UnresolvedTask", "init_args": {"width": 5}}}) == {}


def test_a_default_may_have_a_type_of_its_own():
    assert faults({"model": {"class_path": "PuzzlingTask", "init_args": {"share": "half"}}}) == {}
    assert faults({"model": {"class_path": "PuzzlingTask", "init_args": {"share": "all"}}}) == {
        "model.init_args.share": "expected a whole number, found 'all'"
    }


def test_arguments_that_cannot_be_known():
    known = {"class_path": "OpaqueTask", "init_args": {"known": 2}, "dict_kwargs": {"other": 5}}
    assert faults({"model": known}) == {}
    assert "model.init_args.other" in faults({"model": {"class_path": "OpaqueTask", "init_args": {"other": 5}}})
    for key in ("init_args", "dict_kwargs"):
        assert faults({"model": {"class_path": "UntypedTask", key: {"width": 5}}}) == {}


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        (None, "", "expected a mapping of arguments, found null"),
        (5, "", "expected a mapping of arguments, found 5"),
        ({"max_setps": None}, ".max_setps", "Trainer has no such argument; did you mean 'max_steps'?"),
        ({"max_steps": "abc"}, ".max_steps", "expected a whole number, found 'abc'"),
        ({"max_steps": None}, ".max_steps", "expected a whole number, found null"),
        ({"max_steps": 2e4}, ".max_steps", "expected a whole number, found 20000.0; write 20000"),
        ({"max_steps": -5}, "", "`max_steps` must be a non-negative integer or -1 (infinite steps). You passed in -5"),
        ({"precision": "bf15"}, ".precision", "found 'bf15'; did you mean 'bf16'?"),
        ({"accelerator": 5}, ".accelerator", "expected text or class_path and init_args of Accelerator, found 5"),
        ({"accelerator": "cpuu"}, "", "You selected an invalid accelerator name: `accelerator='cpuu'`"),
        ({"strategy": "dpp"}, "", "You selected an invalid strategy name: `strategy='dpp'`"),
        ({"devices": 0, "accelerator": "cpu"}, "", "`Trainer(devices=0)` value is not a valid input using cpu"),
        ({"logger": "CSVLoger"}, ".logger", "no Logger is called 'CSVLoger'; did you mean 'CSVLogger'?"),
        ({"logger": {"class_path": "CSVLogger"}}, ".logger.init_args.save_dir", "is missing; expected text or Path"),
        ({"logger": 5}, ".logger", "expected class_path and init_args of Logger, a list (class_path and init_args of"),
        ({"callbacks": ["Tmer"]}, ".callbacks[0]", "no Callback is called 'Tmer'; did you mean 'Timer'?"),
        ({"callbacks": "Tmer"}, ".callbacks", "no Callback is called 'Tmer'; did you mean 'Timer'?"),
        ({"callbacks": [5]}, ".callbacks[0]", "expected class_path and init_args of Callback, found 5"),
        ({"callbacks": ["EarlyStopping"]}, ".callbacks[0].init_args.monitor", "is missing; expected text"),
        (
            {"callbacks": {"every": 5}},
            ".callbacks.class_path",
            "is missing; expected the name of a class below Callbac",
        ),
        ({"limit_val_batches": "x"}, ".limit_val_batches", "expected a number or null, found 'x'"),
    ],
)
def test_faults_of_the_trainer(value, where, message):
    found = trainer_faults(value)
    assert list(found) == [f"trainer{where}"]
    assert message in found[f"trainer{where}"]


def test_the_display_is_the_chains_business():
    assert trainer_faults({"enable_progress_bar": False, "callbacks": ["RichProgressBar"], "max_steps": 5}) == {}


def test_every_item_of_a_list_is_checked():
    callbacks = [
        {"class_path": "CountingCallback", "init_args": {"evry": None}},
        {"class_path": "CountingCallback", "init_args": {"every": 0}},
        {"class_path": "CountingCallback", "init_args": {"every": None}},
        {"class_path": "CountingCallback"},
        "ContingCallback",
    ]
    assert trainer_faults({"callbacks": callbacks, "max_steps": "x"}) == {
        "trainer.callbacks[0].init_args.evry": "CountingCallback has no such argument; did you mean 'every'?",
        "trainer.callbacks[1]": "every is 0; expected a positive number of steps",
        "trainer.callbacks[2].init_args.every": "expected a whole number, found null",
        "trainer.callbacks[4]": "no Callback is called 'ContingCallback'; did you mean 'CountingCallback'?",
        "trainer.max_steps": "expected a whole number, found 'x'",
    }


def test_what_constructors_refuse_is_found_in_every_key():
    config = {
        "model": {
            "class_path": "EveryKindTask",
            "init_args": {"network": "DeepLateNet", "rule": {"pattern": "x", "lr": -2}},
        },
        "data": {"class_path": "NumbersData", "init_args": {"modulus": 1}},
        "trainer": {"max_steps": -5},
        "optimizer": "AdmW",
        "lr_scheduler": "LinearRL",
        "seed_everything": "x",
    }
    found = faults(config)
    assert found["model.init_args.rule"] == "lr is -2.0; expected a positive number"
    assert found["data"] == "modulus is 1; expected at least 2"
    assert {where.partition(".")[0] for where in found} == set(config)


def test_a_constructor_that_breaks():
    found = data_faults({"class_path": "NumbersData", "init_args": {"name": "broken"}})
    assert found == {"data": "RuntimeError: out of luck for good"}
    found = data_faults({"class_path": "NumbersData", "init_args": {"name": "silent"}})
    assert found == {"data": "ValueError"}


def test_a_class_that_has_no_path_is_not_offered():
    class LocalTask(LightningModule):
        pass

    assert faults({"model": LocalTask.__name__})["model"].startswith("no LightningModule is called 'LocalTask'; ")


def test_the_parser_refuses_nothing_else(monkeypatch):
    """Whatever stays unsaid by the walk is said in the parser's innermost words, without its noise."""
    monkeypatch.setattr("grok_lightning.chain.schema.arguments_of", lambda target, skip=0: None)
    found = faults(
        {"model": {"class_path": "EveryKindTask", "init_args": {"network": "DeepLateNet", "rule": {"patern": "x"}}}}
    )
    assert found == {"model": "Option 'patern' is not accepted"}
    found = faults({"model": BORING, "optimizer": {"class_path": "AdamW", "init_args": {"lrr": 1}}})
    assert found == {"optimizer": "Option 'lrr' is not accepted"}
    network = {"class_path": "DeepLateNet", "init_args": {"widht": 1}}
    found = faults({"model": {"class_path": "EveryKindTask", "init_args": {"network": network}}})
    assert found == {"model": "Option 'widht' is not accepted"}
    network["init_args"] = {"width": [1]}
    found = faults({"model": {"class_path": "EveryKindTask", "init_args": {"network": network}}})
    assert found == {"model": "Expected a int. Got value: [1]"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(["modulus", "fraction", "name", "split", "shuffle"]), unique=True, min_size=1, max_size=5),
    st.sampled_from([{"a": 1}, [1], {"class_path": "Piece"}]),
)
def test_every_wrong_argument_is_reported(wrong, value):
    found = data_faults({"class_path": "NumbersData", "init_args": dict.fromkeys(wrong, value)})
    assert set(found) == {f"data.init_args.{name}" for name in wrong}


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "a whole number"),
        (int | float | None, "a number or null"),
        (bool | int | str, "true or false, a whole number or text"),
        (Literal["a", 1] | None, "one of a, 1 or null"),
        (list[int], "a list (a whole number each)"),
        (tuple[int, ...], "a list (a whole number each)"),
        (tuple[int, str], "a list of 2 (a whole number, text)"),
        (dict[str, Literal["a"]], "a mapping (one of a each)"),
        (Range, "a list or a mapping (low, high)"),
        (Colour, "one of red, blue"),
        (Callable[[int, int], LateNet], "class_path and init_args of LateNet"),
        (Callable[[int], float], "the import path of a function"),
        (Any, "any value"),
    ],
)
def test_types_in_words(annotation, text):
    assert words(annotation) == text


def test_help_on_a_class(capsys):
    assert print_arguments("data", "NumbersData") == 0
    text = capsys.readouterr().out
    assert text.startswith("NumbersData: NumbersData up to a modulus")
    assert all(f"--data.{name}" in text for name in ("modulus", "fraction", "name", "split", "shuffle"))


def test_help_on_what_a_class_is_made_of(capsys):
    assert print_arguments("model.network", "DeepLateNet") == 0
    text = capsys.readouterr().out
    assert "--model.network.width" in text
    assert "vocabulary_size" not in text
    assert print_arguments("trainer", "") == 0
    assert "--trainer.max_steps" in capsys.readouterr().out
    assert print_arguments("trainer.callbacks", "CountingCallback") == 0
    assert "--trainer.callbacks.every" in capsys.readouterr().out
    assert print_arguments("model.network", f"{__name__}.make_net") == 0
    assert "--model.network.length" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("modle", "x", "--modle.help: no such key below the top; did you mean 'model'?"),
        ("model.netwrok", "x", "--model.netwrok.help: no such key below model; did you mean 'network'?"),
        ("model", "", "--model.help needs the name of a class below LightningModule"),
        (
            "data",
            "NubmersData",
            "--data.help: no LightningDataModule is called 'NubmersData'; did you mean 'NumbersData'?",
        ),
    ],
)
def test_help_on_something_else(key, name, message):
    with pytest.raises(ChainError) as caught:
        print_arguments(key, name)
    assert str(caught.value) == message


def equations(network, data, **arguments):
    """The config of a run of our own."""
    arguments["network"] = {"class_path": "ArithmeticTransformer", "init_args": network}
    return {
        "model": {"class_path": "EquationTask", "init_args": arguments},
        "data": {"class_path": "BinaryOperationDataModule", "init_args": data},
        "trainer": {"max_steps": 5, "accelerator": "cpu", "callbacks": [{"class_path": "Milestones"}]},
    }


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_our_own_and_its_typed_config_have_no_faults(tmp_path):
    rules = [{"pattern": "embedding", "lr": 0}]
    config = equations({"width": 8}, {"modulus": 5, "operation": "sub"}, parameter_groups=rules, loss="mse")
    assert faults(config) == {}
    assert faults(RunCLI(config, tmp_path).typed_config()) == {}


def test_faults_of_a_run_of_our_own():
    rules = [{"patern": "x"}, {"pattern": "x", "lr": "slow"}]
    network = {"norm": "pro", "width": "wide", "blocks": None}
    data = {"modulus": "x", "operation": 5, "layout": "a op b", "train_fractoin": None}
    init_args, groups = "model.init_args.", "model.init_args.parameter_groups"
    assert set(faults(equations(network, data, parameter_groups=rules, loss="mes", netwrok=None))) == {
        f"{init_args}network.init_args.norm",
        f"{init_args}network.init_args.width",
        f"{init_args}network.init_args.blocks",
        f"{groups}[0].patern",
        f"{groups}[0].pattern",
        f"{groups}[1].lr",
        f"{init_args}loss",
        f"{init_args}netwrok",
        "data.init_args.modulus",
        "data.init_args.operation",
        "data.init_args.train_fractoin",
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"operation": "subb"}, "did you mean 'sub'?"),
        ({"operation": "div", "modulus": 8}, "modulus=8"),
        ({"train_fraction": 1.5}, "1.5"),
        ({"batch_size": 0}, "0"),
    ],
)
def test_what_our_own_data_refuse(data, message):
    found = faults(equations({}, {"modulus": 7, **data}))
    assert list(found) == ["data"]
    assert message in found["data"]


def test_nothing_is_printed(capsys, recwarn):
    data = {"class_path": "NumbersData", "init_args": {"name": "loud"}}
    assert set(faults({"model": BORING, "data": data, "trainer": {"max_steps": "x"}})) == {"trainer.max_steps"}
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list
