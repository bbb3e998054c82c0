"""A laboratory for grokking: recipes that chain, transfer and compare training runs on arithmetic.

In a notebook, `grok_lightning.load(folder)` opens a finished run.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grok_lightning.notebook import LoadedRun, load

__all__ = ["LoadedRun", "load"]


def __getattr__(name: str) -> Any:
    # Light commands import this package too: torch waits until somebody asks.
    if name in __all__:
        from grok_lightning import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # so that a notebook completes the names
