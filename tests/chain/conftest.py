"""A laboratory in a temporary folder: tiny recipes, run by the command itself, in this process or in another."""

import json
import multiprocessing
import runpy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor

from grok_lightning.chain.manifest import all_manifests
from grok_lightning.chain.merge import parse_yaml
from grok_lightning.cli import main

SMALL = """
model:
  class_path: EquationTask
  init_args:
    network: {class_path: ArithmeticTransformer, init_args: {width: 16, heads: 2, mlp_width: 16, dropout: 0.1}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-2, weight_decay: 1.0, fused: true}}
data: {class_path: BinaryOperationDataModule, init_args: {modulus: 5, batch_size: 8}}
trainer:
  max_steps: 20
  callbacks:
    - {class_path: Evaluation, init_args: {every_n_steps: 5}}
    - {class_path: RunCheckpoint, init_args: {every_n_steps: 5}}
"""
CHAIN = (
    SMALL
    + """
stages:
  donor: {data.init_args.operation: add}
  plain: {data.init_args.operation: sub}
  heir:
    data.init_args.operation: sub
    transfer: {from: donor, parts: [embedding], freeze: true}
    compare_to: plain
"""
)
PAIR = (
    SMALL
    + """
stages:
  donor: {data.init_args.operation: add}
  heir:
    data.init_args.operation: sub
    transfer: {from: donor, parts: [embedding], freeze: true}
"""
)
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["grok_lightning.commands"])
OTHER_PROCESS = """
import os, sys
os.chdir({folder!r})
os.environ.update({environment!r})
sys.stdout = sys.stderr = open({log!r}, "w", buffering=1)
from grok_lightning.cli import main
sys.exit(main({arguments!r}))
"""


class Lab:
    """A folder with recipes and logs; the working directory of the test."""

    SMALL, PAIR, CHAIN = SMALL, PAIR, CHAIN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"

    def write(self, text: str, name: str = "small.yaml") -> Path:
        """Write a recipe, or another file."""
        path = self.folder / name
        path.write_text(text)
        return path

    def fit(self, *arguments: str, recipe: str = "small.yaml") -> int:
        """Give the command, in this process, which takes the runs itself unless the arguments ask for workers."""
        return main(["fit", "--config", recipe, *self._alone(arguments)])

    def start(self, *arguments: str, recipe: str = "small.yaml", log: str = "other.txt", **environment: str) -> Any:
        """Give the command in a process of its own; one that has the package imported already is forked."""
        script = self.write(
            OTHER_PROCESS.format(
                folder=str(self.folder),
                environment=environment,
                log=str(self.folder / log),
                arguments=["fit", "--config", recipe, *self._alone(arguments)],
            ),
            f"{log}.py",
        )
        process = FORKS.Process(target=runpy.run_path, args=(str(script),))
        process.start()
        return process

    @staticmethod
    def _alone(arguments: Sequence[str]) -> Sequence[str]:
        return arguments if "--workers" in arguments else [*arguments, "--workers", "1"]

    def run(self, stage: str, seed: int = 0, number: int = 0, recipe: str = "small") -> Path:
        """Return a run folder."""
        return self.logs / recipe / f"run_{number:03d}" / stage / f"seed_{seed}"

    def manifest(self, stage: str, seed: int = 0, number: int = 0, recipe: str = "small") -> dict[str, Any]:
        """Return a run's manifest as it is written."""
        content: dict[str, Any] = json.loads((self.run(stage, seed, number, recipe) / "manifest.json").read_text())
        return content

    def weights(self, stage: str, seed: int = 0, number: int = 0, recipe: str = "small") -> dict[str, bytes]:
        """Return the bits of all tensors a run ended with."""
        return self.bits(load_file(self.run(stage, seed, number, recipe) / "network.safetensors"))

    @staticmethod
    def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
        """Return tensors as bytes: comparison knows no tolerance, and NaN is equal to itself."""
        return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}

    @staticmethod
    def edited(recipe: str, **changes: Any) -> str:
        """Return a recipe with keys changed; dots are written as two underscores."""
        content = parse_yaml(recipe)
        for name, value in changes.items():
            *path, last = name.split("__")
            place = content
            for word in path:
                place = place.setdefault(word, {})
            place[last] = value
        return yaml.safe_dump(content, sort_keys=False)

    def statuses(self) -> dict[str, str]:
        """Return the status of every run that lies in the logs, by its folder below them."""
        return {str(folder.relative_to(self.logs)): found.status for folder, found in all_manifests(self.logs)}

    def times(self) -> dict[str, int]:
        """Return when each file of a run was last written."""
        files = (path for path in self.logs.glob("*/run_*/*/seed_*/**/*") if path.is_file())
        return {str(path): path.stat().st_mtime_ns for path in files}


@pytest.fixture(autouse=True)
def _no_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figure, which costs more than the runs, where it is not what is tested."""
    if "draws" not in request.fixturenames:
        monkeypatch.setattr("grok_lightning.commands.save_picture", lambda report: None)


@pytest.fixture
def draws() -> None:
    """Let the command draw its figure."""


@pytest.fixture(scope="session")
def make_lab() -> type[Lab]:
    """How a module makes a laboratory that its tests share."""
    return Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """An empty laboratory."""
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def finished_chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the three stages of CHAIN have run; not to be changed."""
    lab = Lab(tmp_path_factory.mktemp("chain"))
    lab.write(CHAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        assert lab.fit() == 0
    return lab.folder


@pytest.fixture
def trained(lab: Lab, finished_chain: Path) -> Lab:
    """A laboratory in which the three stages of CHAIN have run."""
    shutil.copytree(finished_chain, lab.folder, dirs_exist_ok=True, symlinks=True)
    return lab
