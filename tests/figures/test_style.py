import matplotlib
import numpy as np
import torch

from grok_lightning.curves import Curve
from grok_lightning.figures import (
    PhaseAxis,
    accuracy_curves,
    embedding_plane,
    error_grid,
    fourier_spectrum,
    phase_diagram,
)


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    figures = [
        accuracy_curves({"run": [Curve([0, 1], [0, 1], [0, 1], 1)]}),
        error_grid(torch.ones(2, 2), ["0", "1"], "+", torch.zeros(2, 2)),
        embedding_plane(torch.eye(3), ["0", "1", "2"]),
        fourier_spectrum(torch.eye(5)),
        phase_diagram(np.eye(2), np.eye(2), PhaseAxis("x", "ab"), PhaseAxis("y", "ab"), "step"),
    ]
    for figure in figures:
        figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before
