"""What of a run decides its numbers, by which it is found again."""

import hashlib
import json
from typing import Any

from grok_lightning.chain.build import as_list
from grok_lightning.chain.merge import Config

IGNORED_BY_FINGERPRINT = {
    "stage": ("replicates", "compare_to"),
    "trainer": (
        "logger",
        "enable_progress_bar",
        "enable_model_summary",
        "enable_autolog_hparams",
        "model_registry",
        "log_every_n_steps",
        "profiler",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "default_root_dir",
    ),
    "trainer.callbacks": ("RunCheckpoint", "StageProgress"),
}
"""Keys that change rounding or display only, so that a run is found again whatever they say."""
IGNORED_OF_MODELS = {"InContextTask": ("accumulate", "compiled")}
"""The same for arguments of a module, by the name of its class."""


def decisive(config: Config) -> Config:
    """Return what of a stage's config, typed or as written, decides the numbers of its runs."""
    config = _without(config, IGNORED_BY_FINGERPRINT["stage"])
    trainer = _without(config.get("trainer"), IGNORED_BY_FINGERPRINT["trainer"])
    callbacks = as_list(trainer.get("callbacks"))
    ignored = IGNORED_BY_FINGERPRINT["trainer.callbacks"]
    kept = [item for item in callbacks if _class_name(item) not in ignored]
    model = config.get("model")
    if isinstance(model, dict) and _class_name(model) in IGNORED_OF_MODELS:
        arguments = _without(model.get("init_args"), IGNORED_OF_MODELS[_class_name(model)])
        config = {**config, "model": {**model, "init_args": arguments}}
    return {**config, "trainer": {**trainer, "callbacks": kept}}


def digest(content: Any) -> str:
    """Return a hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _class_name(spec: Any) -> str:
    """Return the name of a class that is given by its path, with or without arguments."""
    path = spec.get("class_path") if isinstance(spec, dict) else spec
    return str(path).rpartition(".")[2]


def _without(config: Config | None, keys: tuple[str, ...]) -> Config:
    return {key: value for key, value in (config or {}).items() if key not in keys}
