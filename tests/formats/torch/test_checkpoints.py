"""Checkpoints as people save them: a state dict beside objects that nobody makes, and files under any suffix."""

from __future__ import annotations

import collections
import datetime
import io
import pathlib
import pickle
import shutil
import zipfile
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import info, torch
from rnnx.formats.convert import convert
from rnnx.formats.torch import _write
from rnnx.formats.torch._pickle import Machine
from rnnx.formats.torch._values import OPAQUE
from rnnx.saving import FormatError
from tests.golden import store

FILES = store.DATA / "torch_files"
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


class TorchVersion(str):
    """As in torch.torch_version: an object of a class that is made with an argument."""


class Backend:
    """As in torch.nn.backends of PyTorch 1.0: made by a call without arguments."""

    def __reduce__(self) -> Any:
        return Backend, ()


def record(size: Any, number: str, kind: str = "FloatStorage") -> bytes:
    """The opcodes of a tensor in storage `number`."""
    strides = [int(np.prod(size[k + 1 :])) for k in range(len(size))]
    storage = b"(" + _write._text("storage") + _write._name("torch", kind) + _write._text(number) + _write._text("cpu")
    return (
        _write._name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + _write._integer(int(np.prod(size)))
        + b"tQ" + _write._integer(0) + _write._numbers(size) + _write._numbers(strides) + b"\x89}tR"
    )  # fmt: skip


def pickled(value: Any) -> bytes:
    """The opcodes of an object, as Python writes them, without numbers in the memo that others have."""
    text = pickle.dumps(value, 2)[2:-1]
    return pickle.dumps(value, 4)[2:-1] if b"q" in text else text


def table(items: dict[str, Any]) -> bytes:
    made = b"}"
    for name, value in items.items():
        own = value if isinstance(value, bytes) else table(value) if type(value) is dict else pickled(value)
        made += _write._text(name) + own + b"s"
    return made


STATE = {"fc.weight": record((2, 3), "0"), "fc.bias": record((2,), "1")}
LOOSE = record((), "2")
NUMBERS = {"0": WEIGHT.tobytes(), "1": np.float32([1, 2]).tobytes(), "2": np.float32([0.25]).tobytes()}
OBJECTS = {
    "path": pathlib.PurePosixPath("/a/b"),
    "counter": collections.Counter("aab"),
    "version": TorchVersion("2.1"),
    "backend": Backend(),
    "array": np.arange(3.0),
    "number": np.float64(3.5),
    "day": datetime.date(2020, 2, 3),
    "set": {1, 2},
    "nothing": None,
}


def write(path: Any, value: dict[str, Any]) -> Any:
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("m/data.pkl", b"\x80\x02" + table(value) + b".")
        for number, data in NUMBERS.items():
            target.writestr(f"m/data/{number}", data)
        target.writestr("m/byteorder", b"little")
    return path


def checked(path: Any, **options: Any) -> None:
    layer = torch.load(path, **options)["fc"]
    np.testing.assert_array_equal(layer.kernel, WEIGHT.T)
    np.testing.assert_array_equal(layer.bias, [1, 2])


@pytest.mark.parametrize(
    "value",
    [
        {"epoch": 3, "model_state_dict": STATE, "loss": LOOSE},
        {"loss": LOOSE, "mean": LOOSE, "rng_state": record((4,), "2", "ByteStorage"), "encoder": STATE},
        {"weight": LOOSE, "model": STATE},
        {"encoder": STATE, "figures": {"mean": LOOSE, "std": LOOSE}},
        {"net": {"model_state_dict": STATE, "best": LOOSE}, "epoch": 3},
        {"net": {"model_state_dict": STATE, "best": 3}, "loss": LOOSE},
        {**STATE, "config": {"layers": 3}},
    ],
    ids=["recipe", "loose", "weights", "figures", "deep", "loose and deep", "flat"],
)
def test_tensors_beside_a_state_dict(value: dict[str, Any], tmp_path: Any) -> None:
    checked(write(tmp_path / "c.pt", value))


def test_two_state_dicts_are_still_a_question(tmp_path: Any) -> None:
    path = write(tmp_path / "c.pt", {"a": STATE, "b": STATE, "loss": LOOSE})
    with pytest.raises(FormatError, match="several state dicts; say which by key=, one of 'a', 'b'"):
        torch.load(path)
    checked(path, key="b")


