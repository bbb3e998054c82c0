"""A feature machine's iterations against the bare solve of the same linear systems, and against the naive AGOP."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import FeatureMachine

BAR, SECONDS, MEMORY = 1.5, 12.0, 4096
MODULUS, ITERATIONS = 61, 30

pytestmark = pytest.mark.benchmark

RUN = """
import json, resource, time
from grok_lightning.networks import FeatureMachine
from grok_lightning.data import BinaryOperationDataModule
data = BinaryOperationDataModule("add", 97, 0.5, layout="a b")
data.setup("fit")
machine = FeatureMachine(97, 2, kernel={kernel!r})
started = time.perf_counter()
for iteration in range(3):
    if iteration:
        machine.learn_features()
    machine.fit(*data.parts["train"])
    machine(data.parts["val"].tokens)
seconds = (time.perf_counter() - started) / 3
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def seconds_of(function, *arguments):
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def naive_agop(machine):
    """The AGOP of the quadratic kernel from the whole Jacobian (points, classes, inputs)."""
    tokens = machine.decoder.centres
    size = machine.vocabulary_size
    inputs = torch.cat([F.one_hot(column, size) for column in tokens.T], dim=1).double()
    matrix, alpha = machine.feature_matrix(), machine.classifier.output.weight.T
    moved = inputs @ matrix
    products = moved @ inputs.T
    jacobian = 2 * torch.einsum("ji,ic,id->jcd", products, alpha, moved)
    jacobian -= jacobian.mean(0)
    return torch.einsum("jcd,jce->de", jacobian, jacobian) / len(tokens)


@torch.no_grad()
def test_iterations_against_the_bare_solve(bench, capsys):
    data = BinaryOperationDataModule("add", MODULUS, 0.5, layout="a b")
    data.setup("fit")
    tokens, answers = data.parts["train"]
    targets = F.one_hot(answers, MODULUS).double()
    machine = FeatureMachine(MODULUS, 2)

    def iterate(number):
        if number:
            machine.learn_features()
        machine.fit(tokens, answers)
        return machine(data.parts["val"].tokens)

    def solve(matrix):
        return torch.cholesky_solve(targets, torch.linalg.cholesky(matrix))

    iterate(0)
    whole = bare = lu = closed = 0.0
    for number in range(ITERATIONS):
        whole += seconds_of(iterate, number)[0]
        matrix = machine.decode(tokens)
        bare += seconds_of(solve, matrix)[0]
        lu += seconds_of(torch.linalg.solve, matrix, targets)[0]
        closed += seconds_of(machine.agop, machine.decoder.centres, True)[0]
    naive, matrix = seconds_of(naive_agop, machine)
    torch.testing.assert_close(matrix, machine.agop(machine.decoder.centres, True))
    with capsys.disabled():
        print(f"\np = {MODULUS}, {ITERATIONS} iterations with evaluation, {torch.get_num_threads()} threads")
        print(f"{whole:.2f} s; bare torch.linalg.solve {lu:.2f} s: {whole / lu:.2f} times; ", end="")
        print(f"by Cholesky, as here, {bare:.2f} s: {whole / bare:.2f} times")
        print(f"AGOP in closed form {1000 * closed / ITERATIONS:.0f} ms, from Jacobians {1000 * naive:.0f} ms")
    assert whole <= BAR * lu


def test_a_whole_run(lightning, capsys):
    recipe = Path(__file__).parents[2] / "recipes/feature_machine/operations.yaml"
    lightning("fit", "--config", recipe, "--only", "add", "--replicates", "1")
    (manifest,) = Path("logs").glob("feature_machine/operations/run_000/add/seed_0/manifest.json")
    seconds = json.loads(manifest.read_text())["seconds"]
    with capsys.disabled():
        print(f"\n`lightning fit`, p = {MODULUS}, {ITERATIONS} iterations with their measures: {seconds}")
    assert seconds["training"] + seconds["evaluation"] < SECONDS


@pytest.mark.parametrize("kernel", ["quadratic", "gaussian"])
def test_time_and_memory_at_97(kernel, capsys):
    output = subprocess.run(
        [sys.executable, "-c", RUN.format(kernel=kernel)], capture_output=True, check=True, timeout=300
    ).stdout
    seconds, memory = json.loads(output)
    with capsys.disabled():
        print(f"\np = 97, {kernel}: {seconds:.2f} s an iteration, peak {memory:.0f} MiB")
    assert memory < MEMORY
