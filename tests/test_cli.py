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
from rnnx.formats import convert, torch
from rnnx.saving import FORMATS

from .golden import store


@pytest.fixture
def model_file(tmp_path):
    model = rnnx.Sequential(
        [rnnx.layers.GRU(4, name="first", input_shape=(None, 3)), rnnx.layers.Dense(2, name="dense")]
    )
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


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["info"], ["demo", "--what"], ["convert", "a"], ["bench", "--profile", "huge"]]
)
def test_bad_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage:" in capsys.readouterr().err


FILES = store.DATA / "torch_files"


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_info_of_files_of_torch(name, capsys):
    assert main(["info", str(FILES / name)]) == 0
    text = capsys.readouterr().out
    assert "framework: PyTorch" in text and " parameters" in text and "weight_ih" in text


def test_info_prints_nothing_that_moves_the_cursor(tmp_path, capsys):
    torch.save({"evil\x1b[2J\nname": rnnx.Sequential([rnnx.layers.Dense(2, input_shape=(3,))])}, tmp_path / "m.pt")
    assert main(["info", str(tmp_path / "m.pt")]) == 2  # no module of PyTorch has such a name
    told = capsys.readouterr()
    assert "evil" in told.err and told.err.count("\n") == 1 and "\x1b" not in told.err + told.out


# ---- convert --------------------------------------------------------------------------------------------------------


def outputs(path, x, **options):
    module = convert.reader_of(path)
    if module is torch:
        return torch.load(path, **options)[""](x)
    return module.load_model(path)(x)


