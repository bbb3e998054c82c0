"""The share of an embedding that one character has, logged."""

import pytest
import torch
from lightning.pytorch import Callback

from grok_lightning.callbacks import CharacterShare
from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule
from grok_lightning.operations import abelian_group
from grok_lightning.spectra import top_character_share


class Embeddings(Callback):
    """Keeps the embedding of the residues at every evaluation."""

    def __init__(self):
        self.at = {}

    def on_validation_end(self, trainer, pl_module):
        self.at[trainer.global_step] = pl_module.network.token_vectors()[:5].detach().clone()


def test_the_shares_are_logged_at_every_evaluation(train, kept):
    embeddings = Embeddings()
    train([CharacterShare(), embeddings], steps=20, modulus=5, logger=kept)
    units = abelian_group("mul", 5).members
    rows = {step: row for step, row in kept.rows.items() if "embedding/add_share" in row}
    assert rows.keys() == embeddings.at.keys() >= {0, 20}
    for step, vectors in embeddings.at.items():
        assert rows[step]["embedding/add_share"] == pytest.approx(top_character_share(vectors, [5]).item())
        assert rows[step]["embedding/mul_share"] == pytest.approx(top_character_share(vectors[units], [4]).item())


def test_compositions_are_measured_too():
    CharacterShare().check_run(None, CompositionDataModule("a + b * c", 7))


@pytest.mark.parametrize("operations", [[], "add"])
def test_no_operation_is_refused(operations):
    with pytest.raises(ValueError, match="expected a list of operations"):
        CharacterShare(operations)


def test_data_without_such_groups_are_refused():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="the elements of these data are none"):
        CharacterShare().check_run(None, BinaryOperationDataModule("compose(3)", None))
    with pytest.raises(ValueError, match=r"CharacterShare: operation 'sum_of_squares' .* leave it out"):
        CharacterShare(["sum_of_squares"]).check_run(None, BinaryOperationDataModule("add", 5))