def test_a_list_of_state_dicts(tmp_path: Any) -> None:
    """As ensembles are saved: a list of the state dicts of their members."""
    value = {"config": {"layers": 3}, "members": items(STATE, STATE), "loss": LOOSE}
    path = write(tmp_path / "c.pt", value)
    with pytest.raises(FormatError, match="several state dicts; say which by key=, one of 'members.0', 'members.1'"):
        torch.load(path)
    checked(path, key="members.1")
    with pytest.raises(FormatError, match="there is no entry 'members.2'; there are '0', '1'"):
        torch.load(path, key="members.2")
    checked(write(tmp_path / "one.pt", {"members": items(STATE)}))


def items(*values: dict[str, Any]) -> bytes:
    return b"](" + b"".join(table(value) for value in values) + b"e"


def test_what_stands_beside_modules_without_a_layer_is_listed(tmp_path: Any) -> None:
    state = {**STATE, "transitions": record((2, 3), "0"), "crf.start": record((2,), "1")}
    with pytest.raises(FormatError, match=r"'transitions' .* 'crf' .*the others are modules=\['fc'\]"):
        torch.load(write(tmp_path / "c.pt", state))
    checked(tmp_path / "c.pt", modules=["fc"])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("number", [np.int64(2), np.int32(2), np.uint8(2), np.float64(2), np.float16(2)])
def test_numbers_of_numpy_are_numbers(number: Any, protocol: int, tmp_path: Any) -> None:
    """Which arguments of modules are where they were computed."""
    data = pickle.dumps({"n": number, "of": [np.bool_(True)]}, protocol)
    made = Machine(memoryview(data), "it").load()
    assert made == {"n": 2, "of": [True]} and type(made["n"]) in (int, float) and type(made["of"][0]) is bool


def test_numbers_of_numpy_in_the_other_byte_order() -> None:
    data = pickle.dumps(np.int32(258), 4).replace(b"\x8c\x01<", b"\x8c\x01>").replace(b"\2\1\0\0", b"\0\0\1\2")
    assert Machine(memoryview(data), "it").load() == 258
    for damaged in (data.replace(b"i4", b"i8"), data.replace(b"i4", b"O8"), data.replace(b"\x8c\x01>", b"\x8c\x01?")):
        assert damaged != data and Machine(memoryview(damaged), "it").load() is OPAQUE


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_beside_a_state_dict(name: str, tmp_path: Any, monkeypatch: Any) -> None:
    """None of them is made, whatever making it would do."""
    value = OBJECTS[name]
    path = write(tmp_path / "c.pt", {"before": value, "state_dict": STATE, "args": {"inside": value}})
    for kind in (pathlib.PurePosixPath, collections.Counter, TorchVersion, Backend):
        monkeypatch.setattr(kind, "__new__", lambda *_: pytest.fail("an object was made"), raising=False)
    checked(path)


def test_what_was_not_called_is_said(tmp_path: Any) -> None:
    path = write(tmp_path / "c.pt", {"counter": OBJECTS["counter"], "state_dict": STATE})
    assert any("not called" in line and "collections.Counter" in line for line in info.lines(path))
    path = write(tmp_path / "n.pt", {"counter": OBJECTS["counter"], "loss": 0.5})
    with pytest.raises(FormatError, match="holds no state dict; refused to call collections.Counter"):
        torch.load(path)


def test_a_stand_in_is_called_and_filled_like_an_object(tmp_path: Any) -> None:
    """``getattr(Class, "make")(3)`` and what it is given afterwards."""
    made = b"c__builtin__\ngetattr\ncx\ny\nX\x04\x00\x00\x00make\x86RK\x03\x85R}X\x01\x00\x00\x00aK\x01sb"
    checked(write(tmp_path / "c.pt", {"object": made, "state_dict": STATE}))


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".model", ".pkl", "", ".h5", ".onnx"])
@pytest.mark.parametrize("name", ["whole_module.pt", "lstm_legacy.pt", "lstm.safetensors"])
def test_the_content_says_what_a_file_is(name: str, suffix: str, tmp_path: Any) -> None:
    path = tmp_path / f"file{suffix}"
    shutil.copy(FILES / name, path)
    assert torch.load(path)[""].count_params() > 0
    assert "PyTorch" in "\n".join(info.lines(path))
    convert(path, tmp_path / "m.safetensors")
    if name != "lstm.safetensors":
        assert rnnx.load_model(path).count_params() > 0


