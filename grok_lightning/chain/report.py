"""What the runs of a recipe found, gathered from their manifests: those that are there so far."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grok_lightning.chain.categories import Counts, counts_in, in_order
from grok_lightning.chain.comparison import compare
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.folders import LATEST_FILE, RECIPE_FILE
from grok_lightning.chain.manifest import Manifest, plain, read_manifest
from grok_lightning.chain.recipe import Recipe, Stage, load_resolved
from grok_lightning.statistics import kaplan_meier_quantile, quartiles

MILESTONES = ("memorised_at", "grokked_at", "sustained_at")
SUMMARISED = (*MILESTONES, "seconds", "test_accuracy")


def is_milestone(name: str) -> bool:
    """Say whether a result is the step at which something was reached, or null."""
    return name.endswith("_at") or name.startswith("grokked_at_")


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

    def has(self, name: str) -> bool:
        """Say whether the run has such a result, be it that it was never reached."""
        return name == "seconds" or name in self.manifest.results


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
        self.recipe = load_resolved(path) if path.is_file() else Recipe("", path)
        if not self.recipe.bodies:
            raise ChainError(f"{folder}: no {RECIPE_FILE} in it; expected a folder such as logs/<recipe>/run_000")
        self.findings = {name: self._findings(stage) for name, stage in self.recipe.stages.items()}
        self.by_fingerprint = {f.manifest.fingerprint: f for fs in self.findings.values() for f in fs}

    @property
    def name(self) -> str:
        """Name of the recipe."""
        # A run that is reused from elsewhere, a link, may be another recipe's.
        own = [found.manifest.recipe for found in self.by_fingerprint.values() if not found.folder.is_symlink()]
        return own[0] if own else self.folder.resolve().parent.name

    @property
    def names(self) -> list[str]:
        """Names of the results that finished runs have and that are numbers or null, `seconds` among them."""
        found = [name for name, value in self._results if isinstance(value, int | float | None)]
        return [name for name in dict.fromkeys([*found, "seconds"]) if name not in self.categories]

    @cached_property
    def categories(self) -> dict[str, list[str]]:
        """The categories of each result that is no number but one of them, or counts of them, by its name."""
        names = dict.fromkeys(name for name, value in self._results if counts_in(value))
        return {name: in_order(counts_in(value) for its, value in self._results if its == name) for name in names}

    def finished(self, stage: str) -> list[Finding]:
        """Return the finished runs of a stage."""
        return [finding for finding in self.findings[stage] if finding.manifest.status == "finished"]

    def planned(self, stage: str) -> int:
        """Return how many runs the stage is to have, or has, if those are more."""
        return max(self.recipe.stages[stage].replicates, len(self.findings[stage]))

    def values(self, stage: str, name: str) -> list[float]:
        """Return a result of every finished run of a stage that has it.

        A step never reached is infinite. Of other results what is no number is left out: nothing was there to measure.
        """
        values = [found.value(name) for found in self.finished(stage) if found.has(name)]
        if is_milestone(name):
            values = [math.inf if value is None else value for value in values]
        return [value for value in values if isinstance(value, int | float) and not math.isnan(value)]

    def counts(self, stage: str, name: str) -> Counts:
        """Return how often the finished runs of a stage found each category of a result, of those that they name."""
        found = [counts_in(run.value(name)) for run in self.finished(stage)]
        named = {category for each in found for category in each}
        ordered = [category for category in self.categories.get(name, ()) if category in named]
        return {category: sum(each.get(category, 0) for each in found) for category in ordered}

    def quartiles(self, stage: str, name: str) -> tuple[float, float, float]:
        """Return first quartile, median and third quartile of a result over the finished runs, which must be some.

        Where some runs never reached a step, they are estimates of Kaplan and Meier: such a run says only that it had
        not reached it when it ended.
        """
        values = self.values(stage, name)
        if not is_milestone(name) or all(map(math.isfinite, values)):
            return quartiles(values)
        runs = [found for found in self.finished(stage) if found.has(name)]
        reached, followed = [run.value(name) for run in runs], [run.value("steps") for run in runs]
        low, middle, high = (kaplan_meier_quantile(reached, followed, share) for share in (0.25, 0.5, 0.75))
        return low, middle, high

    def speedup(self, stage: str, with_donor: bool = False) -> dict[str, Any] | None:
        """Return how many times sooner a stage grokked than the one it is compared to, see `compare`.

        Args:
            stage: Name of the stage.
            with_donor: Whether to add all steps and seconds of the runs it took weights from.
        """
        other = self.recipe.stages[stage].compare_to
        if other is None:
            return None
        others = {finding.manifest.seed: finding for finding in self.finished(other)}
        pairs = [(f, others[f.manifest.seed]) for f in self.finished(stage) if f.manifest.seed in others]
        return compare([(run, self._donors(run) if with_donor else [], other_run) for run, other_run in pairs])

    def has_donors(self, stage: str) -> bool:
        """Say whether a stage takes weights from other runs."""
        return any(finding.manifest.donors for finding in self.findings[stage])

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {"recipe": self.name, "stages": {stage: self._stage_json(stage) for stage in self.findings}}

    @property
    def _results(self) -> list[tuple[str, Any]]:
        """Every result of every finished run, with its name."""
        finished = [run for stage in self.findings for run in self.finished(stage)]
        return [result for run in finished for result in run.manifest.results.items()]

    def _findings(self, stage: Stage) -> list[Finding]:
        found = [(read_manifest(folder), folder) for folder in (self.folder / stage.folder).glob("seed_*")]
        findings = [Finding(manifest, folder) for manifest, folder in found if manifest is not None]
        return sorted(findings, key=lambda finding: finding.manifest.seed)

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
        found = {name: self.quartiles(stage, name) for name in SUMMARISED if self.values(stage, name)}
        counts = {name: self.counts(stage, name) for name in self.categories}
        point = self.recipe.stages[stage].point
        return {
            **({"point": dict(point)} if point else {}),
            "runs": [self._run_json(finding) for finding in self.findings[stage]],
            "planned": self.planned(stage),
            "median": {name: plain(found[name][1]) if name in found else None for name in SUMMARISED},
            "quartiles": {name: list(map(plain, levels[::2])) for name, levels in found.items()},
            "counts": {name: its for name, its in counts.items() if its},
            "compare_to": self.recipe.stages[stage].compare_to,
            "speedup": self.speedup(stage),
            "speedup_with_donor": self.speedup(stage, with_donor=True) if self.has_donors(stage) else None,
        }

    def _run_json(self, finding: Finding) -> dict[str, Any]:
        manifest = finding.manifest
        run = {"seed": manifest.seed, "seconds": finding.value("seconds"), "folder": str(finding.folder)}
        unfinished = {} if manifest.status == "finished" else {"status": manifest.status}
        return {**manifest.results, **run, **unfinished}
