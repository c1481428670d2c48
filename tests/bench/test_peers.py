"""The bench against the peers: its pure parts, and a worker that runs the NumPy loop in this Python."""

import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import rnnx

FOLDER = Path(__file__).parents[2] / "bench" / "peers"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="not in a source tree")


@pytest.fixture(scope="module")
def bench():
    """The modules of the bench, as its own directory makes them importable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import client
        import environments
        import fit
        import grid
        import machine
        import measure
        import problem
        import report
        import worker

        command = importlib.util.spec_from_file_location("peers_command", FOLDER / "__main__.py")
        main = importlib.util.module_from_spec(command)
        command.loader.exec_module(main)

        modules = (client, environments, fit, grid, machine, measure, problem, report, worker)
        yield type("Bench", (), {"main": main, **{m.__name__: m for m in modules}})


@pytest.fixture
def rows(bench):
    """Two cells; one peer has both, another disagrees in the second."""
    first, second = (bench.problem.Cell("step", "lstm", 1, 1, units) for units in (32, 64))
    return [
        bench.measure.Row(first, {"rnnx": 1e-6, "numpy": 8e-6, "torch": 3e-5}, least=8e-7, gates=2e-7),
        bench.measure.Row(second, {"rnnx": 2e-3, "numpy": 4e-3}, remarks={"torch": "disagrees: y by 1.0e+00"}),
    ]


def test_table_has_ratios_their_mean_and_the_worst(bench, rows):
    assert bench.report.table(rows, ["numpy", "torch", "absent"]).splitlines() == [
        "| cell | rnnx | of the limit | numpy | torch |",
        "|---|---|---|---|---|",
        "| LSTM B=1 T=1 H=32 | 1.0 µs | 80% | 8.00 | 30.00 |",
        "| LSTM B=1 T=1 H=64 | 2.00 ms |  | 2.00 | - |",
        "| geometric mean |  |  | 4.00 | 30.00 |",
        "| worst |  |  | 2.00 | 30.00 |",
    ]


def test_summary_has_the_fastest_peer_of_each_cell(bench, rows):
    assert bench.report.summary(rows, ["numpy", "torch"]).splitlines()[2:] == [
        "| streaming step, B = 1 | 4.00 | 10.00 | 8.00 | 2.00 | 4.00 | 30.00 |"
    ]
    groups = {bench.report.group_of(cell) for cell in bench.grid.cells(bench.problem.WORKS, quick=False)}
    assert len(groups) == 24
    assert "training step with dropout, masks shared, H = 32" in groups and "ragged batch, T = 2000" in groups


def test_least_time_counts_operations_and_bytes(bench, monkeypatch):
    monkeypatch.setattr(bench.machine, "peak", lambda: 1e9)
    monkeypatch.setattr(bench.machine, "bandwidth", lambda size: 1e9)

    def least(work, batch, timesteps):
        return bench.machine.least_time(bench.problem.Cell(work, "lstm", batch, timesteps, 10)) * 1e9

    kernel = 4 * 10 * 10  # weights
    assert least("step", 1, 1) == pytest.approx(2 * 4 * kernel)
    assert least("sequence", 1, 7) == pytest.approx(7 * (2 * kernel + 4 * kernel))  # one row: bytes take longer
    assert least("sequence", 8, 7) == pytest.approx(7 * 8 * 4 * kernel)
    assert least("training", 8, 7) == pytest.approx(3 * least("sequence", 8, 7))
    assert least("bidirectional", 8, 7) == pytest.approx(5 * least("sequence", 8, 7))
    lengths = bench.problem.Cell("ragged", "lstm", 8, 100, 10).arrays()["lengths"].sum()
    assert 1 < least("ragged", 8, 100) / (lengths * 4 * kernel) < 1.2
    assert bench.machine.least_time(bench.problem.Cell("startup", "lstm", 1, 1, 10)) is None


def test_models_take_their_weights_and_learn(bench, tmp_path):
    for cell in bench.grid.cells(["fit"], quick=False):
        if cell.model == "language":  # takes seconds
            continue
        np.savez(tmp_path / "data.npz", **bench.fit.arrays(cell))
        work = bench.fit.work(rnnx, bench.problem.Problem(cell, tmp_path / "data.npz"))
        before = work.check()["y"]
        assert before.shape == (cell.batch, 1) and np.isfinite(before).all()
        assert len(work.call().history["loss"]) == 1
        assert not np.array_equal(before, work.check()["y"])


def test_gates_time_counts_activations(bench, monkeypatch):
    monkeypatch.setattr(bench.machine, "activation", {"sigmoid": 1.0, "tanh": 100.0}.__getitem__)

    def gates(work, kind, timesteps):
        return bench.machine.gates_time(bench.problem.Cell(work, kind, 8, timesteps, 10))

    assert gates("sequence", "lstm", 7) == gates("training", "lstm", 7) == 8 * 7 * 10 * 203
    assert gates("bidirectional", "gru", 7) == 4 * 8 * 7 * 10 * 102
    lengths = bench.problem.Cell("ragged", "lstm", 8, 100, 10).arrays()["lengths"].sum()
    assert gates("ragged", "lstm", 100) == lengths * 10 * 203


def test_8_bit_weights_are_compared_with_float32(bench):
    cell = bench.problem.Cell("int8", "lstm", 1, 100, 64)
    assert bench.measure.disagreement({"y": 0.1}, bench.measure.NARROW) is None
    far = {"rnnx": {"y": 3e-3}, "torch": {"y": 2e-2}}
    row = bench.measure.Row(cell, {"rnnx": 1e-4, "torch": 2e-4}, differences=far)
    text = bench.report.markdown([row], ["rnnx", "torch"], bench.report.about(["bench/peers"], 1, {}))
    assert "| sequence, 8-bit weights | 2.00 | - | - | 2.00 | 2.00 |" in text
    assert "- largest difference from float32: rnnx 3.0e-03, torch 2.0e-02" in text


def test_report_names_versions_and_missing_peers(bench, rows):
    facts = bench.report.about(["bench/peers"], 1, {"rnnx": {"rnnx": "1"}, "torch": {"torch": "2"}})
    text = bench.report.markdown(rows, ["rnnx", "numpy", "torch"], facts)
    assert "- torch: torch 2\n" in text and "`python bench/peers`" in text and bench.report.cpu_name() in text
    assert "- torch: disagrees: y by 1.0e+00 (1 of 2 cells)" in text and text.count("## ") == 1
    assert json.loads(json.dumps(rows[0].as_dict()))["cell"]["units"] == 32


def test_differences_are_absolute_for_outputs_and_relative_for_gradients(bench):
    expected = {"y": np.full(3, 10.0), "dx": np.full(3, 10.0)}
    worst = bench.measure.differences(expected, {"y": np.full(3, 10.5), "dx": np.full(3, 10.001)})
    assert math.isclose(worst["y"], 0.5) and math.isclose(worst["dx"], 1e-4, rel_tol=1e-6)
    assert bench.measure.disagreement(worst) == "disagrees: y by 5.0e-01"
    assert bench.measure.disagreement({"y": 1e-5, "dx": 9e-4}) is None
    assert bench.measure.disagreement({"y": math.nan}) is not None
    with pytest.raises(ValueError, match="shape"):
        bench.measure.differences(expected, {"y": np.zeros(2), "dx": np.zeros(3)})


def test_a_peer_that_fails_is_out(bench, rows):
    def turn(peer):
        if peer == "torch":
            raise bench.client.WorkerError("gone")
        return [2.0, 1.0, 4.0]

    row = bench.measure.Row(rows[0].cell)
    bench.measure.take_turns(row, ["rnnx", "torch"], turn, 2)
    assert row.seconds == {"rnnx": 2.0} and row.rounds == {"rnnx": [2.0, 2.0]}
    assert row.remarks == {"torch": "failed: gone"}


def test_grids(bench):
    for quick in (True, False):
        cells = bench.grid.cells(list(bench.problem.WORKS), quick)
        assert len(set(cells)) == len(cells) and {c.work for c in cells} == set(bench.problem.WORKS)
    assert set(bench.worker.MODULES) == {"rnnx", *bench.environments.REQUIREMENTS} - {"plots"}
    assert all((FOLDER / f"{module}.py").exists() for module in bench.worker.MODULES.values())


def test_lengths_of_long_batches_grow_with_them(bench):
    for timesteps, shortest in ((50, 10), (100, 10), (400, 40), (2000, 200)):
        lengths = bench.problem.Cell("ragged", "lstm", 500, timesteps, 1).arrays()["lengths"]
        assert shortest <= lengths.min() < 1.2 * shortest and 0.97 * timesteps < lengths.max() <= timesteps


def test_a_run_is_held_to_an_instruction_set(bench, capsys):
    held = bench.environments.variables("torch", 1, "avx2")
    assert (held["RNNX_ISA"], held["ONEDNN_MAX_CPU_ISA"], held["ATEN_CPU_CAPABILITY"]) == ("avx2", "AVX2", "avx2")
    assert held["OPENBLAS_CORETYPE"] == "Haswell" and "--xla_cpu_max_isa=AVX2" in held["XLA_FLAGS"]
    free = bench.environments.variables("torch", 1)
    assert "--xla_cpu_max_isa" not in free["XLA_FLAGS"] and free.get("ATEN_CPU_CAPABILITY") == os.environ.get(
        "ATEN_CPU_CAPABILITY"
    )
    assert bench.report.about(["bench/peers"], 1, {}, "avx2")["cpu"].endswith(", all held to AVX2")
    main = bench.main
    assert main.arguments(["--isa", "avx2"]).peers == ["numpy", "torch", "jax", "keras-jax", "keras-torch"]
    assert main.arguments([]).peers == main.PEERS
    with pytest.raises(SystemExit):
        main.arguments(["--isa", "avx2", "--peers", "torch", "litert"])
    assert "--isa avx2: litert cannot be held to it" in capsys.readouterr().err


def test_worker_prepares_and_times(bench, tmp_path):
    """The NumPy loop's results equal ours, and what it cannot do and what goes wrong is said."""
    from rnnx.functional import LSTMParams, lstm

    cell = bench.problem.Cell("training", "lstm", 2, 3, 4)
    data, result = tmp_path / "data.npz", tmp_path / "result.npz"
    np.savez(data, **cell.arrays())
    with bench.client.Client("numpy", sys.executable, 1, tmp_path / "log") as worker:
        assert worker.ask("versions")["versions"]["numpy"] == np.__version__
        assert worker.prepare(cell, data, result) is None
        times = worker.ask("time", repeats=2, seconds=10)["times"]
        assert len(times) == 2 and all(0 < t < 1 for t in times)
        dropped = bench.problem.Cell("dropout", "lstm", 2, 3, 4, "per gate")
        assert worker.prepare(dropped, data, result) == "one mask serves all gates"
        with pytest.raises(bench.client.WorkerError, match="FileNotFoundError"):
            worker.prepare(cell, tmp_path / "absent.npz", result)
    p = bench.problem.Problem(cell, data)
    run = lstm.forward(LSTMParams(*p.weights()), p.x, training=True)
    grads = lstm.backward(run.cache, p.dy)
    d = grads.dparams
    ours = bench.problem.gradients(run.outputs, grads.dx, d.kernel, d.recurrent_kernel, d.bias)
    assert bench.measure.disagreement(bench.measure.differences(ours, bench.measure.load(result))) is None


def test_a_dead_worker_is_an_error(bench, tmp_path):
    with bench.client.Client("numpy", sys.executable, 1, tmp_path / "log") as worker:
        worker.process.kill()
        with pytest.raises(bench.client.WorkerError, match="died"):
            worker.ask("versions")
