"""Training by several processes: the numbers of one process, errors in all ranks, jobs that end and go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnx import utils

from . import programs

pytestmark = pytest.mark.mpi


def assert_same(found: Any, want: Any, exact: bool = False) -> None:
    weights, history = found
    for own, other in zip(weights, want[0], strict=True):
        if exact:
            np.testing.assert_array_equal(own, other)
        np.testing.assert_allclose(own, other, rtol=2e-5, atol=2e-6)
    assert history.keys() == want[1].keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, want[1][name], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_numbers_of_one_process_and_the_same_bits_each_time(mpirun: Callable[..., Any], ranks: int) -> None:
    job = mpirun("trainings", ranks=ranks)
    assert job.code == 0, job.output
    for name in programs.TRAININGS:
        utils.set_random_seed(1)
        want = getattr(programs, name)()
        for rank in range(ranks):
            assert_same(job.found[rank][name], want)
            for own, other in zip(job.found[rank][name][0], job.found[0][name][0], strict=True):
                np.testing.assert_array_equal(own, other, err_msg=f"{name}: ranks differ")
    if ranks == 2:
        again = mpirun("trainings", ranks=ranks)
        for name in programs.TRAININGS:
            assert_same(again.found[1][name], job.found[0][name], exact=True)


SAID = {
    "own loss": (r"ValueError.*one value for each row", r"ValueError.*one value for each row"),
    "dice": (r"ValueError.*the loss 'dice'",) * 2,
    "across": (r"ValueError.*the loss 'cosine_similarity'",) * 2,
    "add_loss": (r"ValueError.*penalised calls add_loss",) * 2,
    "stateful": (r"ValueError.*stateful=True",) * 2,
    "other data": (r"ValueError.*the data `x` must be the same on all ranks",) * 2,
    "other batch size": (r"ValueError.*batch size must be the same on all ranks, got 4 on rank 0 and 5 on rank 1",) * 2,
    "other epochs": (r"ValueError.*`epochs` must be the same on all ranks, got 1 on rank 0 and 2 on rank 1",) * 2,
    "other model": (r"ValueError.*the model must be the same on all ranks",) * 2,
    "error in one rank": (r"RankError: rank 1 of 2, at `fit`: OSError: disk 7 is gone", r"OSError: disk 7 is gone"),
    "other batches": (r"ValueError.*the batches of the ranks differ",) * 2,
    "batches end": (r"RankError.*rank 0 is at a batch of `fit`; rank 1 is at the end of an epoch",) * 2,
    "another method": (r"RankError: the ranks are not at the same place.*`fit`.*`evaluate`",) * 2,
    "moved": (r"the weights of rank 1 and of rank 0 differ after an epoch",) * 2,
    "callback": (r"PermissionError: no such place", r"RankError: rank 0 of 2, at `fit`: PermissionError"),
    "argument": (r"RankError: rank 1 of 2, at `fit`: ValueError.*epochs", r"ValueError.*`epochs` must be an integer"),
    "evaluate": (r"ValueError.*the weights of rank 1 and of rank 0 differ before an evaluation",) * 2,
    "stops": (r"\[0\] 2",) * 2,
    "stops at the end": (r"\[0\] 8 1",) * 2,
    "diverged": (r"nan",) * 2,
    "interrupted": (r"True 3",) * 2,
    "late and wordless": (r"rank 1 of 2, at `fit`: Wordless: its message raises ZeroDivisionError", r"Wordless$"),
    "cannot travel": (
        r"AttributeError: .*pickle",
        r"RankError: rank 0 of 2, at `fit`: AttributeError: .*pickle",
    ),
    "moved between steps": (r"the weights of rank 1 and of rank 0 differ after a batch",) * 2,
    "interrupted exchange": (r"RankInterrupt", r"KeyboardInterrupt"),
    "fit_many": (r"fit_many: .*data_parallel",) * 2,
}


def test_what_is_refused_or_raised_is_so_on_every_rank(mpirun: Callable[..., Any]) -> None:
    job = mpirun("refusals")
    assert job.code == 0, job.output
    for rank in range(2):
        found = job.found[rank]
        assert found.keys() == SAID.keys()
        for name, said in SAID.items():
            assert re.match(said[rank], found[name].removeprefix("data_parallel: ")), (rank, name, found[name])


def test_callbacks_decide_alike_and_the_first_rank_writes(mpirun: Callable[..., Any], tmp_path: Path) -> None:
    job = mpirun("patient")
    assert job.code == 0, job.output
    first, second = job.found[0], job.found[1]
    assert first["epochs"] == second["epochs"] == [0, 1] and first["events"] == second["events"]
    assert first["rate"] == second["rate"] == pytest.approx(0.001 / 2)
    for own, other in zip(first["weights"], second["weights"], strict=True):
        np.testing.assert_array_equal(own, other)
    assert [path.name for path in tmp_path.glob("of_*")] == ["of_0.safetensors"]
    assert len(re.findall("^epoch 1/9", job.output, re.MULTILINE)) == 1


def test_a_killed_rank_ends_the_job_which_goes_on_from_its_checkpoint(
    mpirun: Callable[..., Any], tmp_path: Path
) -> None:
    whole = mpirun("to_the_end")
    assert whole.code == 0, whole.output
    (tmp_path / "backup" / "latest.npz").unlink()
    (tmp_path / "log.csv").unlink()
    job = mpirun("killed")
    assert job.code != 0 and not job.found
    # MPICH's mpiexec kills the others and says which rank died; Open MPI's asks them to end, and they say so.
    said = "BAD TERMINATION" in job.output or "rank 0 of 2 ends: the job was terminated" in job.output
    assert said and "Traceback" not in job.output
    again = mpirun("to_the_end")
    assert again.code == 0 and again.found[0][1]["epoch"] == [2, 3], again.output  # 5 batches are an epoch
    for rank in range(2):
        for own, other in zip(again.found[rank][0], whole.found[rank][0], strict=True):
            np.testing.assert_array_equal(own, other)
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().split()] == ["epoch", *"0123"]


@pytest.mark.parametrize("where", ["raises_inside", "raises_outside", "caught_in_one_rank"])
def test_an_error_that_nobody_catches_ends_the_job(mpirun: Callable[..., Any], where: str) -> None:
    job = mpirun(where, timeout=30)
    assert job.code != 0 and job.seconds < 20
    assert job.output.count("ZeroDivisionError: rank 1 has no data") >= 1
    if where == "raises_inside":
        assert re.search(r"rank 0 of 2 ends: rank 1 of 2, at .*: ZeroDivisionError: rank 1 has no data", job.output)


def test_a_rank_that_ends_before_the_others_come_to_it_ends_the_job(mpirun: Callable[..., Any]) -> None:
    job = mpirun("raises_no_error", timeout=30)
    assert job.code != 0 and job.seconds < 20
    assert "rank 1 of 2 has ended, and rank 0 waits for it at the start of `data_parallel`" in job.output


def test_the_program_of_the_page(mpirun: Callable[..., Any], tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/distributed.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (program,) = [block for block in blocks if "data_parallel" in block]
    (tmp_path / "train.py").write_text(program)
    job = mpirun(script="train.py")
    assert job.code == 0, job.output
    assert "epoch 3/3" in job.output and (tmp_path / "model.safetensors").exists()
