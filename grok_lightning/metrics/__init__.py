"""What is measured: torchmetrics that accumulate on the device, shared by all families."""

from grok_lightning.metrics.answers import AnswerMetrics
from grok_lightning.metrics.by_kind import AccuracyByKind
from grok_lightning.metrics.correct_class import CorrectClassLoss
from grok_lightning.metrics.features import AgopCorrelation, CirculantDeviation, FeatureAlignment

__all__ = [
    "AccuracyByKind",
    "AgopCorrelation",
    "AnswerMetrics",
    "CirculantDeviation",
    "CorrectClassLoss",
    "FeatureAlignment",
]
