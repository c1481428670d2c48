"""Threads and what this machine is."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import rnnx
from rnnx.runtime import parallel as runtime


@pytest.fixture(autouse=True)
def _default_threads(monkeypatch):
    monkeypatch.setattr(runtime, "_count", None)


def test_threads_in_a_block():
    rnnx.set_num_threads(3)
    assert rnnx.get_num_threads() == 3
    with rnnx.threads(1):
        assert rnnx.get_num_threads() == 1
        with rnnx.threads(2):
            assert rnnx.get_num_threads() == 2
        assert rnnx.get_num_threads() == 1
    assert rnnx.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError), rnnx.threads(1):
        raise ZeroDivisionError
    assert rnnx.get_num_threads() == 3


def test_a_block_concerns_its_own_thread():
    rnnx.set_num_threads(3)
    seen = []
    with rnnx.threads(1):
        other = threading.Thread(target=lambda: seen.append(rnnx.get_num_threads()))
        other.start()
        other.join()
    assert seen == [3]


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2", None])
def test_bad_numbers(bad):
    with pytest.raises(ValueError, match="positive integer"):
        rnnx.set_num_threads(bad)
    with pytest.raises(ValueError, match="positive integer"), rnnx.threads(bad):
        pass
    assert rnnx.get_num_threads() >= 1


def test_environment(monkeypatch):
    monkeypatch.setenv("RNNX_NUM_THREADS", "5")
    assert rnnx.get_num_threads() == 5
    with rnnx.threads(2):
        assert rnnx.get_num_threads() == 2
    for bad in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("RNNX_NUM_THREADS", bad)
        with pytest.raises(ValueError, match="RNNX_NUM_THREADS"):
            rnnx.get_num_threads()
    monkeypatch.delenv("RNNX_NUM_THREADS")
    assert rnnx.get_num_threads() >= 1


@pytest.mark.parametrize("text, expected", [("1", 1), (" 1 , 4", 1), ("0", None), ("many", None), ("100000", None)])
def test_openmp_divides_the_machine(monkeypatch, text, expected):
    monkeypatch.delenv("RNNX_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert rnnx.get_num_threads() == (expected or rnnx.cpu_info()["processors"])
    monkeypatch.setenv("RNNX_NUM_THREADS", "3")
    assert rnnx.get_num_threads() == 3


@pytest.mark.parametrize("first", ["import threadpoolctl, rnnx.layers", "import rnnx.layers, rnnx.threadpools"])
def test_threadpoolctl(first):
    code = f"""
{first}
import rnnx, threadpoolctl
rnnx.set_num_threads(5)
(pool,) = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "rnnx"]
assert pool["num_threads"] == 5 and pool["version"] == rnnx.__version__, pool
with threadpoolctl.threadpool_limits(limits={{"rnnx": 2}}):
    assert rnnx.get_num_threads() == 2
with threadpoolctl.threadpool_limits(1):
    assert rnnx.get_num_threads() == 1
    with rnnx.threads(3):
        assert rnnx.get_num_threads() == 3
assert rnnx.get_num_threads() == 5
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cpu_info():
    info = rnnx.cpu_info()
    assert info["isa"] in info["isa_levels"]
    assert info["num_threads"] == rnnx.get_num_threads()
    assert info["processors"] >= 1


def test_results_do_not_depend_on_the_threads():
    rng = np.random.default_rng(0)
    layer = rnnx.layers.LSTM(9, dropout=0.3, recurrent_dropout=0.2, seed=4)
    x, results = rng.normal(size=(13, 6, 5)), []
    layer.build(x.shape)
    masks = layer.sample_masks(13, 6)
    for n in (1, 2, 4):
        with rnnx.threads(n):
            results.append(layer(x, training=True, dropout_masks=masks))
    for y in results[1:]:
        np.testing.assert_allclose(y, results[0], atol=1e-7)


def test_import_is_light():
    code = "import sys, rnnx; print([m for m in ('scipy', 'rnnx.models', 'rnnx.training', 'tqdm') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
