"""The embedding: its vectors in the plane of their principal components, and their spectrum over the residues."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Affine2D
from torch import Tensor

from grok_lightning.figures.style import INK, MUTED, PALETTE, SMALL, panel
from grok_lightning.spectra import fourier_power, principal_components

# Once around the residues: the ends meet, as 0 and n − 1 do.
CYCLE = LinearSegmentedColormap.from_list("cycle", [PALETTE[hue] for hue in (0, 2, 4, 1, 3, 0)])


def embedding_plane(vectors: Tensor, names: Sequence[str], residues: Sequence[int] | None = None) -> Figure:
    """Draws the embedding vectors in the plane of their first two principal components, each with its name.

    Args:
        vectors: The vector of every token, (tokens, width).
        names: The name of every token.
        residues: The tokens that stand for 0, 1, 2, …, coloured in this order; all in one colour without it.

    Raises:
        ValueError: If names and vectors differ in number, or there are fewer than two components.
    """
    if len(names) != len(vectors):
        raise ValueError(f"{len(names)} names for {len(vectors)} vectors")
    coordinates, shares = principal_components(vectors.detach(), 2)
    points = coordinates.cpu().numpy()
    colours = np.tile(to_rgb(INK), (len(points), 1))
    if residues is not None:
        colours[list(residues)] = CYCLE(np.linspace(0, 1, len(residues), endpoint=False))[:, :3]
    across, up = (
        f"component {place}   {share:.1%} of the variance" for place, share in zip("12", shares.tolist(), strict=True)
    )
    figure, axes = panel(5, 4.7, "Embedding, principal components", across, up)
    axes.scatter(points[:, 0], points[:, 1], s=14, c=colours, linewidths=0)
    # One collection of outlines for all the names: a text artist each takes several times as long.
    outlines = [_outline(name) for name in names]
    labels = PathCollection(outlines, offsets=points, offset_transform=axes.transData, facecolors=INK, linewidths=0)
    labels.set_snap(False)  # or the strokes of "+" snap to the pixels and one of them is lost
    labels.set_transform(Affine2D().scale(1 / 72) + figure.dpi_scale_trans)
    axes.add_collection(labels, autolim=False)
    axes.margins(0.08)
    axes.set(xticks=[0], yticks=[0], xticklabels=[], yticklabels=[])
    axes.set_aspect("equal", "datalim")
    figure.subplots_adjust(0.07, 0.09, 0.98, 0.92)
    return figure


def fourier_spectrum(vectors: Tensor) -> Figure:
    """Draws how much of the variation of the embedding over the residues lies at each frequency.

    The height at frequency k = 1 … n // 2 is the share `grok_lightning.spectra.fourier_power` gives it: of
    ``Σ_x |v_x − mean|²`` over the residues x, the part made of waves ``cos 2πkx/n`` and ``sin 2πkx/n``. The dotted line
    is the share each would have if all had the same; the frequencies with twice that, five at most, are named.

    Args:
        vectors: The vector of each residue, in the order of the residues, (n, width).

    Raises:
        ValueError: If there are fewer than two residues.
    """
    if len(vectors) < 2:
        raise ValueError(f"vectors has {len(vectors)} rows: a spectrum needs at least two residues")
    shares = fourier_power(vectors.detach()).cpu().numpy()[1:]
    even = 1 / len(shares)
    peaks = [peak for peak in np.argsort(-shares)[:5] if shares[peak] >= 2 * even]
    figure, axes = panel(6.4, 3.4, "Embedding, power by frequency", "frequency", "share of the power")
    colours = [PALETTE[0] if peak in peaks else "#9DB8C9" for peak in range(len(shares))]
    axes.vlines(range(1, len(shares) + 1), 0, shares, colors=colours, linewidths=min(40, 280 / len(shares)))
    axes.axhline(even, color=MUTED, lw=0.9, ls=(0, (1, 2)))
    axes.set_title(f"dotted: equal shares, {even:.1%}", loc="right", color=MUTED, fontsize=SMALL, pad=8, y=1.0)
    for peak in peaks:
        axes.text(peak + 1, shares[peak] + 0.02 * shares.max(), f"{peak + 1}", ha="center", color=INK, fontsize=SMALL)
    axes.set_xlim(0, len(shares) + 1)
    axes.set_ylim(0, 1.12 * max(shares.max(), even))
    axes.grid(False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    figure.subplots_adjust(0.11, 0.15, 0.98, 0.89)
    return figure


@lru_cache(maxsize=4096)
def _outline(name: str) -> Path:
    """The outlines of a name in points, to the right of the origin and centred on it in height."""
    if not name.strip():
        return Path(np.empty((0, 2)))  # TextPath fails without a glyph
    return TextPath((3, -2.4), name, size=6.5)
