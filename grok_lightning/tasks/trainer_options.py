"""What a Trainer may not be told where batches come in chunks from an endless stream."""

from typing import Any

from lightning.pytorch import Trainer

INSTEAD: dict[str, tuple[Any, str]] = {
    "gradient_clip_val": (None, "use model.init_args.gradient_clip_norm, where the task has it"),
    "accumulate_grad_batches": (
        1,
        "this task steps on every batch; use a larger batch_size, or `accumulate` of InContextTask",
    ),
    "limit_train_batches": (1.0, "the stream of batches has no end; use max_steps"),
    "min_steps": (None, "a run ends at max_steps, or where a callback such as Milestones stops it"),
    "overfit_batches": (0.0, "the stream of batches has no end; use a small train_fraction"),
}
"""Options that would not do what they say, each with its default and what to use instead."""


def check_trainer(trainer: Trainer) -> None:
    """Refuse a Trainer with options that would not do what they say.

    Raises:
        ValueError: If it has one.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # sets some of them itself
        return
    for option, (default, instead) in INSTEAD.items():
        value = getattr(trainer, option)
        if value != default or type(value) is not type(default):  # 1 is one batch, 1.0 is all
            raise ValueError(f"trainer.{option} is {value}: {instead}")
    if trainer.min_epochs:
        raise ValueError("trainer.min_epochs: the stream of batches is one endless epoch; leave it out")
    if trainer.max_epochs not in (None, -1):
        raise ValueError("trainer.max_epochs: the stream of batches is one endless epoch; give trainer.max_steps")
