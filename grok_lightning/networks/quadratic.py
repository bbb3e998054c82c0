"""The two-layer network with a quadratic activation."""

import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.circulants import OperandSymmetry, random_circulant
from grok_lightning.networks.agop import second_moment
from grok_lightning.networks.arguments import require_choice
from grok_lightning.networks.classifier import LinearClassifier
from grok_lightning.networks.embedding import Inputs, MappedEmbedding, PositionwiseEmbedding
from grok_lightning.networks.initialisation import InitRates, initialise
from grok_lightning.networks.network import Network
from grok_lightning.spectra import matrix_power


class SquaredSum(nn.Module):
    """The square of the sum over positions: Σ of the quadratic network."""

    def forward(self, embedded: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of vectors (batch, length, width)."""
        return embedded.sum(1).square()

    def decode(self, table: Tensor, entries: Tensor) -> Tensor:
        """The same for vectors that are entries (batch, length) of a table (entries, width): none of them is copied."""
        return self.sum(table, entries).square()

    def sum(self, table: Tensor, entries: Tensor) -> Tensor:
        """What is squared, for vectors that are entries (batch, length) of a table (entries, width)."""
        return F.embedding_bag(entries, table, mode="sum")


class QuadraticMLP(Network):
    """The network W₂ (W₁ x)² on one-hot sequences x, without biases.

    It is the network of Gromov (arXiv 2301.02679), with the scale, width and initialisation of Mallinar et al. (arXiv
    2407.20199): weights uniform in ±1/√d, where d is the number of inputs of a layer, length · vocabulary for W₁ and
    width for W₂. The columns of W₁ are the token table, one block for each position; the sum of the columns of a
    sequence and its square are the decoder; W₂ is the classifier.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        width: Hidden units.
        inputs: `one_hot`; or `random_circulant`, one-hot sequences times M^½ for random features M that fit the
            operation, see `random_circulant` (Mallinar et al., section on circulant features for networks).
        init_rates: Initialisation rates γ of normal weights, see `InitRates`; by default they are uniform up to 1/√d.

    Raises:
        ValueError: If a size is below one, or `inputs` has none of its values.
    """

    embedding: PositionwiseEmbedding
    decoder: SquaredSum
    classifier: LinearClassifier

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        width: int = 1024,
        inputs: Inputs = "one_hot",
        init_rates: float | InitRates | None = None,
    ) -> None:
        require_choice("inputs", inputs, Inputs)
        embedding = PositionwiseEmbedding if inputs == "one_hot" else MappedEmbedding
        super().__init__(
            vocabulary_size,
            length,
            embedding=embedding(vocabulary_size, length, width),
            decoder=SquaredSum(),
            classifier=LinearClassifier(width, vocabulary_size, bias=False),
        )
        inputs_of = {"embedding.table": length * vocabulary_size, "classifier.output": width}
        if init_rates is not None:
            initialise(self, rates=init_rates, inputs=inputs_of)
            return
        for name, fan_in in inputs_of.items():
            nn.init.uniform_(self.get_parameter(f"{name}.weight"), -(fan_in**-0.5), fan_in**-0.5)

    def decode(self, tokens: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of tokens (batch, length)."""
        return self.decoder.decode(self.embedding.places(), self.embedding.entries(tokens))

    @property
    def own_tensors(self) -> frozenset[str]:
        """The map of the inputs, which fits the operation."""
        return frozenset({"embedding.mapping"} if self.wants_symmetry else ())

    @property
    def wants_symmetry(self) -> bool:
        """Whether the inputs are to be drawn for the operation."""
        return isinstance(self.embedding, MappedEmbedding)

    def draw_inputs(self, symmetry: OperandSymmetry) -> None:
        """Draw the random features behind the inputs."""
        features = random_circulant(symmetry, self.vocabulary_size, self.length)
        self.embedding.get_buffer("mapping").copy_(matrix_power(features, 0.5))

    def agop(self, tokens: Tensor, centred: bool = False) -> Tensor:
        """Average gradient outer product of the logits, in closed form.

        J(x) = 2 W₂ diag(h) W₁ with h = W₁ x, so that their outer products add up to 4 W₁ᵀ (W₂ᵀW₂ ∘ S) W₁, with S the
        second moment (or covariance) of h.
        """
        vectors = self.input_vectors()
        inner = self._readout() * second_moment(self._hidden(tokens), centred)
        return 4 * vectors @ inner @ vectors.T

    def agop_trace(self, tokens: Tensor) -> Tensor:
        """Trace () of the AGOP, which can be differentiated: the mean of ‖J‖², 4 Σ_kl (W₂ᵀW₂)_kl h_k h_l ⟨w_k, w_l⟩."""
        vectors, hidden = self.input_vectors(), self._hidden(tokens)
        inner = self._readout() * (vectors.T @ vectors)
        return 4 * ((hidden @ inner) * hidden).sum() / len(tokens)

    def _hidden(self, tokens: Tensor) -> Tensor:
        """W₁ x (batch, width) of tokens (batch, length)."""
        return self.decoder.sum(self.embedding.places(), self.embedding.entries(tokens))

    def _readout(self) -> Tensor:
        """W₂ᵀW₂ (width, width)."""
        weight = self.classifier.output.weight
        return weight.T @ weight
