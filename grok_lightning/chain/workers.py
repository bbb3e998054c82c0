"""Workers: processes of this machine that take runs side by side, each on its own cores or device."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from rich.console import Console, RenderableType

from grok_lightning.chain.crew import Crew
from grok_lightning.chain.interruption import Interruption, heed_signals
from grok_lightning.chain.plan import Run
from grok_lightning.chain.processes import Processes
from grok_lightning.chain.take import UNSAVED, Outcome, Place, Taker, bury, take_safely
from grok_lightning.terminal import Line, Screen

# A server that has imported the package forks each worker: quick, and free of this process's threads and devices.
START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
CONTEXT: Any = multiprocessing.get_context(START_METHOD)
LEAVING_SECONDS = 5.0
VISIBLE = "CUDA_VISIBLE_DEVICES"


def prepare_workers() -> None:
    """Let the server begin its imports, while this process is busy with its own."""
    if START_METHOD == "forkserver":
        from multiprocessing.forkserver import ensure_running

        CONTEXT.set_forkserver_preload(["grok_lightning.commands"])
        ensure_running()


@dataclass(frozen=True)
class WorkSetting:
    """What a worker is told.

    Attributes:
        place: Where the runs lie.
        threads: Threads it computes on.
        is_live: Whether live lines are shown.
        device: Number of the CUDA device that it sees, None for all.
        directory: Working directory of the command.
        environment: Its environment.
        path: Where it looks for modules.
    """

    place: Place
    threads: int
    is_live: bool = False
    device: int | None = None
    directory: Path = field(default_factory=Path.cwd)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))


class Worker:
    """One process, as the command sees it: idle, or at a run."""

    def __init__(self, setting: WorkSetting) -> None:
        self.connection, there = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=work, args=(there, setting))
        self.process.start()
        there.close()
        self.run: Run | None = None

    def end(self) -> str:
        """Wait for the process to end, or end it, and say how it ended."""
        self.connection.close()
        self.process.join(LEAVING_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class Workers(Crew):
    """A few processes, started when they are needed; one that dies is replaced, and only its run has failed.

    Args:
        setting: What all of them are told.
        size: How many there are at the most.
        devices: How many CUDA devices they share; 0 if they compute on the CPU.
        screen: Where to show what they print.
    """

    def __init__(self, setting: WorkSetting, size: int, devices: int, screen: Screen) -> None:
        self.setting, self.size, self.devices, self.screen = setting, size, devices, screen
        self.workers: dict[int, Worker] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.interrupt()
        for worker in self.workers.values():
            worker.connection.close()  # all hear that there is no more, before the first is waited for
        for worker in self.workers.values():
            worker.end()

    def give(self, run: Run) -> None:
        """Send the run to an idle worker, or to a new one."""
        idle = [slot for slot in range(self.size) if slot not in self.workers or self.workers[slot].run is None]
        slot = min(idle, key=lambda slot: slot not in self.workers)
        if slot in self.workers and not self.workers[slot].process.is_alive():
            self.workers.pop(slot).end()
        if slot not in self.workers:
            device = slot % self.devices if self.devices else None
            self.workers[slot] = Worker(replace(self.setting, device=device))
        self.workers[slot].run = run
        self.at_work += 1
        with suppress(OSError):  # it has just died, which the next look will find
            self.workers[slot].connection.send(run)

    def outcomes(self, seconds: float) -> Sequence[tuple[Run, Outcome]]:
        """Show what the workers say until one has come to an end with its run, for some seconds at the most."""
        slots: dict[Any, int] = {}
        for slot, worker in self.workers.items():
            if worker.run is not None:  # its pipe may be held open by what it has started itself
                slots |= {worker.connection: slot, worker.process.sentinel: slot}
        found = [self._hear(slot) for slot in {slots[ready] for ready in wait(list(slots), seconds)}]
        return [item for item in found if item is not None]

    def _pass_on(self) -> None:
        """Ask all workers to save their runs and stop."""
        for worker in self.workers.values():
            if worker.run is not None:
                worker.process.terminate()

    def _hear(self, slot: int) -> tuple[Run, Outcome] | None:
        """Take one message of a worker: something to show, or what became of its run."""
        worker = self.workers[slot]
        run = worker.run
        assert run is not None
        try:
            message = worker.connection.recv() if worker.connection.poll() else self._bury(slot, run)
        except (EOFError, OSError):
            message = self._bury(slot, run)
        if not isinstance(message, Outcome):
            name, *arguments = message
            getattr(self.screen, name)(*arguments)
            return None
        worker.run = None
        self.at_work -= 1
        return run, message

    def _bury(self, slot: int, run: Run) -> Outcome:
        """Let the run of a dead worker have failed, and make room for another."""
        reason = f"its process {self.workers.pop(slot).end()}; {self.setting.place.again} resumes it"
        self.screen.drop(run.title)
        if self.is_interrupted:  # it died of that before it could save
            return Outcome("interrupted", UNSAVED)
        self.screen.print(f"{run.title}: failed: {reason}")
        bury(self.setting.place, run, reason)
        return Outcome("failed", reason)


class RemoteScreen(Screen):
    """A screen in another process.

    Args:
        connection: Leads there.
        is_live: Whether live lines are shown there.
    """

    def __init__(self, connection: "Connection[Any, Any]", is_live: bool) -> None:
        super().__init__(Console(quiet=True))
        self.connection, self.is_live = connection, is_live

    def print(self, *objects: RenderableType) -> None:
        """Print text as it is, and tables."""
        self._send("print", *objects)

    def show(self, line: Line) -> None:
        """Open a line, or move it."""
        if self.is_live:
            self._send("show", line)

    def drop(self, title: str) -> None:
        """Close a line, if it is open."""
        self._send("drop", title)

    def _send(self, *message: object) -> None:
        with suppress(OSError):  # nobody is there any more, who would read it
            self.connection.send(message)


def work(connection: "Connection[Any, Any]", setting: WorkSetting) -> None:
    """Be a worker: take runs until there are no more, or the command is gone."""
    os.environ.clear()
    os.environ.update(setting.environment)
    if setting.device is not None:
        given = os.environ.get(VISIBLE)
        os.environ[VISIBLE] = given.split(",")[setting.device] if given else str(setting.device)
    settle_in(setting)
    with heed_signals() as interruption:
        threading.Thread(target=_follow, args=(interruption,), daemon=True).start()
        taker = Taker(setting.place, Processes(), interruption, RemoteScreen(connection, setting.is_live))
        with suppress(EOFError, OSError, KeyboardInterrupt):
            while True:
                connection.send(take_safely(taker, connection.recv()))


def settle_in(setting: WorkSetting) -> None:
    """Let this process work where the command was given, with what it knew."""
    os.chdir(setting.directory)
    sys.path += [folder for folder in setting.path if folder not in sys.path]
    import_module("grok_lightning.commands")  # recipes name its classes by their short names
    torch.set_num_threads(setting.threads)


def _follow(interruption: Interruption) -> None:
    """Save the run and stop, once the command is gone."""
    command = multiprocessing.parent_process()
    assert command is not None
    command.join()
    interruption.signal = interruption.signal or signal.SIGTERM
