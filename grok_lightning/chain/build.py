"""One run's config becomes data module, module and Trainer, by LightningCLI."""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from grok_lightning.chain.launcher import launch_options
from grok_lightning.chain.merge import Config
from grok_lightning.chain.weights import tensor_digest

DEFAULT_MAX_STEPS = 100_000
"""The papers' longest runs; a run that says nothing stops there."""


def quiet() -> None:
    """Keep away what a user can do nothing about: hints, device notices, deprecations between libraries."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="jsonargparse")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=".*JSONARGPARSE.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*litlogger.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message="Detected pickle protocol.*")
    warnings.filterwarnings("ignore", message=".*sys.argv.*", module=r"lightning\..*")


class RunCLI(LightningCLI):
    """LightningCLI for one run whose folder, callbacks and loggers the chain decides.

    Args:
        config: Config of the run: the keys of a LightningCLI config.
        folder: Run folder, the Trainer's root.
        callbacks: Callbacks beside the config's own; one that the config lists itself is the config's.
        loggers: Loggers beside the config's own.

    Raises:
        ValueError: If the config does without checkpoints or names a folder, or whatever a constructor finds wrong with
            its arguments.
    """

    def __init__(
        self, config: Config, folder: Path, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
    ) -> None:
        self.folder, self.chain_callbacks, self.chain_loggers = folder, callbacks, loggers
        super().__init__(
            args=config,
            run=False,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={"max_steps": DEFAULT_MAX_STEPS, "num_sanity_val_steps": 0},
            parser_kwargs={"exit_on_error": False},
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the config object; the command line is the chain's business."""
        self.config = parser.parse_object(deepcopy(args))  # it types what it is given, in place

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer inside the run folder, with the chain's callbacks and loggers first."""
        trainer: dict[str, Any] = dict(self._get(self.config_init, "trainer", default={}))
        if trainer["enable_checkpointing"] is False:
            raise ValueError("trainer.enable_checkpointing: a run needs its checkpoint, to resume from")
        if trainer["default_root_dir"] is not None:
            raise ValueError("trainer.default_root_dir: runs lie below the log folder; give --log_dir instead")
        own = [logger for logger in as_list(trainer["logger"]) if isinstance(logger, Logger)]
        trainer["logger"] = [*self.chain_loggers, *own] or False
        trainer["callbacks"] = self._callbacks(as_list(trainer["callbacks"]), trainer["enable_progress_bar"] is False)
        trainer["default_root_dir"] = str(self.folder)
        launch = launch_options(trainer["devices"])
        trainer |= {**launch, "plugins": [*as_list(trainer["plugins"]), *launch.get("plugins", ())]}
        trainer["enable_model_summary"] = bool(trainer["enable_model_summary"])
        trainer["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in trainer["callbacks"])
        return Trainer(**trainer)

    def _callbacks(self, given: list[Callback], quiet: bool) -> list[Callback]:
        """Return the callbacks of the chain and of the config, without progress bars for a quiet run."""
        own = [callback for callback in self.chain_callbacks if type(callback) not in map(type, given)]
        return [callback for callback in [*own, *given] if not (quiet and isinstance(callback, ProgressBar))]

    def typed_config(self) -> Config:
        """Return the whole parsed config, defaults included, as plain data."""
        typed: Config = self.config_dump  # made for the hyperparameters of module and data; it takes its time
        return typed


def as_list(value: Any) -> list[Any]:
    """Return what may be nothing, one thing or a list of them as a list."""
    return [] if value is None else value if isinstance(value, list) else [value]


def connect(module: LightningModule, datamodule: LightningDataModule | None, on_meta: bool = False) -> None:
    """Set up the data and let the module build its network from them.

    Args:
        module: Any LightningModule; one without a `connect` method has its weights already.
        datamodule: Its data, if any.
        on_meta: Whether to build without storage, to check shapes only.
    """
    if datamodule is not None and hasattr(module, "connect"):
        datamodule.setup("fit")
        build: Any = module.connect
        with torch.device("meta" if on_meta else "cpu"):
            build(datamodule)


def data_sizes(datamodule: LightningDataModule | None) -> dict[str, int]:
    """Return the sizes of the parts of the data, where it tells them."""
    sizes = getattr(datamodule, "sizes", None)
    return dict(sizes()) if callable(sizes) else {}


def describe_data(datamodule: LightningDataModule | None) -> dict[str, Any]:
    """Return the sizes of the parts of data that are set up and a hash of what is in them, where it tells them."""
    parts = getattr(datamodule, "parts", None)
    if not isinstance(parts, dict) or not all(map(_is_tensors, parts.values())):
        return dict(data_sizes(datamodule))
    digests = {name: [tensor_digest(tensor) for tensor in part] for name, part in sorted(parts.items())}
    return {**data_sizes(datamodule), "hash": hashlib.sha256(str(digests).encode()).hexdigest()[:16]}


def _is_tensors(part: Any) -> bool:
    return isinstance(part, tuple) and all(isinstance(item, torch.Tensor) for item in part)
