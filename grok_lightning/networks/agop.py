"""The average gradient outer product (AGOP): along which inputs the answers of a network change.

G = (1/n) Σ_x J(x) J(x)ᵀ over n sequences, where the Jacobian J (inputs, vocabulary) is that of the logits with respect
to the one-hot sequence (Radhakrishnan et al., arXiv 2212.13881; section 2 of Mallinar et al., arXiv 2407.20199). The
Jacobians are never held together: their outer products are summed class by class, in the width of the embedding.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from grok_lightning.networks.network import Network


def average_gradient_outer_product(network: "Network", tokens: Tensor, centred: bool = False) -> Tensor:
    """The AGOP of a network, by automatic differentiation.

    Args:
        network: The network; its `answer` is differentiated.
        tokens: The sequences (batch, length).
        centred: Whether the mean Jacobian is taken from each first, so that G is a covariance.

    Returns:
        The matrix (length · vocabulary, length · vocabulary), in the order of `Network.feature_matrix`.
    """
    vectors = network.embedding.by_position(network.length).detach()
    length, _, width = vectors.shape
    with torch.enable_grad():
        embedded = network.embedding(tokens).detach().requires_grad_()
        logits = network.answer(embedded)
        total = vectors.new_zeros(length * width, length * width)
        for column in logits.sum(0):
            (gradient,) = torch.autograd.grad(column, embedded, retain_graph=True)
            total += second_moment(gradient.flatten(1), centred)
    blocks = total.view(length, width, length, width)
    outer = torch.einsum("iva,iajb,jwb->ivjw", vectors, blocks, vectors)
    return outer.flatten(2).flatten(0, 1)


def second_moment(rows: Tensor, centred: bool) -> Tensor:
    """The mean of the outer products of rows (rows, width), of what is left without their mean if `centred`."""
    rows = rows - rows.mean(0) if centred else rows
    return rows.T @ rows / len(rows)
