"""Whether a network remembers or generalises, over inputs and over functions."""

from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from grok_lightning.callbacks.logged import logged
from grok_lightning.data.in_context import SETS, require_sequences
from grok_lightning.data.module import check_choice

Answers = Literal["all", "last"]
MARKS = dict(zip(("id_memorised", "id_generalised", "ood_memorised", "ood_generalised"), SETS, strict=True))
"""The phases, each with the set of sequences that a network in it answers well; the later, the harder."""


class Phases(Callback):
    """Finds the phase of a run that learns functions in context (He et al., arXiv 2406.02550, figure 1).

    A network answers a set of sequences well if its accuracy there is at or above the threshold. The phase is the last
    of these that it answers well: 1 in-distribution memorisation (known functions on known inputs), 2 in-distribution
    generalisation (on new inputs), 3 out-of-distribution memorisation (new functions on known inputs), 4
    out-of-distribution generalisation (on new inputs); 0 if none. The order of 2 and 3 and both defaults are our
    choice: the official code has no threshold.

    Logged as `val/phase`. Results: `phase`, at the last evaluation; `highest_phase`; and `id_memorised_at`,
    `id_generalised_at`, `ood_memorised_at`, `ood_generalised_at`, the first evaluation at which the set was answered
    well, null if never.

    Args:
        threshold: Accuracy that counts as well.
        answers: `last`: of the last answer of each sequence, the one with the most examples before it; `all`: of all.

    Raises:
        ValueError: If the threshold is no accuracy, or `answers` is neither; in training, if the module does not log
            the accuracies of the sets.
    """

    def __init__(self, threshold: float = 0.8, answers: Answers = "last") -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected an accuracy above 0 and at most 1")
        check_choice("answers", answers, Answers)
        self.threshold = threshold
        self.prefix = "val/accuracy_" if answers == "all" else "val/last_accuracy_"
        self.phase = self.highest = 0
        self.steps: dict[str, int | None] = dict.fromkeys(MARKS)

    def observe(self, step: int, accuracies: Mapping[str, float]) -> None:
        """Take note of one evaluation: the accuracy of each set by name."""
        well = [accuracies[name] >= self.threshold for name in MARKS.values()]
        self.phase = max((number for number, is_well in enumerate(well, start=1) if is_well), default=0)
        self.highest = max(self.highest, self.phase)
        for mark, is_well in zip(MARKS, well, strict=True):
            if is_well and self.steps[mark] is None:
                self.steps[mark] = step

    def results(self) -> dict[str, int | None]:
        """Return phases and steps for the manifest."""
        at = {f"{mark}_at": step for mark, step in self.steps.items()}
        return {"phase": self.phase, "highest_phase": self.highest, **at}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data that are no sequences of examples.

        Raises:
            ValueError: If they are not.
        """
        require_sequences(datamodule, "Phases")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe an evaluation.

        Raises:
            ValueError: If the module does not log the accuracies of the sets.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        accuracies = {name: logged(self, trainer, pl_module, self.prefix + name) for name in MARKS.values()}
        self.observe(trainer.global_step, accuracies)
        for logger in trainer.loggers:
            logger.log_metrics({"val/phase": float(self.phase)}, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return what was found so far."""
        return {"phase": self.phase, "highest": self.highest, "steps": dict(self.steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what was found so far."""
        self.phase, self.highest = state_dict["phase"], state_dict["highest"]
        self.steps = dict(state_dict["steps"])
