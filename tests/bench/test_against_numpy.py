"""The bench in its tiny profile: both sides agree, and the table and the file hold all workloads."""

import json

import pytest

from rnnx._bench import against_numpy as bench


@pytest.fixture(autouse=True)
def one_blas_thread(monkeypatch):
    for name in bench.THREADS:
        monkeypatch.setenv(name, "1")


def test_tiny_profile(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert bench.main(["--profile", "tiny", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert {r["work"] for r in rows} == {"step", "sequence", "training", "dropout", "ragged"}
    assert {r["cell"] for r in rows} == {"lstm", "gru"}
    assert all(r["difference"] < 2e-5 and r["numpy"] > 0 and r["rnnx"] > 0 for r in rows)
    text = capsys.readouterr().out
    assert text.count("| training | ") == 3 and "geometric mean" in text


def test_a_wrong_result_is_noticed(monkeypatch):
    monkeypatch.setattr(bench.NumpyLSTM, "forward", lambda self, x, *masks: x + 1)
    with pytest.raises(AssertionError, match="differ"):
        bench.run("tiny", ["sequence"])


def test_it_pins_blas_by_starting_itself_again(monkeypatch):
    monkeypatch.delenv(bench.THREADS[0])
    seen = {}

    class Done:
        returncode = 0

    def run(command, env):
        seen.update(command=command, env=env)
        return Done()

    monkeypatch.setattr(bench.subprocess, "run", run)
    assert bench.main(["--profile", "tiny"]) == 0
    assert all(seen["env"][name] == "1" for name in bench.THREADS) and "--profile" in seen["command"]
