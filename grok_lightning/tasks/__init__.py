"""One LightningModule for each family of tasks: what a loss is, what is measured, and one step shared by all parts."""

from grok_lightning.tasks.equation import EquationTask
from grok_lightning.tasks.feature_machine import FeatureMachineTask
from grok_lightning.tasks.in_context import InContextTask
from grok_lightning.tasks.network_task import NetworkTask
from grok_lightning.tasks.particles import ParticleTask

__all__ = ["EquationTask", "FeatureMachineTask", "InContextTask", "NetworkTask", "ParticleTask"]
