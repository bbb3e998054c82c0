"""What the runs of a recipe found, gathered from their manifests."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.folders import LATEST_FILE, RECIPE_FILE
from grok_lightning.chain.manifest import Manifest, read_manifest
from grok_lightning.chain.merge import Config, read_config

MILESTONES = ("memorised_at", "grokked_at", "sustained_at")
MEDIANS = (*MILESTONES, "seconds", "test_accuracy")


@dataclass(frozen=True)
class Finding:
    """One run in a report: its manifest and where it lies."""

    manifest: Manifest
    folder: Path

    def value(self, name: str) -> Any:
        """Return a result by name; `seconds` are those of training and evaluation."""
        if name == "seconds":
            seconds = self.manifest.seconds
            return seconds.get("training", 0.0) + seconds.get("evaluation", 0.0)
        return self.manifest.results.get(name)


class Report:
    """The runs below one recipe folder, by stage.

    Args:
        folder: A folder `logs/<recipe>/run_000`, or `logs/<recipe>` for its latest.

    Raises:
        ChainError: If there is no recipe in the folder, or a manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        latest = folder / LATEST_FILE
        self.folder = folder / latest.read_text(encoding="utf-8").strip() if latest.is_file() else folder
        path = self.folder / RECIPE_FILE
        self.bodies: dict[str, Config] = read_config(path).get("stages", {}) if path.is_file() else {}
        if not self.bodies:
            raise ChainError(f"{folder}: no {RECIPE_FILE} in it; expected a folder such as logs/<recipe>/run_000")
        self.findings = {stage: self._findings(stage) for stage in self.bodies}
        self.by_fingerprint = {f.manifest.fingerprint: f for fs in self.findings.values() for f in fs}

    @property
    def name(self) -> str:
        """Name of the recipe."""
        # A run that is reused from elsewhere, a link, may be another recipe's.
        own = [found.manifest.recipe for found in self.by_fingerprint.values() if not found.folder.is_symlink()]
        return own[0] if own else self.folder.resolve().parent.name

    def compare_to(self, stage: str) -> str | None:
        """Return the stage that a stage is compared to."""
        name: str | None = self.bodies[stage].get("compare_to")
        return name

    def speedup(self, stage: str, with_donor: bool = False) -> dict[str, float | int | None] | None:
        """Return how many times sooner a stage grokked than the one it is compared to.

        The median over seeds that both stages have, of the ratio of `sustained_at` (steps) and of the ratio of the
        seconds of training and evaluation. A pair in which the stage did not grok counts as 0, one in which the other
        did not as infinite, shown as null; one in which neither did is left out.

        Args:
            stage: Name of the stage.
            with_donor: Whether to add all steps and seconds of the runs it took weights from.
        """
        other = self.compare_to(stage)
        if other is None:
            return None
        others = {finding.manifest.seed: finding for finding in self.finished(other)}
        pairs = [(f, others[f.manifest.seed]) for f in self.finished(stage) if f.manifest.seed in others]
        pairs = [p for p in pairs if p[0].value("sustained_at") is not None or p[1].value("sustained_at") is not None]
        steps, seconds = zip(*(self._ratios(*pair, with_donor) for pair in pairs), strict=True) if pairs else ((), ())
        return {"steps": _median(steps), "seconds": _median(seconds), "pairs": len(pairs)}

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "recipe": self.name,
            "stages": {stage: self._stage_json(stage) for stage in self.bodies},
        }

    def _findings(self, stage: str) -> list[Finding]:
        found = [(read_manifest(folder), folder) for folder in (self.folder / stage).glob("seed_*")]
        findings = [Finding(manifest, folder) for manifest, folder in found if manifest is not None]
        return sorted(findings, key=lambda finding: finding.manifest.seed)

    def _ratios(self, run: Finding, other: Finding, with_donor: bool) -> tuple[float, float]:
        """Return how many times sooner a run grokked than another, in steps and in seconds."""
        donors = self._donors(run) if with_donor else []
        grokked, other_grokked = run.value("sustained_at"), other.value("sustained_at")
        if grokked is None:
            return 0.0, 0.0
        if other_grokked is None:
            return math.inf, math.inf
        steps = grokked + sum(donor.value("steps") for donor in donors)
        seconds = run.value("seconds") + sum(donor.value("seconds") for donor in donors)
        return _quotient(other_grokked, steps), _quotient(other.value("seconds"), seconds)

    def finished(self, stage: str) -> list[Finding]:
        """Return the finished runs of a stage."""
        return [finding for finding in self.findings[stage] if finding.manifest.status == "finished"]

    def _donors(self, run: Finding) -> list[Finding]:
        """Return all runs that a run's weights come from, each once."""
        waiting, donors = list(run.manifest.donors), dict[str, Finding]()
        while waiting:
            donor = self.by_fingerprint.get(waiting.pop())
            if donor is not None and donor.manifest.fingerprint not in donors:
                donors[donor.manifest.fingerprint] = donor
                waiting += donor.manifest.donors
        return list(donors.values())

    def _stage_json(self, stage: str) -> dict[str, Any]:
        return {
            "runs": [self._run_json(finding) for finding in self.findings[stage]],
            "median": {name: _median(self.values(stage, name)) for name in MEDIANS},
            "compare_to": self.compare_to(stage),
            "speedup": self.speedup(stage),
            "speedup_with_donor": self.speedup(stage, with_donor=True) if self.has_donors(stage) else None,
        }

    def _run_json(self, finding: Finding) -> dict[str, Any]:
        manifest = finding.manifest
        run = {"seed": manifest.seed, "seconds": finding.value("seconds"), "folder": str(finding.folder)}
        unfinished = {} if manifest.status == "finished" else {"status": manifest.status}
        return {**manifest.results, **run, **unfinished}

    def values(self, stage: str, name: str) -> list[float]:
        """Return a result of every finished run of a stage that has it; a step never reached is infinite."""
        having = [found for found in self.finished(stage) if name == "seconds" or name in found.manifest.results]
        values = [found.value(name) for found in having]
        if name in MILESTONES:
            values = [math.inf if value is None else value for value in values]
        return [value for value in values if value is not None]

    def has_donors(self, stage: str) -> bool:
        """Say whether a stage takes weights from other runs."""
        return any(finding.manifest.donors for finding in self.findings[stage])


def _quotient(slower: float, faster: float) -> float:
    return slower / faster if faster else math.inf


def _median(values: Iterable[float]) -> float | None:
    numbers = list(values)
    middle = median(numbers) if numbers else math.inf
    return float(middle) if math.isfinite(middle) else None
