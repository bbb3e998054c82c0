"""A checked recipe becomes runs: each a complete config with a seed and a fingerprint."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grok_lightning.callbacks import BestWeights
from grok_lightning.chain.build import RunCLI, connect, data_sizes
from grok_lightning.chain.faults import ChainError, Fault, RecipeError
from grok_lightning.chain.fingerprint import decisive, digest, own_code
from grok_lightning.chain.launcher import check_processes, spare_devices
from grok_lightning.chain.manifest import package_versions
from grok_lightning.chain.merge import Config
from grok_lightning.chain.recipe import Recipe, Stage, TransferSpec, is_file_source
from grok_lightning.chain.schema import KnownBlocks, config_faults
from grok_lightning.chain.transfer import plan_transfers
from grok_lightning.chain.weights import Weights, read_weights, weights_of


@dataclass(frozen=True)
class Donor:
    """Where a transfer takes its weights from: a run of this plan, or a file or folder."""

    spec: TransferSpec
    run: "Run | None" = None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the run, or hash of the file."""
        if self.run is not None:
            return self.run.fingerprint
        return read_weights(Path(self.spec.source), self.spec.weights).digest()


@dataclass(frozen=True)
class Run:
    """One stage with one seed.

    Attributes:
        stage: The stage.
        seed: The seed.
        config: What LightningCLI is given.
        typed: What it made of it, all defaults included.
        donors: Where its transfers take their weights from.
    """

    stage: Stage
    seed: int
    config: Config
    typed: Config
    donors: tuple[Donor, ...] = ()
    fingerprint: str = field(init=False)
    lineage: str = field(init=False)

    def __post_init__(self) -> None:
        content = self._identity()
        object.__setattr__(self, "fingerprint", digest(content))
        trainer = {**content["config"]["trainer"], "max_steps": None}
        object.__setattr__(self, "lineage", digest({**content, "config": {**content["config"], "trainer": trainer}}))

    @property
    def folder_name(self) -> str:
        """Folder of the run below the recipe's."""
        return f"{self.stage.folder}/seed_{self.seed}"

    @property
    def title(self) -> str:
        """What a user reads of the run."""
        return f"{self.stage.name}, seed {self.seed}"

    @property
    def is_first(self) -> bool:
        """Whether it is the first replicate of its stage."""
        return self.seed == int(self.stage.config["seed_everything"])

    @property
    def max_steps(self) -> int:
        """Step at which the run ends at the latest."""
        return int(self.typed["trainer"]["max_steps"])

    def _identity(self) -> dict[str, Any]:
        transfers = [[d.fingerprint, *d.spec.decisive] for d in self.donors]
        versions = {**package_versions(), **own_code(self.typed)}
        return {"config": decisive(self.typed), "transfers": transfers, "versions": versions}


@dataclass(frozen=True)
class CheckedStage:
    """A stage that was parsed and built, without training.

    Attributes:
        typed: Its config, all defaults included.
        weights: Its weights without storage.
        sizes: Sizes of the parts of its data.
        processes: Number of processes that train it.
        devices: Number of CUDA devices that any of its runs could train on, 0 if it trains elsewhere.
        keeps_best: Whether its runs keep their best weights too.
    """

    typed: Config
    weights: Weights
    sizes: dict[str, int]
    processes: int = 1
    devices: int = 0
    keeps_best: bool = False


def check_recipe(recipe: Recipe) -> dict[str, CheckedStage]:
    """Parse and build every stage and try every transfer, without training.

    Raises:
        RecipeError: With all faults of all stages.
    """
    faults: list[Fault] = []
    checked: dict[str, CheckedStage] = {}
    known: KnownBlocks = {}
    for stage in recipe.stages.values():
        where = f"stages.{stage.name}."
        found = config_faults(stage.config, where, known)
        if not found:
            built = _build(stage, where, found)
            if built is not None:
                checked[stage.name] = built
                found += _transfer_faults(stage, built, checked, where)
        faults += found + _replicate_faults(recipe, stage, where)
    faults += _process_faults(checked)
    if faults:
        raise RecipeError(str(recipe.path), faults)
    return checked


