"""The transformer that most experiments train."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from grok_lightning.networks.arguments import require_choice, require_positive, require_std
from grok_lightning.networks.attention import Attention
from grok_lightning.networks.branch import Norm
from grok_lightning.networks.classifier import LinearClassifier, MLPClassifier
from grok_lightning.networks.decoder import Block, Decoder, Positions
from grok_lightning.networks.embedding import RefinedEmbedding
from grok_lightning.networks.initialisation import STANDARD_DEVIATION, InitRates, initialise
from grok_lightning.networks.mlp import MLP, Activation
from grok_lightning.networks.network import Network
from grok_lightning.networks.places import LAST, Places
from grok_lightning.networks.rotary import Rotary

ClassifierKind = Literal["linear", "mlp"]
ResidualScaling = Literal["none", "mlp", "all"]


class ArithmeticTransformer(Network):
    """A small decoder-only transformer that reads its answer at the last position, or several at others.

    With `blocks=2, width=256, embedding_mlps=4, classifier="mlp"` it has the parts of the model of Park, Kim and Kim
    (arXiv 2405.16658); all that the paper is not known to say (width and activation of the MLPs, norm, positions,
    initialisation) is our choice.

    With `positions="rotary", tied=True, bias=False, classifier_bias=False, residual_scaling="mlp"` it is the model that
    He, Doshi, Das and Gromov (arXiv 2406.02550, official code) train on sequences of examples.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        width: Width of the vectors and of the residual stream.
        heads: Attention heads of a block.
        blocks: Decoder blocks.
        head_width: Width of the queries, keys and values of one head; `width / heads` if not given.
        mlp_width: Hidden units of every MLP; `4 · width` if not given.
        activation: Non-linearity of every MLP.
        norm: "pre" (with a final norm), "post" or "none".
        input_norm: Whether the decoder begins with a LayerNorm of each token's vector.
        positions: "learned" vectors, "rotary" ones, which turn queries and keys (see `Rotary`), or "none".
        causal: Whether positions see themselves and earlier ones only. The last position sees all either way.
        embedding_mlps: Residual MLPs between the token table and the decoder.
        classifier: "linear", or an "mlp" with one hidden layer.
        dropout: Probability in the decoder, on its input and on the outcome of each branch.
        bias: Whether the linear maps of embedding and decoder have biases (the keys never have).
        classifier_bias: Whether the linear maps of the classifier have biases.
        init_std: Standard deviation of the initial weights; 1/√d if null, see `initialise`.
        init_rates: Initialisation rates γ instead, one for all weights or one for each kind, see `InitRates`. A tied
            table begins with that of the embedding.
        tied: Whether the classifier's rows are the vectors of the token table, one tensor.
        residual_scaling: Which output maps of the branches begin 1/√(2 · blocks) as large: "none", those of each "mlp",
            or "all" as in GPT-2.

    Raises:
        ValueError: If a size is below one, `width` does not divide by `heads` and `head_width` is not given, `dropout`
            is outside [0, 1), `init_std` is not positive, an option has none of its values, or a classifier with a
            hidden layer is to be tied.
    """

    decoder: Decoder
    classifier: LinearClassifier

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        width: int = 128,
        heads: int = 4,
        blocks: int = 1,
        head_width: int | None = None,
        mlp_width: int | None = None,
        activation: Activation = "relu",
        norm: Norm = "pre",
        input_norm: bool = False,
        positions: Positions = "learned",
        causal: bool = True,
        embedding_mlps: int = 0,
        classifier: ClassifierKind = "linear",
        dropout: float = 0.0,
        bias: bool = True,
        classifier_bias: bool = True,
        init_std: float | None = STANDARD_DEVIATION,
        init_rates: float | InitRates | None = None,
        tied: bool = False,
        residual_scaling: ResidualScaling = "none",
    ) -> None:
        require_positive(heads=heads, blocks=blocks)
        require_std(init_std)
        require_choice("classifier", classifier, ClassifierKind)
        require_choice("residual_scaling", residual_scaling, ResidualScaling)
        if tied and classifier != "linear":
            raise ValueError(f"`tied` is for a linear classifier, got {classifier!r}.")
        if embedding_mlps < 0:
            raise ValueError(f"`embedding_mlps` must be at least 0, got {embedding_mlps}.")
        if head_width is None and width % heads:
            raise ValueError(f"`width` must divide by `heads`, or `head_width` be given; got {width} and {heads}.")
        head_width = width // heads if head_width is None else head_width
        mlp_width = 4 * width if mlp_width is None else mlp_width

        def attention() -> Attention:
            rotary = Rotary(length, head_width) if positions == "rotary" else None
            return Attention(
                width,
                heads=heads,
                head_width=head_width,
                causal=causal,
                norm=norm,
                bias=bias,
                dropout=dropout,
                rotary=rotary,
            )

        mlp = partial(MLP, width, mlp_width, activation=activation, norm=norm, bias=bias)
        super().__init__(
            vocabulary_size,
            length,
            embedding=RefinedEmbedding(vocabulary_size, width, (mlp(dropout=0.0) for _ in range(embedding_mlps))),
            decoder=Decoder(
                (Block(attention(), mlp(dropout=dropout)) for _ in range(blocks)),
                length=length,
                width=width,
                positions=positions,
                input_norm=input_norm,
                final_norm=norm == "pre",
                dropout=dropout,
            ),
            classifier=LinearClassifier(width, vocabulary_size, bias=classifier_bias)
            if classifier == "linear"
            else MLPClassifier(
                width, vocabulary_size, mlp_width=mlp_width, activation=activation, bias=classifier_bias
            ),
        )
        initialise(self, init_std, init_rates)
        self._scale_residual(residual_scaling, (2 * blocks) ** -0.5)
        self.causal = causal
        if tied:
            self.classifier.output.weight = self.embedding.table.weight

    def forward(self, tokens: Tensor, at: Places = LAST) -> Tensor:
        """Logits (batch, vocabulary) of tokens (batch, length), or (batch, some, vocabulary) at the places read.

        Raises:
            ValueError: If the tokens are not (batch, length).
        """
        self.check_tokens(tokens)
        logits: Tensor = self.classifier(self.decode(tokens, at))
        return logits

    def decode(self, tokens: Tensor, at: Places = LAST) -> Tensor:
        """One vector (batch, width), or one for each place read, of each sequence (batch, length).

        See `Decoder.decode`.
        """
        states: Tensor = self.decoder.decode(self.embedding.vectors(), tokens, at)
        return states

    @torch.no_grad()
    def _scale_residual(self, scaling: ResidualScaling, factor: float) -> None:
        block: Any
        for block in self.decoder.blocks:
            for branch in {"none": [], "mlp": [block.mlp], "all": [block.attention, block.mlp]}[scaling]:
                branch.output.weight.mul_(factor)