@pytest.mark.parametrize("suffix", sorted(FORMATS.keys() - {".h5", ".hdf5", ".json"}))
@pytest.mark.parametrize("name", ["lstm.pt", "gru_stack.pth", "lstm_legacy.pt", "whole_module.pt", "lstm.safetensors"])
def test_convert_from_torch(name, suffix, tmp_path, capsys):
    target = tmp_path / f"out{suffix}"
    assert main(["convert", str(FILES / name), str(target)]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_allclose(outputs(target, x), torch.load(FILES / name)[""](x), rtol=0, atol=1e-6)
    back = tmp_path / "back.pt"
    assert main(["convert", str(target), str(back)]) == 0
    np.testing.assert_allclose(outputs(back, x), torch.load(FILES / name)[""](x), rtol=0, atol=1e-6)


def test_convert_a_model(model_file, tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    for target in ("a.pt", "b.safetensors"):
        options = ["--torch"] if target.startswith("b") else []
        assert main(["convert", str(model_file), str(tmp_path / target), *options]) == 0
        text = capsys.readouterr().out
        assert "not in the file" in text
        made = torch.load(tmp_path / target)
        np.testing.assert_allclose(made["dense"](made["first"](x)[:, -1]), rnnx.load_model(model_file)(x), atol=1e-6)


@pytest.mark.parametrize("suffix", [None, ".npy", ".npz"])
@pytest.mark.parametrize("mode", ["bf16", "int8", "int8x16", "int16"])
def test_convert_to_weights_of_fewer_bits(mode, suffix, model_file, tmp_path, capsys):
    x, target = np.random.default_rng(0).normal(size=(20, 5, 3)).astype("float32"), tmp_path / "small.safetensors"
    options = ["--quantize", mode]
    if suffix:
        data = tmp_path / f"data{suffix}"
        np.save(data, x) if suffix == ".npy" else np.savez(data, first=x)
        options += ["--calibration", str(data)]
    assert main(["convert", str(model_file), str(target), *options]) == 0
    text = capsys.readouterr().out
    assert f"on {tmp_path / f'data{suffix}' if suffix else 'random input'}, {mode}: outputs move by at most" in text
    model = rnnx.load_model(model_file)
    model.quantize(mode, x if suffix else None)
    assert np.array_equal(rnnx.load_model(target)(x), model(x))
    assert main(["convert", str(target), str(tmp_path / "again.safetensors"), *options]) == 2
    assert "quantized already" in capsys.readouterr().err


def test_convert_within_a_tolerance(model_file, tmp_path, capsys):
    data, target = tmp_path / "x.npy", tmp_path / "small.safetensors"
    np.save(data, np.random.default_rng(0).normal(size=(20, 5, 3)).astype("float32"))
    options = ["--quantize", "int8", "--calibration", str(data), "--tolerance"]
    assert main(["convert", str(model_file), str(target), *options, "0.5"]) == 0
    assert "int8: outputs move by at most" in capsys.readouterr().out
    target.unlink()
    assert main(["convert", str(model_file), str(target), *options, "1e-9"]) == 2
    assert "tolerance=1e-09" in capsys.readouterr().err and not target.exists()


def test_convert_a_chain_of_modules(tmp_path, capsys):
    target, names = tmp_path / "out.safetensors", "embedding,encoder.0,conv,layer_norm"
    assert main(["convert", str(FILES / "network.pt"), str(target), "--modules", names]) == 0
    assert rnnx.load_model(target)(np.array([[1, 2, 3, 4]])).shape == (1, 2, 5)
    assert main(["convert", str(FILES / "network.pt"), str(tmp_path / "all.safetensors"), "--torch"]) == 0
    assert "7 modules" in capsys.readouterr().out
    assert len(torch.load(tmp_path / "all.safetensors")) == 7


@pytest.mark.parametrize(
    "source, target, options, words",
    [
        ("network.pt", "out.safetensors", [], "how they are connected"),
        ("network.pt", "out.safetensors", ["--modules", "nothing"], "no module 'nothing'"),
        ("nothing.pt", "out.safetensors", [], "no such file"),
        ("lstm.pt", "out.txt", [], "'.txt'"),
        ("lstm.pt", "out.onnx", ["--torch"], "end in .pt"),
        ("lstm.pt", "nowhere/out.safetensors", [], "nowhere"),
        ("lstm.pt", "lstm.pt", [], "same file"),
        ("damaged.pt", "out.safetensors", [], "damaged.pt"),
        ("own.safetensors", "out.safetensors", ["--modules", "a"], "PyTorch's files only"),
        ("own.safetensors", "out.pt", [], "recurrent_dropout=0.5"),
        ("weights.safetensors", "out.pt", [], "holds weights"),
        ("own.safetensors", "out.onnx", ["--quantize", "int8"], "only rnnx' own .safetensors"),
        ("own.safetensors", "out.safetensors", ["--quantize", "int8", "--torch"], "only rnnx' own .safetensors"),
        ("own.safetensors", "out.safetensors", ["--calibration", "{folder}/x.npy"], "`quantize`"),
        ("own.safetensors", "out.safetensors", ["--tolerance", "0.01"], "`quantize`"),
        (
            "own.safetensors",
            "out.safetensors",
            ["--quantize", "int8", "--tolerance", "0.1"],
            "needs `calibration_data`",
        ),
        ("own.safetensors", "out.safetensors", ["--quantize", "int8", "--calibration", "{folder}/x.npy"], "(2, 5, 7)"),
        (
            "own.safetensors",
            "out.safetensors",
            ["--quantize", "bf16", "--calibration", "{folder}/no.npy"],
            "no.npy: no such file",
        ),
        ("own.safetensors", "out.safetensors", ["--quantize", "bf16", "--calibration", "{folder}/lstm.pt"], "numbers"),
        ("own.safetensors", "out.safetensors", ["--quantize", "bf16", "--calibration", "{folder}/a.npy"], "a.npy"),
    ],
)
def test_convert_refuses_and_leaves_what_was_there(source, target, options, words, tmp_path, capsys):
    for name in ("network.pt", "lstm.pt"):
        (tmp_path / name).write_bytes((FILES / name).read_bytes())
    (tmp_path / "damaged.pt").write_bytes((FILES / "lstm.pt").read_bytes()[:-900])
    own = rnnx.Sequential([rnnx.layers.LSTM(4, recurrent_dropout=0.5, input_shape=(None, 3))])
    own.save(tmp_path / "own.safetensors")
    own.save_weights(tmp_path / "weights.safetensors")
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 7), "float32"))
    (tmp_path / "a.npy").write_bytes(b"")
    options = [option.format(folder=tmp_path) for option in options]
    if not (tmp_path / target).exists() and "/" not in target:
        (tmp_path / target).write_bytes(b"precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["convert", str(tmp_path / source), str(tmp_path / target), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rnnx: ") and error.count("\n") == 1 and words in error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_convert_compares_before_it_writes(model_file, tmp_path, capsys, monkeypatch):
    """A writer that gets a weight wrong is caught."""
    honest = torch.state_dict

    def wrong(layers, prefix=""):
        return {name: array + 0.01 for name, array in honest(layers, prefix).items()}

    monkeypatch.setattr(torch, "state_dict", wrong)
    assert main(["convert", str(model_file), str(tmp_path / "out.pt")]) == 2
    assert "outputs differ by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [model_file.name]


def test_convert_a_model_that_draws_noise_in_every_call(tmp_path, capsys):
    x = rnnx.Input((None, 3))
    model = rnnx.Model(x, rnnx.layers.Dropout(0.5)(rnnx.layers.GRU(4)(x), training=True))
    model.save(tmp_path / "m.safetensors")
    assert main(["convert", str(tmp_path / "m.safetensors"), str(tmp_path / "n.safetensors")]) == 0
    assert "draws noise" in capsys.readouterr().out


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
