"""Every picture of the project, from plain data, in one style.

Each function returns a `matplotlib.figure.Figure` with its own canvas. pyplot and the global settings of matplotlib are
left alone, so pictures can be drawn in any thread and look the same beside any style of the reader's own. The colours
are those of Okabe and Ito (2008, "Color universal design"), and viridis for quantities: colour-blind readers can tell
them apart.
"""

from grok_lightning.figures.accuracy import accuracy_curves
from grok_lightning.figures.answers import ANSWERS, error_grid
from grok_lightning.figures.complexity import cosine_curve, singular_value_curves, spectrum_history
from grok_lightning.figures.embedding import embedding_plane, fourier_spectrum
from grok_lightning.figures.features import feature_matrices, progress_curves
from grok_lightning.figures.flow import attention_lines, role_flow
from grok_lightning.figures.heads import attention_map, head_plane, pruning_chart, similarity_map
from grok_lightning.figures.kshot import shot_grids
from grok_lightning.figures.pairs import pair_table, target_map
from grok_lightning.figures.phase import PhaseAxis, phase_diagram
from grok_lightning.figures.shares import share_bars
from grok_lightning.figures.shots import shot_curves, shot_history
from grok_lightning.figures.style import PALETTE
from grok_lightning.figures.threshold import result_curves

__all__ = [
    "ANSWERS",
    "PALETTE",
    "PhaseAxis",
    "accuracy_curves",
    "attention_lines",
    "attention_map",
    "cosine_curve",
    "embedding_plane",
    "error_grid",
    "feature_matrices",
    "fourier_spectrum",
    "head_plane",
    "pair_table",
    "phase_diagram",
    "progress_curves",
    "pruning_chart",
    "result_curves",
    "role_flow",
    "share_bars",
    "shot_curves",
    "shot_grids",
    "shot_history",
    "similarity_map",
    "singular_value_curves",
    "spectrum_history",
    "target_map",
]
