"""What all tests share: the command, a small recipe and its runs, a browser, a check that nothing is left behind."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

SEED_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
"""Set by Lightning's `seed_everything`, for processes it starts."""
IMPORT_VARIABLES = ("PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR", "PYTHONBREAKPOINT")
"""Set when Lightning or Ray is imported; Ray sets some of its own besides."""
XDIST_WORKER = "PYTEST_XDIST_WORKER"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Commands that start the browser of the system."""

RECIPE = """\
# A chain of two small runs.
model:
  class_path: EquationTask
  init_args:
    network:
      class_path: ArithmeticTransformer
      init_args: {width: 8, heads: 2}
    optimizer:
      class_path: torch.optim.AdamW
      init_args: {lr: 1e-2}
data:
  class_path: BinaryOperationDataModule
  init_args: {modulus: 5, batch_size: 8}
trainer: {max_steps: 40, accelerator: cpu}
tiny: {trainer.max_steps: 2}
stages:
  first:
    data.init_args.operation: add
  second:
    data.init_args.operation: sub
    transfer: {from: first, parts: [embedding], freeze: true}
    compare_to: first
"""

if XDIST_WORKER in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, or the threads of the workers fight
    os.environ.pop("COLUMNS", None)  # that of a terminal nobody looks at


class Outcome(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves environment variables, signal handlers, a process group or threads."""
    environment, path = _environment(), list(sys.path)
    handlers, threads = _handlers(), set(threading.enumerate())
    yield
    sys.path[:] = path  # the command adds the working directory
    for name in SEED_VARIABLES:
        os.environ.pop(name, None)
    torch = sys.modules.get("torch")
    assert _environment() == environment
    assert _handlers() == handlers
    assert {thread.name for thread in set(threading.enumerate()) - threads} == set()
    assert torch is None or not torch.distributed.is_initialized()


@pytest.fixture
def lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """The command, given words, in an empty folder; this process takes the runs unless workers are asked for."""
    from grok_lightning.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        alone = ["--workers", "1"] if words[:1] == ("fit",) and "--workers" not in words else []
        code = main([*(str(word) for word in words), *alone])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable:
    """Write the small recipe, with some of its text replaced, into the folder of the test."""

    def write(*edits: tuple[str, str], name: str = "chain.yaml") -> Path:
        text = RECIPE
        for old, new in edits:
            assert text.count(old) == 1, f"{old!r} is not there exactly once"
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def _finished_chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from grok_lightning.cli import main

    folder = tmp_path_factory.mktemp("finished")
    (folder / "chain.yaml").write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        assert main(["fit", "--config", "chain.yaml", "--workers", "1"]) == 0
    return folder


@pytest.fixture
def finished_chain(_finished_chain: Path, tmp_path: Path) -> Path:
    """A copy of the recipe's folder after all its runs are finished, in the folder of the test."""
    shutil.copytree(_finished_chain, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "logs/chain/run_000"


@pytest.fixture(scope="session")
def chromium() -> Callable:
    """Start the Chromium of the system, without a window, for as long as a `with` lasts; without one, skip."""

    @contextmanager
    def launch() -> Iterator[object]:
        playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        if path is None:
            pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed")
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            yield browser
            browser.close()

    return launch


def _environment() -> dict[str, str]:
    known = {"PYTEST_CURRENT_TEST", *SEED_VARIABLES, *IMPORT_VARIABLES}
    return {name: value for name, value in os.environ.items() if name not in known and not name.startswith("RAY_")}


def _handlers() -> dict[signal.Signals, object]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
