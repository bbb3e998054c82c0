"""The network whose embeddings can be seen: vectors in the plane that add up, and one hidden layer behind the sum."""

from torch import Tensor, nn

from grok_lightning.networks.arguments import require_positive, require_std
from grok_lightning.networks.classifier import MLPClassifier
from grok_lightning.networks.embedding import Embedding
from grok_lightning.networks.initialisation import InitRates, initialise, require_one_start
from grok_lightning.networks.network import Network


class Sum(nn.Module):
    """The sum over positions: attention that is constant."""

    def forward(self, embedded: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of vectors (batch, length, width)."""
        return embedded.sum(1)


class PlanarNetwork(Network):
    """Embeddings that are added up and classified by one hidden layer of ReLU units.

    After Musat, "Clustering and alignment: understanding the training dynamics in modular addition" (arXiv 2408.09414),
    whose demo has two dimensions, 64 hidden units and modulus 17. How weights begin is not said there; here the table
    is normal, and the classifier begins as `torch.nn.Linear` does, biases included.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        width: Dimensions of the embedding.
        mlp_width: Hidden units of the classifier.
        init_std: Standard deviation of the initial embedding.
        init_rates: Initialisation rates γ instead, one for all weights or one for each kind, see `InitRates`.

    Raises:
        ValueError: If a size is below one, or `init_std` is not positive.
    """

    classifier: MLPClassifier

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        width: int = 2,
        mlp_width: int = 64,
        init_std: float = 1.0,
        init_rates: float | InitRates | None = None,
    ) -> None:
        require_positive(length=length)
        require_one_start(init_std, init_rates, default=1.0)
        require_std(init_std)
        super().__init__(
            vocabulary_size,
            length,
            embedding=Embedding(vocabulary_size, width),
            decoder=Sum(),
            classifier=MLPClassifier(width, vocabulary_size, mlp_width, activation="relu", bias=True),
        )
        if init_rates is None:
            nn.init.normal_(self.embedding.table.weight, std=init_std)
        else:
            initialise(self, rates=init_rates)
