"""How much of a step is its matrix products, and how step and memory grow with modulus, width and replicates."""

import json
import os
import subprocess
import sys

import pytest
import torch

BAR = 2.0
MODULI, WIDTHS, REPLICATES = (31, 59, 97, 151, 257), (32, 64, 128, 256), (1, 2, 4)
STEPS, ROUNDS = 40, 4
STAGES = {"transformer": ("speed/transformer.yaml", "sub"), "quadratic": ("speed/open.yaml", "sub")}

pytestmark = pytest.mark.benchmark


def test_a_step_against_its_matrix_products(bench, capsys):
    config = bench.stage_config("transfer_add_to_sub.yaml", "scratch")
    whole, alone = bench.measure(config, bench.steps, bench.rounds)
    with capsys.disabled():
        print(f"\n{bench.rounds} interleaved rounds of {bench.steps} steps, {torch.get_num_threads()} threads")
        print(f"a step {1000 * whole:.2f} ms, its matrix products {1000 * alone:.2f} ms: {whole / alone:.2f} times")
    assert whole <= BAR * alone


def measured(bench, network, overrides, copies=1, threads=None):
    """Return seconds of a step and of its products, and MiB, of each of some processes at once."""
    command = [sys.executable, bench.__file__, *STAGES[network], str(STEPS), str(ROUNDS), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads or torch.get_num_threads())}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(copies)]
    return [json.loads(process.communicate(timeout=300)[0]) for process in processes]


@pytest.mark.parametrize("network", STAGES)
def test_growth(bench, capsys, network):
    sizes = [{"data.modulus": modulus} for modulus in MODULI] + [{"model.network.width": width} for width in WIDTHS]
    lines = []
    for size in sizes:
        [(whole, alone, memory)] = measured(bench, network, [f"{key}={value}" for key, value in size.items()])
        [(key, value)] = size.items()
        cells = f"{1000 * whole:8.2f} {1000 * alone:9.2f} {whole / alone:6.2f} {memory:7.0f}"
        lines.append(f"{key.rpartition('.')[2]:>10} {value:>5} {cells}")
    for copies in REPLICATES:
        found = measured(bench, network, [], copies, threads=1)
        each = max(whole for whole, _, _ in found) / copies
        memory = sum(memory for _, _, memory in found)
        lines.append(f"{'replicates':>10} {copies:>5} {1000 * each:8.2f} {'':9} {'':6} {memory:7.0f}")
    with capsys.disabled():
        print(f"\n{network}, {torch.get_num_threads()} threads (replicates: processes of one): ms of a step, of its")
        print(
            "matrix products, ratio; peak MiB of the processes with what they import; replicates: ms for a step of any"
        )
        print("\n".join(lines))
    assert len(lines) == len(sizes) + len(REPLICATES)
