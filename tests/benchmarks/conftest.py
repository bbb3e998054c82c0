"""What the benchmarks share. Run on demand, on a quiet machine: `pytest -m benchmark -s tests/benchmarks`."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

JOBS = Path(__file__).with_name("jobs.py")


@pytest.fixture(scope="session")
def bench() -> ModuleType:
    """The module `jobs`, and how much is measured: 8 interleaved rounds of 300 steps, or what the environment says."""
    spec = importlib.util.spec_from_file_location("jobs", JOBS)
    jobs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(jobs)
    jobs.rounds = int(os.environ.get("BENCHMARK_ROUNDS", "8"))
    jobs.steps = int(os.environ.get("BENCHMARK_STEPS", "300"))
    return jobs
