"""What a run says of itself: `manifest.json` in its folder."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from grok_lightning.chain.faults import ChainError

Status = Literal["running", "finished", "interrupted", "failed"]
MANIFEST = "manifest.json"


def package_versions() -> dict[str, str]:
    """Return the versions that decide a run's numbers."""
    versions = {}
    for package in ("torch", "grok_lightning"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "source"
    return versions


@dataclass
class Manifest:
    """What a run is, how it went, and what it found.

    Attributes:
        recipe: Name of the recipe that made it.
        stage: Name of its stage.
        seed: Its seed.
        fingerprint: Hash of all that decides its numbers.
        lineage: The same hash without the number of steps: a longer run of the same lineage can continue this one.
        status: How far it got.
        max_steps: Step at which it ends at the latest.
        versions: Versions of torch and grok_lightning, and of Python.
        device: What it ran on.
        data: Sizes of the parts, and a hash of their content.
        parameters: Numbers of parameters, total and trainable.
        seconds: Seconds of training, evaluation, set-up, and in total.
        results: What its callbacks found, by name.
        donors: Fingerprints of the runs it took weights from.
        error: Why it failed.
    """

    recipe: str
    stage: str
    seed: int
    fingerprint: str
    lineage: str = ""
    status: Status = "running"
    max_steps: int = -1
    versions: dict[str, str] = field(default_factory=lambda: {**package_versions(), "python": python_version()})
    device: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    donors: list[str] = field(default_factory=list)
    error: str | None = None

    def write(self, folder: Path) -> None:
        """Write the manifest into a run folder, at once or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / MANIFEST, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a run folder, or None if there is none.

    Raises:
        ChainError: If the file is no manifest.
    """
    path = folder / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**{name: content[name] for name in content.keys() & Manifest.__annotations__.keys()})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ChainError(f"{path}: is no manifest ({error}); delete it to start that run over") from None


def all_manifests(root: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yield every run folder below a log folder, each once, where it really lies; what is no manifest is passed by."""
    for path in sorted(root.rglob(MANIFEST)):
        with suppress(ChainError):
            manifest = read_manifest(path.parent)
            if manifest is not None and not path.parent.is_symlink():
                yield path.parent, manifest


def plain(value: Any) -> Any:
    """Return a value as JSON has it: it has neither infinity nor NaN, which become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file at once or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
