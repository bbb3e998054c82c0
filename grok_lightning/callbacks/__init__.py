"""When something is measured, stopped, drawn or saved during a run."""

from grok_lightning.callbacks.best import BestWeights
from grok_lightning.callbacks.cadence import Cadence, next_boundary
from grok_lightning.callbacks.characters import CharacterShare
from grok_lightning.callbacks.checkpoint import RunCheckpoint, StageInterrupted, newest_checkpoint
from grok_lightning.callbacks.complexity import ComplexityProgress
from grok_lightning.callbacks.enforced import EnforcedCirculant
from grok_lightning.callbacks.evaluation import Evaluation
from grok_lightning.callbacks.features import FeatureProgress
from grok_lightning.callbacks.flow import FlowProgress
from grok_lightning.callbacks.forces import MeasuredForces
from grok_lightning.callbacks.in_context import InContextProgress
from grok_lightning.callbacks.milestones import Milestones
from grok_lightning.callbacks.parts import PartAccuracy
from grok_lightning.callbacks.phases import Phases
from grok_lightning.callbacks.pictures import AnswerGrid, PictureData, Pictures
from grok_lightning.callbacks.progress import StageProgress
from grok_lightning.callbacks.record import RunRecord
from grok_lightning.callbacks.snapshots import Snapshots
from grok_lightning.callbacks.solutions import SolutionProgress
from grok_lightning.callbacks.structure import StructureProgress

__all__ = [
    "AnswerGrid",
    "BestWeights",
    "Cadence",
    "CharacterShare",
    "ComplexityProgress",
    "EnforcedCirculant",
    "Evaluation",
    "FeatureProgress",
    "FlowProgress",
    "InContextProgress",
    "MeasuredForces",
    "Milestones",
    "PartAccuracy",
    "Phases",
    "PictureData",
    "Pictures",
    "RunCheckpoint",
    "RunRecord",
    "Snapshots",
    "SolutionProgress",
    "StageInterrupted",
    "StageProgress",
    "StructureProgress",
    "newest_checkpoint",
    "next_boundary",
]
