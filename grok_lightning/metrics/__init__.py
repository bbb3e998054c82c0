"""What is measured: torchmetrics that accumulate on the device, shared by all families."""

from grok_lightning.metrics.alike import AnswerSimilarity
from grok_lightning.metrics.answers import AnswerMetrics
from grok_lightning.metrics.by_kind import AccuracyByKind
from grok_lightning.metrics.complexity import EmbeddingComplexity, MatrixComplexity
from grok_lightning.metrics.correct_class import CorrectClassLoss
from grok_lightning.metrics.explained import CLASSES, ExplainedAnswers
from grok_lightning.metrics.features import AgopCorrelation, CirculantDeviation, FeatureAlignment
from grok_lightning.metrics.flow import AttentionFlow
from grok_lightning.metrics.forces import ExplainedGradient
from grok_lightning.metrics.shots import ShotMetrics
from grok_lightning.metrics.solutions import SolutionShares
from grok_lightning.metrics.solvers import copying, modular_regression, ratio_matching
from grok_lightning.metrics.structure import EmbeddingStructure

__all__ = [
    "CLASSES",
    "AccuracyByKind",
    "AgopCorrelation",
    "AnswerMetrics",
    "AnswerSimilarity",
    "AttentionFlow",
    "CirculantDeviation",
    "CorrectClassLoss",
    "EmbeddingComplexity",
    "EmbeddingStructure",
    "ExplainedAnswers",
    "ExplainedGradient",
    "FeatureAlignment",
    "MatrixComplexity",
    "ShotMetrics",
    "SolutionShares",
    "copying",
    "modular_regression",
    "ratio_matching",
]
