"""A page that shows the embedding of a run over training, and particles that move in the reader's own browser."""

from pathlib import Path

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import write_atomically
from grok_lightning.explorer.exploration import ClassMap, Exploration, Pairs
from grok_lightning.explorer.gather import explore
from grok_lightning.explorer.page import MARK, render

__all__ = ["ClassMap", "Exploration", "Pairs", "explore", "render", "save_page"]

PAGE = "explorer.html"


def save_page(folder: Path, to: Path | None = None) -> Path:
    """Write the page of a finished run: one HTML file that needs nothing else.

    Args:
        folder: Run folder.
        to: The file; `explorer.html` in the run folder if not given. An older page is replaced.

    Returns:
        The file.

    Raises:
        ChainError: If the folder is no finished run with an embedding, or the file is something else or cannot be
            written.
    """
    path = folder / PAGE if to is None else to
    if path.is_dir():
        raise ChainError(f"--to {path}: is a folder; name a file in it, such as {path / PAGE}")
    page = render(explore(folder))
    try:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise ChainError(f"--to {path}: this file is no page of the explorer; give another name")
        write_atomically(path, page)
    except OSError as error:
        raise ChainError(f"{path}: cannot be written ({error.strerror}); name another file with --to") from None
    return path
