"""The command line as a user meets it."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import rnnx
from rnnx.cli import main


@pytest.fixture
def model_file(tmp_path):
    model = rnnx.Sequential([rnnx.layers.GRU(4, name="first", input_shape=(None, 3)), rnnx.layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 5, 3)), np.zeros((4, 2)), verbose=0)
    path = tmp_path / "m.safetensors"
    model.save(path, include_optimizer=True)
    return path


def test_info(model_file, capsys):
    assert main(["info", str(model_file)]) == 0
    text = capsys.readouterr().out
    for word in ("model, written by rnnx", "first (GRU)", "recurrent_kernel", "float32 (4, 12)", "Adam"):
        assert word in text


@pytest.mark.parametrize("make", ["missing", "empty", "cut", "folder", "suffix"])
def test_info_of_something_else_is_one_clear_line(make, model_file, tmp_path, capsys):
    path = tmp_path / "other.safetensors"
    if make == "empty":
        path.write_bytes(b"")
    elif make == "cut":
        path.write_bytes(model_file.read_bytes()[:-7])
    elif make == "folder":
        path.mkdir()
    elif make == "suffix":
        path = tmp_path / "other.txt"
        path.write_text("hello")
    assert main(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rnnx: ") and error.count("\n") == 1 and path.name in error


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["info"], ["demo", "--what"], ["bench", "--profile", "huge"]])
def test_bad_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage:" in capsys.readouterr().err


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "rnnx", *arguments], capture_output=True, text=True, timeout=120, **options
    )


def test_as_a_module():
    assert run("--version").stdout == f"rnnx {rnnx.__version__}\n"
    result = run("info", "nowhere.safetensors")
    assert result.returncode == 2 and "Traceback" not in result.stderr


def test_a_closed_pipe_is_quiet():
    result = subprocess.run(
        f"{sys.executable} -m rnnx demo --tiny | head -1", shell=True, capture_output=True, text=True, timeout=120
    )
    assert result.stdout.startswith("Japanese vowels") and result.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "rnnx", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
