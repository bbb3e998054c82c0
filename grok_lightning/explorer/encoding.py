"""An exploration as JSON that can stand in a page."""

import base64
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grok_lightning.explorer.exploration import Exploration

SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""Within a script element, no text may end it or open a comment."""


def to_json(data: Any) -> str:
    """Writes plain data as ASCII that cannot leave a script element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(SAFE)


def plain_data(run: Exploration) -> dict[str, Any]:
    """Everything the page is told of the run, with the long arrays packed."""
    share, pairs, class_map = run.plane_share, run.pairs, run.class_map
    return {
        "title": run.title,
        "subtitle": run.subtitle,
        "names": list(run.names),
        "areResidues": run.are_residues,
        "isAddition": run.is_addition,
        "steps": [int(step) for step in run.steps],
        "axes": list(run.axes),
        "positions": pack(run.positions, "float32"),
        "planeShare": None if share is None else pack(share, "float32"),
        "spectrum": None if run.spectrum is None else pack(run.spectrum, "float32"),
        "pairs": pairs
        and {
            "first": pack(np.asarray(pairs.first), "uint16"),
            "second": pack(np.asarray(pairs.second), "uint16"),
            "label": pack(np.asarray(pairs.label), "uint16"),
            "heldOut": pack(np.asarray(pairs.held_out), "uint8"),
        },
        "classMap": class_map
        and {
            "classes": pack(class_map.classes, "uint8" if class_map.classes.max() < 256 else "uint16"),
            "halfWidth": pack(class_map.half_width, "float32"),
        },
        "series": {
            name: {"steps": pack(np.asarray(steps), "uint32"), "values": pack(np.asarray(values), "float32")}
            for name, (steps, values) in run.series.items()
        },
        "results": {name: _finite(value) for name, value in run.results.items()},
        "forces": None if run.forces is None else dict(run.forces),
        "notes": list(run.notes),
    }


def pack(array: NDArray[Any], kind: str) -> dict[str, Any]:
    """An array as its kind of number, its shape, and its bytes in base64, the least byte of a number first."""
    numbers = np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder("<"))
    return {"kind": kind, "shape": list(numbers.shape), "bytes": base64.b64encode(numbers.tobytes()).decode("ascii")}


def _finite(value: str | int | float | None) -> str | int | float | None:
    """JSON has no infinity and no NaN: as text they are read just as well."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
