"""What training needs and torch does not have: rules that give each part of a network its own rate, decay or rest."""

from grok_lightning.optim.muon import MuonAdamW
from grok_lightning.optim.parameter_groups import ParameterRule, build_optimizer, matches, parameter_groups
from grok_lightning.optim.schedules import WarmupCosine
from grok_lightning.optim.update import Update

__all__ = ["MuonAdamW", "ParameterRule", "Update", "WarmupCosine", "build_optimizer", "matches", "parameter_groups"]
