"""What is measured: torchmetrics that accumulate on the device, shared by all families."""

from grok_lightning.metrics.answers import AnswerMetrics
from grok_lightning.metrics.features import AgopCorrelation, CirculantDeviation, FeatureAlignment

__all__ = ["AgopCorrelation", "AnswerMetrics", "CirculantDeviation", "FeatureAlignment"]
