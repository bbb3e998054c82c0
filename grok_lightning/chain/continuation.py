"""A longer run goes on where a shorter one of its lineage ended."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grok_lightning.callbacks import newest_checkpoint
from grok_lightning.callbacks.checkpoint import CHECKPOINTS
from grok_lightning.chain.evaluate import ANSWERS_FILE
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import MANIFEST
from grok_lightning.chain.weights import FILES, read_checkpoint

EVENTS = "events.out.tfevents*"
COUNTERS = ("last_epoch", "_step_count")
"""What a scheduler's state holds beside its schedule: how far it is."""


def passes_through(shorter: Path, max_steps: int) -> bool:
    """Say whether a longer run would have gone through the very state in which a shorter one ended.

    It would not if the network was evaluated only because the run ended, if its schedule knew the end, or if its data
    cannot be taken up where they were.

    Args:
        shorter: Folder of the shorter run.
        max_steps: Where it ended.
    """
    newest = newest_checkpoint(shorter)
    try:
        checkpoint = {} if newest is None else read_checkpoint(newest)
    except ChainError:
        return False
    if checkpoint.get("global_step") != max_steps:
        return False
    states = [state for state in checkpoint["callbacks"].values() if isinstance(state, dict)]
    off_cadence = any(state.get("off_cadence") for state in states)
    knows_end = max_steps in _numbers(checkpoint["lr_schedulers"])
    has_position = bool(checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader"))
    return has_position and not (off_cadence or knows_end)


def continue_from(shorter: Path, place: Path) -> None:
    """Lay what a shorter run logged and saved along the way where a longer one resumes from it; the checkpoint last."""
    place.mkdir(parents=True, exist_ok=True)
    for events in place.glob(EVENTS):
        events.unlink()
    ends = shutil.ignore_patterns(MANIFEST, *FILES.values(), ANSWERS_FILE, CHECKPOINTS, ".*")
    shutil.copytree(shorter, place, ignore=ends, dirs_exist_ok=True)
    newest = newest_checkpoint(shorter)
    assert newest is not None
    partial = place / CHECKPOINTS / f".{newest.name}.{os.getpid()}"
    partial.parent.mkdir(exist_ok=True)
    shutil.copy2(newest, partial)
    partial.replace(partial.with_name(newest.name))


def _numbers(schedule: Any) -> Iterator[Any]:
    """Yield the numbers that a scheduler's state holds, how far it is left out."""
    if isinstance(schedule, dict):
        schedule = [value for key, value in schedule.items() if key not in COUNTERS]
    if isinstance(schedule, list | tuple):
        for item in schedule:
            yield from _numbers(item)
    else:
        yield schedule
