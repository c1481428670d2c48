"""A call on several threads: the same bits as on one, whatever the cut; also beside other calls and after a fork."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest

from rnnx.dropout import DropoutMasks
from rnnx.functional import _engine
from rnnx.runtime import parallel as runtime
from tests.oracle import cases

SIZES = [(37, 11, 13, 40), (300, 3, 5, 33), (16, 40, 64, 64), (130, 2, 9, 300)]  # the last one in blocks of rows


@pytest.fixture(autouse=True)
def _threads_for_small_work_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "_PRODUCTS_WORTH_A_THREAD", 0)


def drop(kind: str, cell: str, size: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> DropoutMasks | None:
    batch, timesteps, features, units = size
    gates = cases.GATES[cell] if kind.endswith("per gate") else 1
    rows = {"shared": (1, 1), "shared per gate": (1, 1), "rows per gate": (batch, 1), "steps": (1, timesteps)}
    if kind == "none":
        return None
    return DropoutMasks(
        inputs=(2 * (rng.random((gates, *rows[kind], features)) < 0.5)).astype(dtype),
        recurrent=(2 * (rng.random((gates, *rows[kind], units)) < 0.5)).astype(dtype),
    )


def results(cell: str, size: tuple[int, ...], dtype: Any, kind: str, ragged: bool, threads: int) -> list[Any]:
    batch, timesteps, features, units = size
    rng = np.random.default_rng(6)
    params = cases.make_params(cell, features, units, dtype, rng)
    x = rng.normal(size=(batch, timesteps, features)).astype(dtype)
    call = {
        "masks": drop(kind, cell, size, dtype, rng),
        "lengths": rng.integers(0, timesteps + 1, batch) if ragged else None,
        "threads": threads,
    }
    run = cases.FAST[cell].forward(params, x, training=True, **call)
    grads = cases.FAST[cell].backward(run.cache, rng.normal(size=run.outputs.shape).astype(dtype))
    again = cases.FAST[cell].backward(run.cache, None, run.state)
    inference = cases.FAST[cell].forward(params, x, **call)
    return [
        run.outputs,
        inference.outputs,
        grads.dx,
        again.dx,
        *(getattr(grads.dparams, name) for name in ("kernel", "recurrent_kernel", "bias")),
    ]


@pytest.mark.parametrize("kind", ["none", "shared", "shared per gate", "rows per gate", "steps"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", cases.CELLS)
def test_same_bits_for_any_number_of_threads(cell, size, kind):
    for dtype, ragged in itertools.product((np.float32, np.float64), (False, True)):
        expected = results(cell, size, dtype, kind, ragged, 1)
        for threads in (2, 3, 7, 1000):
            for one, other in zip(expected, results(cell, size, dtype, kind, ragged, threads), strict=True):
                np.testing.assert_array_equal(one, other)


def test_many_calls_at_once():
    expected = results("lstm", SIZES[2], np.float32, "none", False, 1)
    failures: list[Any] = []

    def work() -> None:
        for _ in range(20):
            got = results("lstm", SIZES[2], np.float32, "none", False, 4)
            failures.extend(k for k, (a, b) in enumerate(zip(expected, got, strict=True)) if not np.array_equal(a, b))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _in_child(connection: Any) -> None:
    connection.send([part.sum() for part in results("gru_after", SIZES[0], np.float64, "none", True, 4)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own():
    expected = [part.sum() for part in results("gru_after", SIZES[0], np.float64, "none", True, 4)]
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        here, there = context.Pipe()
        child = context.Process(target=_in_child, args=(there,))
        child.start()
        assert here.poll(60), "the child hangs"
        assert here.recv() == expected
        child.join()
        assert child.exitcode == 0
        assert [part.sum() for part in results("gru_after", SIZES[0], np.float64, "none", True, 4)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("-1 100000", None), ("nonsense", None)],
)
def test_quota_of_a_container(tmp_path, monkeypatch, text, expected):
    path = tmp_path / "cpu.max"
    path.write_text(text)
    monkeypatch.setattr(runtime, "_QUOTA_FILES", ((str(tmp_path / "missing"),), (str(path),)))
    monkeypatch.delenv("RNNX_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime, "_count", None)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    runtime._available.cache_clear()
    try:
        assert runtime.get_num_threads() == (expected or 8)
    finally:
        runtime._available.cache_clear()
