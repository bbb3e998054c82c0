"""Accuracy of further parts, on networks whose answers are known."""

import pytest
import torch

from grok_lightning.callbacks import Evaluation, PartAccuracy
from grok_lightning.data import AdditionSquareDataModule, CompositeFunctionDataModule
from grok_lightning.networks import AdditiveNetwork
from grok_lightning.tasks import EquationTask


def square():
    return AdditionSquareDataModule(operands=(0, 9), square=(4, 6), batch_size=16)


class Rounds(AdditiveNetwork):
    """Adds, but only even numbers come out."""

    def __init__(self, vocabulary_size, length):
        super().__init__(vocabulary_size, length, width=4)

    def forward(self, tokens):
        total = sum(square().operands_of(tokens))
        return super().forward(tokens) * 0 + torch.nn.functional.one_hot(total - total % 2, self.vocabulary_size)


def test_the_square_is_measured_at_evaluations(train, kept):
    callback = PartAccuracy(["square", "test"])
    train([Evaluation(1), callback], 1, task=EquationTask(Rounds), data=square, logger=kept)
    even = [(a + b) % 2 == 0 for a in (4, 5, 6) for b in (4, 5, 6)]
    right, logits = sum(even) / 9, torch.zeros(21).index_fill(0, torch.tensor(0), 1.0)
    losses = -logits.log_softmax(0)[torch.tensor([0 if is_even else 1 for is_even in even])]
    assert kept.rows[1]["square/accuracy"] == pytest.approx(right) == callback.results()["square_accuracy"]
    assert kept.rows[1]["square/loss"] == pytest.approx(float(losses.mean()))
    again = PartAccuracy(["square", "test"])
    again.load_state_dict(callback.state_dict())
    assert again.results() == callback.results() != {}


def test_parts_that_the_data_have_not_are_refused():
    data = square()
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(ValueError, match=r"AdditionSquareDataModule has no part 'sqare', .*did you mean 'square'\?"):
        PartAccuracy(["sqare"]).check_run(None, data)
    composite = CompositeFunctionDataModule(size=320, unseen=[], batch_size=8)
    composite.setup("fit")
    with pytest.raises(ValueError, match="has no part 'unseen_test_keys', only train, val, test"):
        PartAccuracy(["unseen_test_keys"]).check_run(None, composite)


@pytest.mark.parametrize("parts", [[], ["square", "square"], "square"])
def test_odd_lists_are_refused(parts):
    with pytest.raises(ValueError, match="expected a list of parts, each once"):
        PartAccuracy(parts)
