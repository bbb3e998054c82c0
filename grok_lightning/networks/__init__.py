"""The networks, plain torch, each made of three parts: embedding, decoder, classifier.

A network is built as `Network(vocabulary_size, length, …)` and gives the logits (batch, vocabulary) of tokens (batch,
length). Beside them are the freezing of parameters in whole or in part, and the tensors of a network by plain name.
"""

from grok_lightning.networks.additive import AdditiveNetwork, exact_network
from grok_lightning.networks.feature_machine import FeatureMachine
from grok_lightning.networks.heads import attention_maps, head_outputs, pruned
from grok_lightning.networks.initialisation import InitRates
from grok_lightning.networks.network import Network
from grok_lightning.networks.particles import ParticleSystem
from grok_lightning.networks.planar import PlanarNetwork
from grok_lightning.networks.quadratic import QuadraticMLP
from grok_lightning.networks.rows import freeze, frozen_rows, joined_rows
from grok_lightning.networks.streams import stream_vectors
from grok_lightning.networks.tensors import (
    NETWORK_PREFIX,
    load_tensors,
    named_tensors,
    network_of,
    plain_named_parameters,
    tied_names,
)
from grok_lightning.networks.transformer import ArithmeticTransformer

__all__ = [
    "NETWORK_PREFIX",
    "AdditiveNetwork",
    "ArithmeticTransformer",
    "FeatureMachine",
    "InitRates",
    "Network",
    "ParticleSystem",
    "PlanarNetwork",
    "QuadraticMLP",
    "attention_maps",
    "exact_network",
    "freeze",
    "frozen_rows",
    "head_outputs",
    "joined_rows",
    "load_tensors",
    "named_tensors",
    "network_of",
    "plain_named_parameters",
    "pruned",
    "stream_vectors",
    "tied_names",
]
