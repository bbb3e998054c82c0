"""The page: one HTML file that needs nothing beside it and asks for nothing."""

import base64
import hashlib
import html
from importlib.resources import files
from string import Template

from matplotlib.colors import to_hex
from plotly.offline import get_plotlyjs

from grok_lightning.explorer.encoding import plain_data, to_json
from grok_lightning.explorer.exploration import Exploration
from grok_lightning.figures.embedding import CYCLE
from grok_lightning.figures.style import GRID, INK, MUTED, PALETTE

SCRIPTS = (
    "common.js",
    "data.js",
    "colours.js",
    "series.js",
    "plots.js",
    "planes.js",
    "ranges.js",
    "curves.js",
    "rows.js",
    "player.js",
    "training.js",
    "forces.js",
    "structure.js",
    "particles.js",
    "scatter.js",
    "simulation.js",
    "start.js",
)
"""In the order in which they build upon one another."""

MARK = '<meta name="generator" content="grok_lightning explorer">'
"""By which a page is known, near its beginning."""

HUES = 6
"""Colours once around CYCLE, the first again at the end."""


def render(exploration: Exploration) -> str:
    """Writes the page of a run.

    Its security policy lets only the scripts written here run, and forbids every connection.
    """
    scripts = [get_plotlyjs(), *(_read(name) for name in SCRIPTS)]
    return Template(_read("page.html")).substitute(
        mark=MARK,
        policy=_policy(scripts),
        title=html.escape(exploration.title),
        style=f"{_colours()}\n{_read('page.css')}",
        data=to_json({**plain_data(exploration), "palette": PALETTE, "cycle": _hues()}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _policy(scripts: list[str]) -> str:
    """Plotly sets styles on its elements, and draws pictures that are data; scripts are known by their hashes."""
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    # A browser reads every line end as \n before it hashes.
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _colours() -> str:
    return f":root {{ --ink: {INK}; --muted: {MUTED}; --grid: {GRID}; --accent: {PALETTE[0]}; }}"


def _hues() -> list[str]:
    return [to_hex(CYCLE(place / (HUES - 1))) for place in range(HUES)]


def _read(name: str) -> str:
    return (files("grok_lightning.explorer") / "assets" / name).read_text(encoding="utf-8")
