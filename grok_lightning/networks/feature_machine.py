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
from grok_lightning.networks.embedding import Inputs, PositionwiseEmbedding
from grok_lightning.networks.kernels import GAUSSIAN_SCALE, GaussianKernel, Kernel, QuadraticKernel
from grok_lightning.networks.network import Network
from grok_lightning.spectra import matrix_power

KernelName = Literal["quadratic", "gaussian"]

JITTERS = (1e-14, 1e-12, 1e-10, 1e-8)
"""What is added to the diagonal of a singular kernel matrix, in turn, as a share of its mean."""
TOLERANCE = 0.1
"""Largest error of an answer that was fitted with such an addition."""


class FeatureMachine(Network):
    """A recursive feature machine: f_c(x) = Σᵢ α_ic k(x, xᵢ; M) over training points xᵢ, in turn with its features M.

    One iteration of Radhakrishnan et al. (arXiv 2212.13881), in the form of Mallinar et al. (arXiv 2407.20199, section
    2), is `learn_features`, M ← AGOP^s, and `fit`, α = K⁻¹ Y. The matrix M acts as Φ: one-hot sequences are mapped to
    M^½ x, so that the rows of M^½ are the vectors of a token at each position (`embedding`) and M is `feature_matrix`.
    The kernel is Σ (`decoder`), the coefficients α are Ψ (`classifier`). Everything is in double precision.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        kernel: `quadratic`, (xᵀMx')², or `gaussian`, exp(−(x − x')ᵀM(x − x') / scale).
        scale: That of the Gaussian kernel; 12.5 if not given, the 2 · 2.5² of the official code. The text has 2.5.
        width: Width of the vectors; by default 2 · length · vocabulary, which is also the least: learned features take
            the first half at most, and those that a machine begins with the last, so that tokens that a transfer does
            not reach are orthogonal to those that it does. Features move between vocabularies of different size only
            where it is the same.
        inputs: What M begins as: the identity (`one_hot`), or random features that fit the operation
            (`random_circulant`), see `circulants.random_circulant`.

    Raises:
        ValueError: If a size is below one or the width too small, an option has none of its values, `scale` is not
            positive, or given for another kernel than the Gaussian.
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
        scale: float | None = None,
        width: int | None = None,
        inputs: Inputs = "one_hot",
    ) -> None:
        require_choice("kernel", kernel, KernelName)
        require_choice("inputs", inputs, Inputs)
        if kernel == "quadratic" and scale is not None:
            raise ValueError(f"`scale` is for the gaussian kernel; leave it out for quadratic, got {scale}.")
        size = length * vocabulary_size
        if width is not None and width < 2 * size:
            raise ValueError(f"`width` must be at least {2 * size}, twice length · vocabulary, got {width}.")
        super().__init__(
            vocabulary_size,
            length,
            embedding=PositionwiseEmbedding(vocabulary_size, length, 2 * size if width is None else width),
            decoder=_kernel(kernel, length, scale),
            classifier=LinearClassifier(1, vocabulary_size, bias=False),
        )
        self.inputs = inputs
        self.double()
        with torch.no_grad():
            self._set_root(torch.eye(size, dtype=torch.double), self.embedding.width - size)
            self.classifier.output.weight.zero_()  # for one centre, until there are others

    @property
    def own_tensors(self) -> frozenset[str]:
        """What a fit replaces: the points, and their coefficients."""
        return frozenset({"decoder.centres", "classifier.output.weight"})

    @property
    def wants_symmetry(self) -> bool:
        """Whether M is to be drawn for the operation."""
        return self.inputs == "random_circulant"

    @property
    def learns_features(self) -> bool:
        """Whether the features are not frozen."""
        return self.embedding.table.weight.requires_grad

    def require_whole(self) -> None:
        """Check that features are frozen as a whole or not at all, and coefficients not.

        Raises:
            ValueError: If the vectors of some tokens are frozen and those of others not, or a coefficient is.
        """
        if parametrize.is_parametrized(self.embedding.table):
            message = "features are frozen as a whole or not at all, and here those of some tokens are:"
            raise ValueError(f"{message} give the transfer `freeze: false`, or leave out its `tokens`")
        output = self.classifier.output
        if parametrize.is_parametrized(output) or not output.weight.requires_grad:
            raise ValueError("the coefficients (classifier) of a feature machine are frozen, but a fit replaces them")

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
        """Average gradient outer product of the logits over sequences of tokens, in closed form."""
        centres, coefficients = self._inputs(self.decoder.centres), self.classifier.output.weight.detach().T
        return self.decoder.agop(self.feature_matrix().detach(), centres, coefficients, self._inputs(tokens), centred)

    @torch.no_grad()
    def fit(self, tokens: Tensor, answers: Tensor, ridge: float = 0.0) -> Tensor:
        """Solve for the coefficients on training points, with the features as they are.

        Points and coefficients from before are replaced.

        Args:
            tokens: The points (points, length).
            answers: The token number of the answer of each (points); its one-hot vector is the target.
            ridge: What is added to the diagonal of the kernel matrix.

        Returns:
            The fitted logits (points, vocabulary).

        Raises:
            ValueError: If the kernel matrix is singular beyond what `JITTERS` mend, or the fit is then no fit; or if
                something is frozen that cannot be, see `require_whole`.
        """
        self.require_whole()
        self.place_centres(tokens)
        matrix = self.decode(tokens)
        matrix.diagonal().add_(ridge)
        targets = F.one_hot(answers, self.vocabulary_size).to(matrix.dtype)
        coefficients, jitter = _solve(matrix, targets)
        self.classifier.output.weight.copy_(coefficients.T)
        matrix.diagonal().sub_(ridge)
        fitted = matrix @ coefficients
        if jitter:
            warnings.warn(f"the kernel matrix is singular: {jitter:.0e} of its mean diagonal was added", stacklevel=2)
            if not (fitted - targets).abs().max() < TOLERANCE:
                raise ValueError("the points repeat and contradict each other, so that nothing fits them: give a ridge")
        return fitted

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

    def _set_root(self, root: Tensor, first: int = 0) -> None:
        """Take the vectors of the inputs, with a place for them in the width."""
        self.require_whole()
        padded = F.pad(root, (first, self.embedding.width - len(root) - first))
        rows = padded.view(self.length, self.vocabulary_size, -1)
        self.embedding.table.weight.copy_(rows.transpose(0, 1).flatten(1))


def _kernel(name: KernelName, length: int, scale: float | None) -> Kernel:
    if name == "quadratic":
        return QuadraticKernel(length)
    return GaussianKernel(length, GAUSSIAN_SCALE if scale is None else scale)


def _solve(matrix: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """K⁻¹ Y by Cholesky's decomposition; where K is singular to rounding, with a little added to its diagonal.

    Returns:
        The coefficients (points, classes), and what was added, as a share of the diagonal's mean.

    Raises:
        ValueError: If nothing in `JITTERS` is enough.
    """
    diagonal = matrix.diagonal().mean()
    for jitter in (0.0, *JITTERS):
        added = matrix.clone() if jitter else matrix
        added.diagonal().add_(jitter * diagonal)
        factor, info = torch.linalg.cholesky_ex(added)
        if not info:
            return torch.cholesky_solve(targets, factor), jitter
    raise ValueError(f"the kernel matrix is singular, also with {JITTERS[-1]} of its mean diagonal added: give a ridge")
