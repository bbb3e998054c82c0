"""The TensorBoard event file of a run.

torch's SummaryWriter starts a new file in every session and fills it from a thread. A run has one file here, which a
resumed run continues, and an event stands in it when the call that adds it returns: nothing waits to be flushed, and
no thread or handle stays open. Importing this module imports TensorBoard, which is slow.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME as HPARAMS
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import hparams

RESULTS = "results/"
"""Prefix of the scalars that hold the results of a finished run."""


class EventFile:
    """Appends events to one file, each at once; takes the place of TensorBoard's EventFileWriter.

    Args:
        path: The file; it is made by the first event, and continued if it exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_logdir(self) -> str:
        """Returns the folder of the file."""
        return str(self._path.parent)

    def add_event(self, event: Event) -> None:
        """Appends an event."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            records = RecordWriter(file)
            if file.tell() == 0:
                records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            records.write(event.SerializeToString())

    def flush(self) -> None:
        """Does nothing: no event waits."""

    def close(self) -> None:
        """Does nothing: no handle is open."""


class _FileWriter(FileWriter):
    def __init__(self, path: Path) -> None:
        self.event_writer = EventFile(path)


class EventWriter(SummaryWriter):
    """A SummaryWriter whose events are appended to one given file.

    Args:
        path: The file, as for `EventFile`.
    """

    def __init__(self, path: Path) -> None:
        self._file_writer = _FileWriter(path)
        super().__init__(str(path.parent))

    def _get_file_writer(self) -> FileWriter:
        # SummaryWriter writes through this method alone; its own version opens a new file.
        return self._file_writer

    def add_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds several scalars as one event, at a fraction of the cost of one `add_scalar` for each."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
        self._file_writer.add_summary(Summary(value=values), step)

    def add_results(
        self, hyperparameters: Mapping[str, str | int | float | bool], results: Mapping[str, float], step: int
    ) -> None:
        """Adds what the HParams tab shows of a finished run: its hyperparameters, and its results as scalars."""
        # Without an experiment summary the tab shows the hyperparameters and scalars of all runs. With one in each run,
        # as torch's add_hparams has it, the first that is found decides the columns of all others.
        named = {name: str(value) if isinstance(value, bool) else value for name, value in hyperparameters.items()}
        _, start, end = hparams(named, {})  # type: ignore[no-untyped-call]
        self._file_writer.add_summary(start, step)
        self._file_writer.add_summary(end, step)
        self.add_metrics({RESULTS + name: value for name, value in results.items()}, step)


def new_event_file(folder: Path) -> Path:
    """Returns a path for a new event file, which TensorBoard reads after all earlier ones (it sorts by name)."""
    return folder / f"events.out.tfevents.{time.time():.6f}"


def rewind_events(folder: Path, step: int) -> Path:
    """Moves the events up to a step, from all event files of a folder, to one new file, and deletes the others.

    The records are copied unchanged. Results are left out at any step, as the run that goes on will state its own. A
    truncated last record, which a killed process leaves, is dropped.

    Args:
        folder: The run folder; it may hold no event file, or not exist.
        step: The last step to keep.

    Returns:
        The path of the event file to continue; it exists if there was anything to keep.
    """
    old, new = sorted(folder.glob("*tfevents*")), new_event_file(folder)
    if old:
        # TensorBoard reads only names that contain "tfevents".
        partial = folder / "events.partial"
        with partial.open("wb") as file:
            records = RecordWriter(file)
            for record in _records_to_keep(old, step):
                records.write(record)
        # A new name, as a running TensorBoard never reopens a file it has read.
        partial.replace(new)
    for path in old:
        path.unlink()
    return new


def _records_to_keep(paths: list[Path], step: int) -> list[bytes]:
    """Returns the records up to a step, without repetition: a rewind that was killed before its last line repeats."""
    kept: dict[str | bytes, bytes] = {}
    for path in paths:
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            if event.step <= step and not _is_result(event):
                kept.setdefault(event.file_version or record, record)  # one version event, as each file has
    return list(kept.values())


def _is_result(event: Event) -> bool:
    return any(
        value.tag.startswith(RESULTS) or value.metadata.plugin_data.plugin_name == HPARAMS
        for value in event.summary.value
    )