def test_other_kinds_under_another_suffix(tmp_path: Any) -> None:
    model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.LSTM(2)])
    x = np.ones((1, 4, 3), "float32")
    for name, other in [("m.keras", "m.bin"), ("m.keras", "m.h5"), ("m.safetensors", "m.model"), ("m.onnx", "n.onnx")]:
        model.save(tmp_path / name)
        shutil.copy(tmp_path / name, tmp_path / other)
        np.testing.assert_array_equal(rnnx.load_model(tmp_path / other)(x), model(x))
    model.save_weights(tmp_path / "w.weights.h5")
    shutil.copy(tmp_path / "w.weights.h5", tmp_path / "w.ckpt")
    other = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.LSTM(2)])
    other.load_weights(tmp_path / "w.ckpt")
    np.testing.assert_array_equal(other(x), model(x))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 another archive", bytes(100)])
def test_what_is_nothing_is_said_by_its_suffix(content: bytes, tmp_path: Any) -> None:
    (tmp_path / "m.ckpt").write_bytes(content)
    with pytest.raises(FormatError, match="cannot read '.ckpt'; supported"):
        rnnx.load_model(tmp_path / "m.ckpt")


def test_a_pickle_of_something_else(tmp_path: Any) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"words": collections.Counter("ab")}, 4))
    with pytest.raises(FormatError, match="not of torch.save; refused to call collections.Counter"):
        rnnx.load_model(tmp_path / "m.pkl")
    with io.BytesIO() as made:
        pickle.dump({"words": ["a"]}, made, 2)
        (tmp_path / "m.pkl").write_bytes(made.getvalue())
    with pytest.raises(FormatError, match=r"not of torch.save; torch.save\(model.state_dict"):
        rnnx.load_model(tmp_path / "m.pkl")


def weights_of_arrays() -> dict[str, Any]:
    random = np.random.default_rng(3)
    shapes = {
        "rnn.weight_ih_l0": (12, 2),
        "rnn.weight_hh_l0": (12, 4),
        "rnn.bias_ih_l0": (12,),
        "rnn.bias_hh_l0": (12,),
    }
    return {name: random.normal(size=shape).astype("f") for name, shape in shapes.items()}


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("form", ["plain", "turned", "of another byte order", "double", "nested"])
def test_pickles_of_arrays(protocol: int, form: str, tmp_path: pathlib.Path) -> None:
    """As programs keep weights that do without PyTorch: names of a state dict, arrays of NumPy."""
    given: Any = weights_of_arrays()
    turn = {"turned": np.asfortranarray, "of another byte order": lambda w: w.astype(">f4"), "double": np.float64}
    given = {name: turn.get(form, np.array)(w) for name, w in given.items()}
    (tmp_path / "w.pkl").write_bytes(
        pickle.dumps({"model": given, "epoch": 3} if form == "nested" else given, protocol)
    )
    (layer,) = torch.load(tmp_path / "w.pkl").values()
    (wanted,) = torch.load(weights_of_arrays()).values()
    for a, b in zip(layer.get_weights(), wanted.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(rnnx.load_model(tmp_path / "w.pkl").layers[-1], rnnx.layers.GRU)
    assert "container: pickle of arrays" in info.lines(tmp_path / "w.pkl")


def test_arrays_that_are_no_weights_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "w.pkl"
    for value, words in (
        ({"rnn.weight_ih_l0": np.array([1 + 2j])}, "not one of real numbers"),
        ({"rnn.weight_ih_l0": np.array(["text"])}, "not one of real numbers"),
        ({"a": np.array([datetime.date], object)}, "not one of real numbers"),
        ({"words": np.arange(3)}, "no modules with weights"),
    ):
        path.write_bytes(pickle.dumps(value, 4))
        with pytest.raises(FormatError, match=words):
            torch.load(path)
    whole = pickle.dumps(weights_of_arrays(), 4)
    place = whole.index(b"\x80\x04") + len(whole) // 2
    for cut in (whole[:place], whole[:-3]):
        path.write_bytes(cut)
        with pytest.raises(FormatError):
            torch.load(path)


def test_the_bytes_of_an_array_are_counted(tmp_path: pathlib.Path) -> None:
    """A shape that says more than its bytes hold."""
    path = tmp_path / "w.pkl"
    text = pickle.dumps({"rnn.weight_ih_l0": np.zeros((12, 2), "f")}, 4)
    assert text.count(b"K\x0cK\x02") == 1
    path.write_bytes(text.replace(b"K\x0cK\x02", b"K\xffK\xff"))
    with pytest.raises(FormatError, match="more than its storage"):
        torch.load(path)
