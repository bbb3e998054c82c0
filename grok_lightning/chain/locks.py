"""Locks between processes: by the kernel, which takes them back from a dead process."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from grok_lightning.chain.faults import unwritable

LOCKS = ".locks"
REPORT_LOCK = ".report.lock"


def try_lock(root: Path, name: str, held: ExitStack, seconds: float = 0.0) -> bool:
    """Try for some seconds to take a lock below a log folder, and put it on the stack; say whether that worked.

    Raises:
        ChainError: If the folder cannot be written.
    """
    folder = root / LOCKS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(folder / f"{name}.lock").acquire(timeout=seconds))
    except Timeout:
        return False
    except OSError as error:
        raise unwritable(root, error) from None
    return True


@contextmanager
def report_lock(folder: Path) -> Iterator[None]:
    """Hold the lock under which the report, figures and curves of a recipe's folder are written.

    Two processes that walk through one recipe end at the same time.

    Raises:
        ChainError: If the folder cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(folder / REPORT_LOCK))
        except OSError as error:
            raise unwritable(folder, error) from None
        yield
