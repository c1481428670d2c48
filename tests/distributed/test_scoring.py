"""A model in the workers of an engine: read once, and only if it is the one that the work was planned with."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.distributed import scoring
from rnnx.distributed.scoring import Scorer, checksum_of

RNG = np.random.default_rng(8)
X = RNG.normal(size=(70, 7, 3)).astype(np.float32)
RAGGED = [X[k, : k % 8] for k in range(70)]


@pytest.fixture(autouse=True)
def new_process(monkeypatch: Any) -> None:
    monkeypatch.setattr(scoring, "_read", {})


def scorer_of(path: Any, **more: Any) -> Scorer:
    return Scorer("score", path, **{"batch_size": None, "threads": 1, "custom_objects": None, **more})


def sent(scorer: Scorer) -> Scorer:
    """As it arrives at a worker."""
    data = pickle.dumps(scorer)
    assert len(data) < 1000
    found: Scorer = pickle.loads(data)
    return found


def test_it_travels_as_a_path(models: Any) -> None:
    found = sent(scorer_of(models["pooled"], batch_size=8))
    assert not hasattr(found, "model") and found.predictor().threads == 1
    wanted = rnnx.load_model(models["pooled"]).predict(X, 8)
    np.testing.assert_array_equal(found.in_form(found.outputs(X)), wanted)


def test_a_process_reads_the_file_once(models: Any, monkeypatch: Any) -> None:
    scorer = scorer_of(models["pooled"])
    monkeypatch.setattr(scoring, "checksum_of", lambda path, read=[]: read.append(path) or checksum_of(path))
    first = sent(scorer).predictor()
    for task in (sent(scorer), sent(scorer), scorer_of(models["pooled"])):
        assert task.predictor() is first
    assert sent(scorer_of(models["steps"])).predictor() is not first


def test_each_plan_has_its_own_number_of_threads(models: Any, monkeypatch: Any) -> None:
    seen: list[int] = []
    predict = rnnx.Model.predict
    monkeypatch.setattr(
        rnnx.Model, "predict", lambda self, *x: seen.append(rnnx.get_num_threads()) or predict(self, *x)
    )
    for count in (1, 3, 1):
        sent(scorer_of(models["pooled"], threads=count)).outputs(X)
    assert seen == [1, 3, 1] and len(scoring._read) == 2


def test_a_file_that_was_replaced_is_refused(tmp_path: Path, models: Any) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(models["pooled"].read_bytes())
    old, late = sent(scorer_of(path)), sent(scorer_of(path))
    wanted = old.outputs(X)[0]
    rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(2)]).save(path)
    np.testing.assert_array_equal(late.outputs(X)[0], wanted)  # was read before
    scoring._read.clear()
    with pytest.raises(RuntimeError, match=r"model\.keras on a worker is not the file that the work was planned with"):
        late.outputs(X)
    assert scorer_of(path).outputs(X)[0].shape == (70, 2)
    path.unlink()
    scoring._read.clear()
    with pytest.raises(FileNotFoundError, match=r"a worker has no file .*model\.keras; all need it under that path"):
        late.outputs(X)


def test_few_models_are_kept(models: Any, tmp_path: Path) -> None:
    for k in range(scoring.MOST_READ + 3):
        path = tmp_path / f"{k}.keras"
        path.write_bytes(models["vectors"].read_bytes())
        scorer_of(path).predictor()
    assert len(scoring._read) == scoring.MOST_READ and str(path) in {key[0] for key in scoring._read}


def test_checksums(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside/file").write_bytes(b"1")
    assert checksum_of(str(tmp_path / "a")) == checksum_of(str(tmp_path / "b"))
    (tmp_path / "b/inside/file").write_bytes(b"2")
    (tmp_path / "c/inside/file").rename(tmp_path / "c/inside/other")
    assert len({checksum_of(str(tmp_path / name)) for name in "abc"}) == 3
    # Of SHA-256 itself, in FIPS 180-2.
    (tmp_path / "abc").write_bytes(b"abc")
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with open(tmp_path / "abc", "rb") as file:
        assert checksum_of(str(tmp_path / "abc")) == scoring._sha(file) == wanted


def test_objects_of_ones_own(tmp_path: Path) -> None:
    class Twice(layers.Layer):
        factor = 2.0

        def call(self, x: Any) -> Any:
            return x * self.factor

    class Thrice(Twice):
        factor = 3.0

    path = tmp_path / "m.safetensors"
    rnnx.Sequential([rnnx.Input((None, 3)), Twice(name="twice")]).save(path)
    found = [scorer_of(path, custom_objects={"Twice": kind}).outputs(X)[0] for kind in (Twice, Thrice)]
    np.testing.assert_array_equal(found[0], X * 2)
    np.testing.assert_array_equal(found[1], X * 3)  # another object under the same name and the same file
    given = scorer_of(rnnx.Predictor(path, threads=2, custom_objects={"Twice": Thrice}))
    assert given.threads == 2
    np.testing.assert_array_equal(given.outputs(X)[0], X * 3)


def test_rows_of_a_stream(models: Any) -> None:
    taken = 0

    def stream() -> Any:
        nonlocal taken
        for row in RAGGED:
            taken += 1
            yield row

    found = scorer_of(models["steps"], batch_size=1).rows(stream())
    first = next(found)
    assert taken == scoring.AT_ONCE  # and not the whole
    rows = [first, *found]
    for row, wanted in zip(rows, rnnx.load_model(models["steps"]).predict(RAGGED), strict=True):
        np.testing.assert_allclose(row, wanted, atol=1e-6)
    assert list(scorer_of(models["steps"]).rows([])) == []
    ids = [[1, 2, 3], [4], [2, 2]]
    wanted = rnnx.load_model(models["ids"]).predict(ids)
    np.testing.assert_allclose(list(scorer_of(models["ids"]).rows(iter(ids))), wanted, atol=1e-6)


def test_several_outputs(models: Any) -> None:
    scorer, y = scorer_of(models["two"]), np.ones((70, 2), np.float32)
    found = sent(scorer).outputs([X, y])
    assert [part.shape for part in found] == [(70, 7, 1), (70, 4)]
    assert sorted(scorer.in_form(found)) == ["p", "q"]
    samples = scorer.sample([(7, 3), (2,)], [np.float32, np.float64])
    assert [part.shape for part in samples] == [(1, 7, 1), (1, 4)]


def test_what_is_refused(tmp_path: Path, models: Any) -> None:
    path = tmp_path / "m.keras"
    rnnx.Sequential([rnnx.Input(batch_shape=(2, None, 3)), layers.GRU(2, stateful=True)]).save(path)
    with pytest.raises(ValueError, match=r"score: sequential.* is stateful: its outputs depend on the order"):
        scorer_of(path)
    for wrong in (0, True, 2.0):
        with pytest.raises(ValueError, match="score: `batch_size` must be a positive integer or None, got"):
            scorer_of(models["pooled"], batch_size=wrong)
    with pytest.raises(FileNotFoundError, match="no such file"):
        scorer_of(tmp_path / "other")
    with pytest.raises(ValueError, match=r"must have shape \(batch, any, 3\), got \(1, 7, 2\)"):
        scorer_of(models["pooled"]).sample([(7, 2)], [np.float32])
