"""Roles of the places of equations, as every family has them unless it knows better."""

import pytest
import torch

from grok_lightning.data import (
    AdditionSquareDataModule,
    BinaryOperationDataModule,
    CompositionDataModule,
    MixedOperationDataModule,
    SystemDataModule,
)

FAMILIES = {
    "a op b =": lambda: BinaryOperationDataModule("add", 5),
    "a b": lambda: BinaryOperationDataModule("add", 5, layout="a b"),
    "a op b": lambda: MixedOperationDataModule(["add", "sub"], 5),
    "a op b = ": lambda: AdditionSquareDataModule((0, 9), (4, 5)),
    "( a + b ) · a_2 +_2 c =": lambda: CompositionDataModule("(a + b) * a + c", 5, 20, 20, 20),
    "a + b = A & A_2 +_2 c =_2 B B_2": lambda: SystemDataModule(
        ["a + b = A", "A + c = B"], "B", 5, train_fraction=20, val_fraction=20, test_fraction=20
    ),
}


@pytest.mark.parametrize(("names", "make"), FAMILIES.items())
def test_each_place_plays_a_role_named_after_what_stands_there(names, make):
    torch.manual_seed(0)
    data = make()
    data.setup("fit")
    assert data.role_names == tuple(names.split())
    tokens = data.parts["val"].tokens
    assert data.roles(tokens).tolist() == [[*range(data.length)]] * len(tokens)
    assert data.roles(tokens[0]).tolist() == [*range(data.length)]
    assert data.flows == tuple((names.split()[-1], name) for name in names.split())
