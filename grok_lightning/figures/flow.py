"""How information flows through a transformer: the lines of attention in a sequence, and between roles."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from grok_lightning.figures import style
from grok_lightning.figures.cells import colour_bar, image_grid
from grok_lightning.figures.heads import BESIDE, COLOURS, DARK
from grok_lightning.figures.style import INK, PALETTE, SMALL, TEXT, Numbers

COLUMN, LAYER, AROUND = 0.62, 1.35, (1.1, 1.1)  # in inches: a position, a layer, what is around all of them
WIDEST, THICKEST, LEAST = 14.0, 5.0, 0.02  # in inches, in points, and the least attention that has a line
CELL, LEFT, RIGHT, BOTTOM = 52, 24, 76, 20  # in pixels: a cell with a number, and the white around panels
LETTER, TICK = 0.085, 7  # of a title in inches, of a name in pixels


def attention_lines(weights: Numbers, tokens: Sequence[str], title: str = "") -> Figure:
    """Draws what flows from layer to layer: a column for every position, a row of dots for every layer, input below.

    A line leads from a position below to the one above that looks at it. It is the thicker, and the less transparent,
    the larger the attention is. After Zhang et al. (arXiv 2405.05409, Fig. 3).

    Args:
        weights: Attention (blocks, length, length), positions that look in rows.
        tokens: The name of the token at each position.
        title: What the picture shows.

    Raises:
        ValueError: If weights and tokens do not fit, or there are none.
    """
    layers, count = np.asarray(weights, dtype=float), len(tokens)
    if layers.shape[1:] != (count, count) or not layers.size:
        raise ValueError(f"weights {layers.shape}: expected (blocks, length, length) for {count} tokens")
    height = len(layers)
    width = min(WIDEST, max(COLUMN * count, LETTER * len(title)) + AROUND[0])
    figure = style.blank(width, LAYER * height + AROUND[1])
    axes = figure.add_subplot()
    for block, attention in enumerate(layers):
        looks, seen = np.nonzero(attention > LEAST)
        strength = attention[looks, seen].clip(0, 1)
        ends = np.stack([[seen, np.full_like(seen, block)], [looks, np.full_like(looks, block + 1)]]).transpose(2, 0, 1)
        colours = [(PALETTE[0], share) for share in strength]
        axes.add_collection(LineCollection([*ends], linewidths=THICKEST * strength, colors=colours, capstyle="round"))
    across, up = np.meshgrid(np.arange(count), np.arange(height + 1))
    axes.scatter(across, up, s=26, color=INK, zorder=3)
    axes.set_xticks(range(count), tokens, parse_math=False, rotation=90 if max(map(len, tokens)) > 4 else 0)
    axes.set_yticks(range(height + 1), ["input", *(f"block {block}" for block in range(height))])
    axes.tick_params(length=0, labelcolor=INK, labelsize=TEXT)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(-0.25, height + 0.25))
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", color=INK, fontsize=style.TITLE)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    return figure


def role_flow(flow: Numbers, roles: Sequence[str], title: str = "") -> Figure:
    """Draws how much places of one role look at those of another: a panel for every block, roles that look in rows.

    Colours go from 0 to 1; rows of roles that nothing plays are blank.

    Args:
        flow: Attention (blocks, roles, roles), NaN where a role is not played.
        roles: Names of the roles.
        title: What the picture shows.

    Raises:
        ValueError: If flow and roles do not fit, or there are none.
    """
    blocks, count = np.asarray(flow, dtype=float), len(roles)
    if blocks.shape[1:] != (count, count) or not blocks.size:
        raise ValueError(f"flow {blocks.shape}: expected (blocks, roles, roles) for {count} roles")
    columns = math.ceil(math.sqrt(len(blocks)))
    room = TICK * max(map(len, roles))
    figure, panels = image_grid(len(blocks), columns, CELL * count, title, (LEFT + room, RIGHT, BOTTOM + room))
    for block, (axes, its) in enumerate(zip(panels, blocks, strict=True)):
        image = axes.imshow(its, COLOURS, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"block {block}", loc="left", color=INK, fontsize=TEXT, pad=5)
        axes.spines[:].set_visible(False)
        below = block + columns >= len(blocks)
        axes.set_xticks(range(count), roles if below else [""] * count, rotation=90, parse_math=False)
        axes.set_yticks(range(count), [""] * count if block % columns else roles, parse_math=False)
        axes.tick_params(length=0, labelcolor=INK, labelsize=SMALL)
        for (looks, seen), share in np.ndenumerate(its):
            if math.isfinite(share):
                ink = "white" if share < DARK else "black"
                axes.text(seen, looks, f"{share:.2f}", color=ink, fontsize=SMALL, ha="center", va="center")
    colour_bar(figure, image, "attention", cax=panels[columns - 1].inset_axes(BESIDE), ticks=[0, 0.5, 1])
    return figure
