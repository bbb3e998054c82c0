"""The form that every network has: embedding, decoder, classifier."""

from torch import Tensor, nn

from grok_lightning.circulants import OperandSymmetry
from grok_lightning.networks.agop import average_gradient_outer_product
from grok_lightning.networks.arguments import require_positive
from grok_lightning.networks.classifier import Classifier
from grok_lightning.networks.embedding import Embedding


class Network(nn.Module):
    """A network Ψ(Σ(Φ(a), Φ(b), …)) over a sequence of tokens: the Kolmogorov–Arnold view of an operation.

    `embedding` Φ depends on the token alone, `decoder` Σ brings the tokens of a sequence together, `classifier` Ψ reads
    the answer. These three children are the words of transfer, of freezing and of analysis (Park, Kim and Kim,
    "Acceleration of grokking in learning arithmetic operations via Kolmogorov–Arnold representation", arXiv
    2405.16658).

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        embedding: Φ, from tokens to vectors.
        decoder: Σ, from the vectors of a sequence to one vector, (batch, width).
        classifier: Ψ, from (batch, width) to logits (batch, vocabulary).

    Raises:
        ValueError: If a size is below one.
    """

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        embedding: Embedding,
        decoder: nn.Module,
        classifier: Classifier,
    ) -> None:
        super().__init__()
        require_positive(vocabulary_size=vocabulary_size, length=length)
        self.vocabulary_size = vocabulary_size
        self.length = length
        self.embedding = embedding
        self.decoder = decoder
        self.classifier = classifier

    @property
    def token_parameters(self) -> frozenset[str]:
        """Names of the parameters whose dimension 0 runs over the vocabulary: transfer matches their rows by token."""
        return frozenset(
            [f"embedding.{name}" for name in self.embedding.token_parameters]
            + [f"classifier.{name}" for name in self.classifier.token_parameters]
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of tokens (batch, length).

        Raises:
            ValueError: If the tokens are not (batch, length).
        """
        self.check_tokens(tokens)
        logits: Tensor = self.classifier(self.decode(tokens))
        return logits

    def check_tokens(self, tokens: Tensor) -> None:
        """Refuse tokens that are no sequences of this network.

        Raises:
            ValueError: If they are not (batch, length).
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.length:
            raise ValueError(f"`tokens` must have shape (batch, {self.length}), got {tuple(tokens.shape)}.")

    def decode(self, tokens: Tensor) -> Tensor:
        """Σ(Φ(a), Φ(b), …), one vector (batch, width) for each sequence of tokens (batch, length)."""
        states: Tensor = self.decoder(self.embedding(tokens))
        return states

    def answer(self, embedded: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of the vectors (batch, length, width) of sequences: Ψ(Σ(…)) alone."""
        logits: Tensor = self.classifier(self.decoder(embedded))
        return logits

    def input_vectors(self) -> Tensor:
        """Φ of every token at every position (length · vocabulary, width), in the order of `feature_matrix`."""
        return self.embedding.by_position(self.length).flatten(0, 1)

    def feature_matrix(self) -> Tensor:
        """Inner products of the vectors of tokens at positions (length · vocabulary, length · vocabulary).

        Rows and columns run over the tokens at the first position, then over those at the second, and so on: one-hot
        sequences. It is W₁ᵀW₁, the neural feature matrix of Radhakrishnan et al. (arXiv 2212.13881), where a matrix W₁
        acts on one-hot sequences, and the matrix M of a feature machine.
        """
        vectors = self.input_vectors()
        return vectors @ vectors.T

    def agop(self, tokens: Tensor, centred: bool = False) -> Tensor:
        """Average gradient outer product of the logits over sequences of tokens, see `networks.agop`."""
        return average_gradient_outer_product(self, tokens, centred)

    @property
    def own_tensors(self) -> frozenset[str]:
        """Names of tensors that no transfer moves: a fit replaces them, or they were drawn for the operation."""
        return frozenset()

    @property
    def wants_symmetry(self) -> bool:
        """Whether `draw_inputs` is to be called before training."""
        return False

    def draw_inputs(self, symmetry: OperandSymmetry) -> None:
        """Draw what begins at random and depends on the operation; in most networks nothing does."""

    def token_vectors(self) -> Tensor:
        """Φ of every token (vocabulary, width), in the order of the vocabulary."""
        return self.embedding.vectors()

    def vectors_by_copy(self) -> Tensor:
        """Φ of every token in each of several systems side by side (copies, vocabulary, width): here there is one."""
        return self.token_vectors()[None]
