"""How much of a step is its matrix products, and how step and memory grow with modulus, width and replicates."""

import multiprocessing
import resource
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BAR = 2.0
PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm")
MODULI, WIDTHS, REPLICATES = (31, 59, 97, 151, 257), (32, 64, 128, 256), (1, 2, 4)
GROWTH_STEPS = 40

pytestmark = pytest.mark.benchmark


class Products(TorchDispatchMode):
    """Takes down the matrix products of a step, and gives them again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(function).rpartition(".")[0] in PRODUCTS:
            self.calls.append((function, tuple(self._alike(item) for item in args)))
        return function(*args, **(kwargs or {}))

    @staticmethod
    def _alike(item: Any) -> Any:
        """Return a tensor of the same shape and layout, with a storage of its own."""
        if not isinstance(item, Tensor):
            return item
        return torch.randn(item.untyped_storage().nbytes() // item.element_size()).as_strided(
            item.shape, item.stride(), item.storage_offset()
        )

    def again(self) -> None:
        for function, args in self.calls:
            function(*args)


def products_of(job: Any) -> Products:
    with Products() as products:
        job.step(0)
    return products


def measure(bench: Any, config: Any, steps: int, rounds: int) -> tuple[float, float]:
    """Return seconds of a step, and of its matrix products alone."""
    job = bench.Job(config, steps)
    products = products_of(job)
    whole, alone = [], []
    with torch.no_grad():
        products.again()
    for _ in range(rounds):
        whole.append(bench.clocked(lambda: [job.step(step) for step in range(steps)]) / steps)
        with torch.no_grad():
            alone.append(bench.clocked(lambda: [products.again() for _ in range(steps)]) / steps)
    return min(whole), min(alone)


def test_a_step_against_its_matrix_products(bench, capsys):
    config = bench.stage_config("transfer_add_to_sub.yaml", "scratch")
    whole, alone = measure(bench, config, bench.steps, bench.rounds)
    with capsys.disabled():
        print(f"\n{bench.rounds} interleaved rounds of {bench.steps} steps, {torch.get_num_threads()} threads")
        print(f"a step {1000 * whole:.2f} ms, its matrix products {1000 * alone:.2f} ms: {whole / alone:.2f} times")
    assert whole <= BAR * alone


def grow(bench: Any, queue: Any, config: Any) -> None:
    """Measure in a process of its own, whose peak memory is that of the job and of what it imports."""
    queue.put((*measure(bench, config, GROWTH_STEPS, 4), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


@pytest.mark.parametrize("network", ["transformer", "quadratic"])
def test_growth(bench, capsys, network):
    recipe, stage = ("speed/transformer.yaml", "sub") if network == "transformer" else ("speed/open.yaml", "sub")
    sizes = [(modulus, None) for modulus in MODULI] + [(97, width) for width in WIDTHS]
    lines = []
    for modulus, width in sizes:
        overrides = [("data.modulus", str(modulus)), *([("model.network.width", str(width))] if width else [])]
        config = bench.stage_config(recipe, stage, *overrides)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=grow, args=(bench, queue, config))
        process.start()
        whole, alone, memory = queue.get(timeout=300)
        process.join()
        width = width or config["model"]["init_args"]["network"]["init_args"]["width"]
        lines.append(
            f"{modulus:>8} {width:>6} {1000 * whole:>9.2f} {1000 * alone:>10.2f} {whole / alone:>6.2f} {memory:>9.0f}"
        )
    with capsys.disabled():
        print(
            f"\n{network}, {torch.get_num_threads()} threads: milliseconds a step, of its matrix products, ratio; MiB"
        )
        print(f"{'modulus':>8} {'width':>6} {'step':>9} {'products':>10} {'ratio':>6} {'memory':>9}")
        print("\n".join(lines))
