"""From mathematics to batches: operations, tokens, splits, and one data module for each family of tasks."""

from grok_lightning.data.addition_square import AdditionSquareDataModule
from grok_lightning.data.anchors import Solutions
from grok_lightning.data.batches import BatchStream, Equations
from grok_lightning.data.binary import BinaryOperationDataModule
from grok_lightning.data.composite import CompositeFunctionDataModule
from grok_lightning.data.composition import CompositionDataModule
from grok_lightning.data.equations import EquationDataModule, EquationKinds
from grok_lightning.data.hidden import LinearInContextDataModule, OperationInContextDataModule
from grok_lightning.data.in_context import InContextDataModule
from grok_lightning.data.mixed import MixedOperationDataModule
from grok_lightning.data.module import TokenDataModule
from grok_lightning.data.subset import TokenSubset
from grok_lightning.data.system import SystemDataModule
from grok_lightning.data.vocabulary import Vocabulary

__all__ = [
    "AdditionSquareDataModule",
    "BatchStream",
    "BinaryOperationDataModule",
    "CompositeFunctionDataModule",
    "CompositionDataModule",
    "EquationDataModule",
    "EquationKinds",
    "Equations",
    "InContextDataModule",
    "LinearInContextDataModule",
    "MixedOperationDataModule",
    "OperationInContextDataModule",
    "Solutions",
    "SystemDataModule",
    "TokenDataModule",
    "TokenSubset",
    "Vocabulary",
]