def make_plan(recipe: Recipe, checked: dict[str, CheckedStage]) -> list[Run]:
    """Return the runs of a recipe, one whole replicate after another, donors before those they serve."""
    runs: list[Run] = []
    by_place: dict[tuple[str, int], Run] = {}
    for replicate in range(max(stage.replicates for stage in recipe.stages.values())):
        for stage in recipe.stages.values():
            if replicate < stage.replicates:
                donors = tuple(_donor(spec, recipe, by_place, replicate) for spec in stage.transfers)
                seed = int(stage.config["seed_everything"]) + replicate
                typed = {**checked[stage.name].typed, "seed_everything": seed}
                run = Run(stage, seed, {**stage.config, "seed_everything": seed}, typed, donors)
                by_place[stage.name, replicate] = run
                runs.append(run)
    return runs


def _donor(spec: TransferSpec, recipe: Recipe, runs: dict[tuple[str, int], Run], replicate: int) -> Donor:
    if is_file_source(spec.source):
        return Donor(spec)
    single = recipe.stages[spec.source].replicates == 1
    return Donor(spec, runs[spec.source, 0 if single else replicate])


def _build(stage: Stage, where: str, faults: list[Fault]) -> CheckedStage | None:
    """Build data, module and Trainer of a stage, the network without storage."""
    try:
        cli = RunCLI(stage.config, folder=Path())
        connect(cli.model, cli.datamodule, on_meta=True)
        _check_run(cli)
        sizes, processes = data_sizes(cli.datamodule), cli.trainer.world_size
        weights, devices = weights_of(cli.model), spare_devices(cli.trainer)
        return CheckedStage(cli.typed_config(), weights, sizes, processes, devices, _keeps_best(cli))
    except Exception as error:  # any constructor, a user's own too, may refuse in its own way
        faults.append(Fault(where.rstrip("."), _first_lines(error)))
        return None


def _keeps_best(cli: RunCLI) -> bool:
    """Say whether the Trainer has, or the module adds, what keeps the best weights."""
    added: list[Any] = getattr(cli.model, "default_callbacks", list)()
    callbacks = [*cli.trainer.callbacks, *added]  # type: ignore[attr-defined]
    return any(isinstance(callback, BestWeights) for callback in callbacks)


def _check_run(cli: RunCLI) -> None:
    """Let module and data say what else they cannot work with."""
    check_processes(cli.trainer)
    if callable(check := getattr(cli.model, "check", None)):
        check(cli.trainer, cli.datamodule)
    if callable(check := getattr(cli.datamodule, "check", None)):
        check(cli.trainer.world_size)


def _transfer_faults(stage: Stage, target: CheckedStage, checked: dict[str, CheckedStage], where: str) -> list[Fault]:
    """Try the transfers of a stage; one from a stage with faults of its own waits until those are mended."""
    faults, donors = [], []
    for spec in stage.transfers:
        try:
            if is_file_source(spec.source):
                donors.append((read_weights(Path(spec.source), spec.weights), spec))
            elif spec.source in checked:
                if spec.weights == "best" and not checked[spec.source].keeps_best:
                    message = f"{spec.source!r} keeps no best weights; give it the callback BestWeights"
                    faults.append(Fault(f"{where}transfer.weights", message))
                donors.append((checked[spec.source].weights, spec))
        except ChainError as error:
            faults.append(Fault(f"{where}transfer.from", str(error)))
    try:
        plan_transfers(donors, target.weights)
    except ChainError as error:
        faults.append(Fault(f"{where}transfer", str(error)))
    return faults


def _replicate_faults(recipe: Recipe, stage: Stage, where: str) -> list[Fault]:
    faults = []
    for spec in stage.transfers:
        donor = recipe.stages.get(spec.source)
        if donor is not None and donor.replicates not in (1, stage.replicates) and donor.replicates < stage.replicates:
            message = (
                f"{stage.replicates} replicates take weights from the {donor.replicates} of {donor.name!r}; "
                f"give the donor 1 or at least {stage.replicates}"
            )
            faults.append(Fault(f"{where}replicates", message))
    return faults


def _process_faults(checked: dict[str, CheckedStage]) -> list[Fault]:
    """Refuse stages that differ in their number of processes, as the same processes live through all of them."""
    first = next((stage.processes for stage in checked.values()), 1)
    message = f"all stages are trained by the same processes, and the first has {first}"
    others = [name for name, stage in checked.items() if stage.processes != first]
    return [Fault(f"stages.{name}.trainer.devices", f"found {checked[name].processes}: {message}") for name in others]


def _first_lines(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return "\n".join(text.splitlines()[:4])
