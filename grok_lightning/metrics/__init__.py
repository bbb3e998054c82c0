"""What is measured: torchmetrics that accumulate on the device, shared by all families."""

from grok_lightning.metrics.answers import AnswerMetrics

__all__ = ["AnswerMetrics"]
