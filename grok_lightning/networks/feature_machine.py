"""Recursive feature machines: kernel regression that learns its features from its own gradients."""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from grok_lightning.circulants import OperandSymmetry, random_circulant
from grok_lightning.networks.arguments import require_choice
from grok_lightning.networks.classifier import LinearClassifier
from grok_lightning.networks.embedding import PositionwiseEmbedding
from grok_lightning.networks.kernels import GAUSSIAN_SCALE, GaussianKernel, Kernel, QuadraticKernel
from grok_lightning.networks.network import Network
from grok_lightning.networks.quadratic import Inputs
from grok_lightning.spectra import matrix_power

KernelName = Literal["quadratic", "gaussian"]

JITTERS = (1e-14, 1e-12, 1e-10, 1e-8)
"""What is added to the diagonal of a singular kernel matrix, in turn, as a share of its mean."""


class FeatureMachine(Network):
    """f_c(x) = Σᵢ α_ic k(x, xᵢ; M) over the training points xᵢ, fitted in turn with its features M.

    One iteration of Radhakrishnan et al. (arXiv 2212.13881), in the form of Mallinar et al. (arXiv 2407.20199, section
    2), is `learn_features`, M ← AGOP^s, and `fit`, α = K⁻¹ Y. The matrix M acts as Φ: one-hot sequences are mapped to
    M^½ x, so that the rows of M^½ are the vectors of a token at each position (`embedding`) and M is `feature_matrix`.
    The kernel is Σ (`decoder`), the coefficients α are Ψ (`classifier`). Everything is in double precision.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        kernel: `quadratic`, (xᵀMx')², or `gaussian`, exp(−(x − x')ᵀM(x − x') / scale).
        scale: That of the Gaussian kernel. The official code has 2 · 2.5² = 12.5, the default here; the text has 2.5.
        width: Width of the vectors, at least the length · vocabulary that M needs; that, if not given. Features move
            between machines of different vocabularies only where it is the same.
        inputs: What M begins as: the identity (`one_hot`), or random features that fit the operation
            (`random_circulant`), see `circulants.random_circulant`.

    Raises:
        ValueError: If a size is below one or the width too small, an option has none of its values, or `scale` is not
            positive.
    """

    embedding: PositionwiseEmbedding
    decoder: Kernel
    classifier: LinearClassifier

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        kernel: KernelName = "quadratic",
        scale: float = GAUSSIAN_SCALE,
        width: int | None = None,
        inputs: Inputs = "one_hot",
    ) -> None:
        require_choice("kernel", kernel, KernelName)
        require_choice("inputs", inputs, Inputs)
        size = length * vocabulary_size
        if width is not None and width < size:
            raise ValueError(f"`width` must be at least {size}, length · vocabulary, got {width}.")
        super().__init__(
            vocabulary_size,
            length,
            embedding=PositionwiseEmbedding(vocabulary_size, length, size if width is None else width),
            decoder=QuadraticKernel(length) if kernel == "quadratic" else GaussianKernel(length, scale),
            classifier=LinearClassifier(1, vocabulary_size, bias=False),
        )
        self.inputs = inputs
        self.double()
        with torch.no_grad():
            self._set_root(torch.eye(size, dtype=torch.double))
            self.classifier.output.weight.zero_()

    @property
    def wants_symmetry(self) -> bool:
        """Whether M is to be drawn for the operation."""
        return self.inputs == "random_circulant"

    @property
    def learns_features(self) -> bool:
        """Whether the features are not frozen."""
        return self.embedding.table.weight.requires_grad

    @torch.no_grad()
    def set_features(self, matrix: Tensor) -> None:
        """Take a feature matrix M (length · vocabulary, length · vocabulary); negative eigenvalues count as zero.

        Raises:
            ValueError: If the vectors of some tokens are frozen, and those of others not.
        """
        self._set_root(matrix_power(matrix, 0.5))

    def draw_inputs(self, symmetry: OperandSymmetry) -> None:
        """Begin with random features."""
        self.set_features(random_circulant(symmetry, self.vocabulary_size, self.length))

    @torch.no_grad()
    def learn_features(self, power: float = 0.5, centred: bool = True) -> None:
        """Set M to a power of the AGOP over the points of the last fit.

        Args:
            power: The exponent s.
            centred: Whether the mean Jacobian is taken from each first, as the official code does and the text does
                not.

        Raises:
            ValueError: As `set_features`.
        """
        # (G^s)^½ at once: the root of a power loses half of the digits of small eigenvalues.
        self._set_root(matrix_power(self.agop(self.decoder.centres, centred), power / 2))

    def agop(self, tokens: Tensor, centred: bool = False) -> Tensor:
        """Average gradient outer product of the logits, in closed form over the points of the last fit."""
        if tokens is not self.decoder.centres:
            return super().agop(tokens, centred)
        coefficients = self.classifier.output.weight.detach().T
        return self.decoder.agop(self.feature_matrix().detach(), self._inputs(tokens), coefficients, centred)

    @torch.no_grad()
    def fit(self, tokens: Tensor, answers: Tensor, ridge: float = 0.0) -> Tensor:
        """Solve for the coefficients on training points, with the features as they are.

        Args:
            tokens: The points (points, length).
            answers: The token number of the answer of each (points); its one-hot vector is the target.
            ridge: What is added to the diagonal of the kernel matrix.

        Returns:
            The fitted logits (points, vocabulary).

        Raises:
            ValueError: If the kernel matrix is singular beyond what `JITTERS` mend.
        """
        self.place_centres(tokens)
        matrix = self.decode(tokens)
        matrix.diagonal().add_(ridge)
        targets = F.one_hot(answers, self.vocabulary_size).to(matrix.dtype)
        coefficients = _solve(matrix, targets)
        self.classifier.output.weight.copy_(coefficients.T)
        matrix.diagonal().sub_(ridge)
        return matrix @ coefficients

    @torch.no_grad()
    def place_centres(self, tokens: Tensor) -> None:
        """Take the points (points, length) to compare with; if they are more or fewer than before, α begins at zero."""
        self.decoder.centres = tokens.clone()
        weight = self.classifier.output.weight
        if weight.shape[1] != len(tokens):
            self.classifier.output = nn.Linear(len(tokens), self.vocabulary_size, bias=False).to(weight)
            nn.init.zeros_(self.classifier.output.weight)

    def decode(self, tokens: Tensor) -> Tensor:
        """Values (batch, points) of the kernel between sequences of tokens (batch, length) and the training points."""
        return self.decoder.between(self.feature_matrix(), self._inputs(tokens), self._inputs(self.decoder.centres))

    def answer(self, embedded: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of the vectors (batch, length, width) of sequences."""
        centres = self.embedding(self.decoder.centres).sum(1)
        logits: Tensor = self.classifier(self.decoder(embedded.sum(1), centres))
        return logits

    def _inputs(self, tokens: Tensor) -> Tensor:
        """The number of each one-hot entry of sequences (batch, length)."""
        return tokens + self.vocabulary_size * torch.arange(self.length, device=tokens.device)

    def _set_root(self, root: Tensor) -> None:
        if parametrize.is_parametrized(self.embedding.table):
            raise ValueError("a feature matrix is frozen as a whole or not at all; here only some tokens are")
        rows = F.pad(root, (0, self.embedding.width - len(root))).view(self.length, self.vocabulary_size, -1)
        self.embedding.table.weight.copy_(rows.transpose(0, 1).flatten(1))


def _solve(matrix: Tensor, targets: Tensor) -> Tensor:
    """K⁻¹ Y by Cholesky's decomposition; where K is singular to rounding, with a little added to its diagonal.

    Raises:
        ValueError: If nothing in `JITTERS` is enough.
    """
    diagonal = matrix.diagonal().mean()
    for jitter in (0.0, *JITTERS):
        added = matrix if jitter == 0 else matrix + jitter * diagonal * torch.eye(len(matrix)).to(matrix)
        factor, info = torch.linalg.cholesky_ex(added)
        if not info:
            if jitter:
                warnings.warn(
                    f"the kernel matrix is singular: {jitter:.0e} of its mean diagonal was added", stacklevel=3
                )
            return torch.cholesky_solve(targets, factor)
    raise ValueError(f"the kernel matrix is singular, also with {JITTERS[-1]} of its mean diagonal added: give a ridge")
