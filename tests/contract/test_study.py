"""The dropout study of `examples/dropout_study`: its small form runs, stops and goes on; its figures are right."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).parents[2] / "examples/dropout_study"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the study by its name; they import each other as files of one folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # which the modules set for themselves
        monkeypatch.setenv(name, "1")
    for path in FOLDER.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def run(out: Path) -> str:
    command = [sys.executable, "-W", "error", str(FOLDER / "run.py"), str(out), "--tiny", "--jobs", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_small_form_runs_and_goes_on_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    printed = run(tmp_path).splitlines()
    fits = tmp_path / "fits.jsonl"
    lines = fits.read_bytes().splitlines(keepends=True)
    keys = {tuple(json.loads(line)[name] for name in ("set", "cell", "arm", "rate", "seed")) for line in lines}
    assert len(keys) == 2 * 16 * 2 and len(printed) > len(lines) - 10
    assert all(" left" in line for line in printed if line.startswith("["))
    table = (tmp_path / "study.md").read_text(encoding="utf-8")

    fits.write_bytes(b"".join(lines[:-2]) + lines[-2][:40])
    assert len(run(tmp_path).splitlines()) == 2
    again = fits.read_bytes().splitlines(keepends=True)
    assert again[:-2] == lines[:-2]
    timed = {"seconds", "processor_seconds"}
    for one, other in zip(lines[-2:], again[-2:], strict=True):
        a, b = json.loads(one), json.loads(other)
        assert {k: v for k, v in a.items() if k not in timed} == {k: v for k, v in b.items() if k not in timed}
    until = table.index("## What the fits took")
    assert (tmp_path / "study.md").read_text(encoding="utf-8")[:until] == table[:until]


def test_the_cost_of_all_arms_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(FOLDER / "cost.py"), str(tmp_path), "--units", "3"]
    result = subprocess.run([*command, "--batches", "1", "--rounds", "1"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    table = (tmp_path / "cost.md").read_text(encoding="utf-8")
    assert table.strip() == result.stdout.strip() and len(re.findall(r"^\| .* \(\d", table, re.MULTILINE)) == 2 * 15


def test_a_full_disk_leaves_no_half_line(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = study("results").Results(tmp_path / "fits.jsonl")
    key = {"set": "vowels", "cell": "GRU", "arm": "none", "rate": 0.0, "seed": 0, "learning_rate": 0.1, "tiny": True}
    results.append(key)
    whole, write = results.path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    with pytest.raises(OSError, match="disk is full"):
        results.append({**key, "seed": 1})
    assert results.path.read_bytes() == whole and len(results.lines) == 1


def test_lines_of_other_settings_do_not_count(study: Any, tmp_path: Path) -> None:
    fit = study("fitting").Fit("vowels", "GRU", "none", 0.0, 0, 0.01, True)
    results = study("results").Results(tmp_path / "fits.jsonl")
    line = {**vars(fit), **fit.settings(), "test_score": 1.0}
    results.append({**line, "units": 99})
    assert results.find(fit) is None
    results.append(line)
    assert results.find(fit) == line


def test_differences_are_paired_and_have_the_interval_of_student(study: Any) -> None:
    of = study("report").Difference.of
    found = of([1.0, 2.0, 4.0])
    low, high = stats.t.interval(0.95, 2, 7 / 3, stats.sem([1.0, 2.0, 4.0]))
    assert found.text(3) == f"+2.333 [{low:+.3f}, {high:+.3f}]".replace("-", "−") and found.sign() == 0
    assert of([1.0, 1.1, 0.9]).sign() == 1 and of([-1.0, -1.1, -0.9]).sign() == -1
    assert of([5.0, 5.1]).sign() == 0 and of([5.0, 6.0]).text(1) == "+5.5" and of([]).text(1) == "–"
    assert of([0.0, 0.0, 0.0]).sign() == 0
    lines = [
        {"set": "s", "cell": "GRU", "arm": arm, "rate": rate, "seed": seed, "test_score": value}
        for arm, rate, values in (("none", 0.0, [50.0, 60.0, 70.0]), ("input", 0.5, [51.0, 61.5, 70.5]))
        for seed, value in enumerate(values)
    ]
    lines.append({**lines[-1], "seed": 7})  # without a partner
    table = study("report").Table(lines)
    assert table.difference("s", "GRU", ("input", 0.5), ("none", 0.0), "test_score") == of([1.0, 1.5, 0.5])


def test_pictures_and_tables_of_three_seeds(study: Any, tmp_path: Path) -> None:
    report, sets = study("report"), study("sets")
    results = study("results").Results(tmp_path / "fits.jsonl")
    random = np.random.default_rng(2)
    fixed = {"set": "vowels", "learning_rate": 0.1, "tiny": True, "units": 4, "batch": 40, "epochs": 1, "epochs_run": 1}
    gains = {"input": 5.0, "memory cell": -40.0}
    for cell in ("LSTM", "GRU"):
        for arm in study("arms").ARMS:
            report.write(tmp_path, results.lines, sets.TINY, 18)
            assert not list(tmp_path.glob("*.png")), "a picture of some kinds alone"
            gain = gains.get(arm, 0.0)
            for seed in range(3):
                score = 50 + gain + random.normal(scale=0.1)
                scores = {f"{part}_{name}": score for part in ("train", "test") for name in ("score", "loss")}
                rate = 0.0 if arm == "none" else 0.5
                made = {"cell": cell, "arm": arm, "rate": rate, "seed": seed, "versions": "1", "processor": "one"}
                results.append({**fixed, **made, **scores, "processor_seconds": 1.0})
    report.write(tmp_path, results.lines, sets.TINY, 18)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["vowels-dark.png", "vowels-light.png"]
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| input \| 0.5 \| 3 .*\*\*\+[45]\.", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^\| memory cell \| 0.5 .*\*\*−[34]\d\.", text, re.MULTILINE)) == 3


def test_the_page_is_what_the_fits_say(study: Any, tmp_path: Path) -> None:
    """docs/study/study.md, made of its fits.jsonl."""
    page = FOLDER.parents[1] / "docs/study/study.md"
    shutil.copy(page.with_name("fits.jsonl"), tmp_path)
    study("run").tables(study("results").Results(tmp_path / "fits.jsonl"))
    assert (tmp_path / "study.md").read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_arms_start_alike_and_drop_where_they_say(study: Any) -> None:
    arms = study("arms")
    x = np.random.default_rng(0).normal(size=(5, 6, 3)).astype("float32")
    plain = arms.build(arms.ARMS["none"], "LSTM", 0.0, 3, 4, classes=2, features=3)
    wanted = plain(x)
    for arm in arms.ARMS.values():
        model = arms.build(arm, "LSTM", 0.5, 3, 4, classes=2, features=3)
        for own, first in zip(model.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_array_equal(own, first, err_msg=arm.name)
        if arm.name != "zoneout":  # whose expectation stays on
            np.testing.assert_array_equal(model(x), wanted, err_msg=arm.name)
        assert np.array_equal(model(x, training=True), wanted) == (arm.name == "none"), arm.name
        other = arms.build(arms.ARMS["none"], "LSTM", 0.0, 4, 4, classes=2, features=3)
        assert not np.array_equal(other.get_weights()[0], plain.get_weights()[0])


def test_chorales_are_counted_as_published(study: Any) -> None:
    """Summed over the keys, averaged over all steps of all pieces together."""
    random = np.random.default_rng(1)
    said = [random.uniform(0.1, 0.9, (steps, 88)) for steps in (2, 7)]
    true = [random.integers(0, 2, (steps, 88)).astype(float) for steps in (2, 7)]

    class Model:
        def predict(self, x: Any, verbose: int) -> Any:
            return said

    nats = [np.where(y == 1, -np.log(p), -np.log(1 - p)).sum(axis=1) for p, y in zip(said, true, strict=True)]
    found = study("fitting").score(Model(), None, true, 0)
    np.testing.assert_allclose(found["score"], np.concatenate(nats).mean(), rtol=1e-12)


def test_a_file_that_is_not_the_one_is_refused(study: Any, tmp_path: Path) -> None:
    sets = study("sets")
    sets.FOLDERS[:] = [tmp_path / "none", tmp_path]
    with pytest.raises(sets.MissingData, match="JSB_Chorales.mat is in none of the folders"):
        sets.path_of("chorales")
    (tmp_path / "JSB_Chorales.mat").write_bytes(b"something else")
    with pytest.raises(sets.MissingData, match="SHA-256 differs"):
        sets.path_of("chorales")


def test_splits_do_not_overlap(study: Any) -> None:
    sets = study("sets")
    for own in (sets.vowels(3), sets.control(3)):
        seen = [np.asarray(x).tobytes() for part in (own.train, own.valid, own.test) for x in part[0]]
        assert len(set(seen)) == len(seen)
    assert len(sets.vowels(0).train[0]) == 216 and len(sets.vowels(0).test[0]) == 370
