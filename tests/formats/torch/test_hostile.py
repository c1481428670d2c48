"""Damaged and hostile files of PyTorch: one FormatError that names the file, nothing run, nothing allocated."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import torch
from rnnx.formats.torch import _write
from rnnx.saving import FormatError
from tests.golden import store

FILES = store.DATA / "torch_files"
GOOD = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2, np.float32)}
PLACES = 40
MEMORY = 8 << 20  # bytes that a refusal may take


def archive(pickled: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """A file as torch.save lays it out, of any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("m/data.pkl", pickled)
        for key, content in ({"0": bytes(24), "1": bytes(8)} if storages is None else storages).items():
            target.writestr(f"m/data/{key}", content)
        for name, content in {"byteorder": b"little", "version": b"3\n", **more}.items():
            target.writestr(f"m/{name}", content)
    return out.getvalue()


def tensor(
    size: Any = (2, 3),
    stride: Any = (3, 1),
    offset: Any = 0,
    numel: int = 6,
    kind: str = "FloatStorage",
    key: str = "0",
) -> bytes:
    """The opcodes of one tensor."""
    integer, numbers = _write._integer, _write._numbers
    storage = b"(" + _write._text("storage") + _write._name("torch", kind) + _write._text(key) + _write._text("cpu")
    return (
        _write._name("torch._utils", "_rebuild_tensor_v2")
        + b"(" + storage + integer(numel) + b"tQ" + integer(offset) + numbers(size) + numbers(stride)
        + b"\x89}tR"
    )  # fmt: skip


def state(value: bytes, name: str = "weight") -> bytes:
    return b"\x80\x02}(" + _write._text(name) + value + b"u."


def refused(path: Path, *words: str) -> None:
    """Every way in gives the same clear error, and takes neither time nor memory."""
    tracemalloc.start()
    try:
        for read in (torch.load, torch.describe):
            with pytest.raises(FormatError) as error:
                read(path)
            assert path.name in str(error.value) and "\n" not in str(error.value)
            assert len(str(error.value)) < 1000
            for word in words:
                assert word in str(error.value)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    return path


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def test_the_builder_builds(tmp_path: Path) -> None:
    made = torch.load(write(tmp_path, archive(state(tensor()))))
    assert made[""].kernel.shape == (3, 2)


# ---- Pickles that would run code ------------------------------------------------------------------------------------

CALLS = {
    "os.system": Runs(os.system, "touch HACKED"),
    "eval": Runs(eval, "open('HACKED', 'w')"),
    "exec": Runs(exec, "open('HACKED', 'w')"),
    "getattr": Runs(getattr, 3, "real"),
    "__import__": Runs(__import__, "os"),
    "open": Runs(open, "HACKED", "w"),
    "collections.Counter": Runs(collections.Counter, "aaa"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
def test_calls_are_refused_by_name(container: str, name: str, protocol: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    evil = pickle.dumps({"weight": CALLS[name]}, protocol)
    if container == "zip":
        content = archive(evil)
    elif container == "legacy":
        head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        content = b"".join([*head, evil, pickle.dumps([], 2)])
    else:
        content = evil
    refused(write(tmp_path, content), "refused to call", name.split(".")[-1], "state_dict()")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_names_and_objects_are_refused_too(tmp_path: Path) -> None:
    for value, word in [
        (b"cos\nsystem\n", "os.system"),
        (b"cos\nsystem\n)\x81", "no state dict"),
        (b"csubprocess\nPopen\n(X\x02\x00\x00\x00lst\x81", "subprocess.Popen"),
        (b"(X\x02\x00\x00\x00lsios\nsystem\n", "opcode 0x69"),
        (b"X\x02\x00\x00\x00lsP1\n", "opcode"),
        (b"\x82\x01", "opcode 0x82"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN(X\x02\x00\x00\x00lstNtR", "os.system"),
        (b"ctorch.storage\n_load_from_bytes\n(C\x00tR", "torch.storage._load_from_bytes"),
    ]:
        refused(write(tmp_path, archive(state(value))), word)


def test_opcodes_that_are_known_are_those_of_torch() -> None:
    """Nothing that imports, extends or calls back is in the table."""
    names = {op.code.encode("latin-1")[0]: op.name for op in pickletools.opcodes}
    known = {names[code] for code in torch._container.Machine.__init__.__globals__["OPCODES"]}
    assert not known & {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "NEWOBJ_EX", "NEXT_BUFFER", "READONLY_BUFFER"}


# ---- Tensors that reach outside -------------------------------------------------------------------------------------

TENSORS = {
    "beyond": (tensor((3, 3)), "reaches element"),
    "offset": (tensor(offset=1), "reaches element"),
    "offset_huge": (tensor(offset=2**40), "reaches element"),
    "offset_negative": (tensor(offset=-1), "do not fit"),
    "stride": (tensor(stride=(4, 1)), "reaches element"),
    "stride_negative": (tensor(stride=(-3, 1)), "stride"),
    "stride_zero": (tensor((1000, 1000), (0, 0)), "more than its storage"),
    "size_negative": (tensor((-2, 3)), "size"),
    "size_huge": (tensor((2**40, 2**40), (1, 1)), "reaches element"),
    "size_beyond": (tensor((2**62, 3)), "size"),
    "rank": (tensor((1,) * 9, (1,) * 9), "at most 8"),
    "rank_differs": (tensor((2, 3), (1,)), "do not fit"),
    "empty": (tensor((0, 3)), "no "),
    "numel": (tensor(numel=2**50), "should hold"),
    "numel_negative": (tensor(numel=-5), "should hold"),
    "missing": (tensor(key="9"), "'m/data/9'"),
    "path": (tensor(key="../../../etc/passwd"), "no member"),
    "quantized": (tensor(kind="QInt8Storage"), "QInt8"),
    "complex": (tensor(kind="ComplexFloatStorage"), "ComplexFloat"),
    "class": (tensor(kind="nn"), "storage of an unknown kind"),
    "integers": (tensor(kind="IntStorage"), "float"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_outside_their_storage(name: str, tmp_path: Path) -> None:
    value, words = TENSORS[name]
    path = write(tmp_path, archive(state(value)))
    if name in ("integers", "empty"):
        with pytest.raises(FormatError, match="no modules"):
            torch.load(path)
        return
    refused(path, words)


def test_many_tensors_of_one_storage(tmp_path: Path) -> None:
    """A small file may not stand for more arrays than memory holds."""
    content = b"".join(_write._text(f"l{k}.weight") + tensor((1000, 1000), (1000, 1), 0, 10**6) for k in range(50))
    with pytest.raises(FormatError, match="much more than the file holds"):
        torch.load(write(tmp_path, archive(b"\x80\x02}(" + content + b"u.", {"0": bytes(4 * 10**6)})))


def test_a_projection_whose_product_is_too_large(tmp_path: Path) -> None:
    units = 40_000
    arrays = {
        "weight_ih_l0": np.zeros((4 * units, 1), "f4"),
        "weight_hh_l0": np.zeros((4 * units, 1), "f4"),
        "weight_hr_l0": np.zeros((1, units), "f4"),
    }
    with pytest.raises(FormatError, match="too large"):
        torch.load(arrays)


# ---- Pickles that are damaged or deep -------------------------------------------------------------------------------

PICKLES = {
    "empty": b"",
    "only_stop": b".",
    "no_stop": b"\x80\x02}",
    "protocol": b"\x80\x63}.",
    "mark": b"\x80\x02(.",
    "long": b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".",
    "long4": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "text_beyond": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "text_8_bytes": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "bytes_negative": b"\x80\x02T\xff\xff\xff\xffabc.",
    "not_utf8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "memo": b"\x80\x02h\x07.",
    "append_to_text": b"\x80\x02X\x01\x00\x00\x00aNa.",
    "items_of_a_number": b"\x80\x02K\x01NNs.",
    "odd_items": b"\x80\x02}(NNNu.",
    "name_without_end": b"\x80\x02ccollections",
    "call_a_number": b"\x80\x02K\x01)R.",
    "call_without_tuple": b"\x80\x02ccollections\nOrderedDict\nNR.",
    "persistent_text": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "deep_tuple": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "deep_list": b"\x80\x02]" + b"q\x00]h\x00a" * 50_000 + b".",
    "deep_key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "wide_name": b"\x80\x02)" + b"\x86" * 40 + b".",
    "doubling": b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"NQ.",
    "doubling_as_a_storage": b"\x80\x02)q\x00"
    + b"h\x00h\x00\x86q\x00" * 60
    + b"(X\x07\x00\x00\x00storageh\x00X\x01\x00\x00\x000NK\x01tQ.",
    "many_steps": b"\x80\x02" + b"N0" * 2_500_000 + b".",
}


@pytest.mark.parametrize("name", PICKLES)
def test_damaged_pickles(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(archive(PICKLES[name]))
    with pytest.raises(FormatError, match="model.pt"):
        torch.load(path)


def test_a_module_in_itself(tmp_path: Path) -> None:
    text = _write._text
    loop = b"\x80\x02c__torch__\nNet\n)\x81q\x00}(" + text("weight") + tensor() + text("self") + b"h\x00ub."
    refused(write(tmp_path, archive(loop, **{"constants.pkl": b""})), "in itself")


# ---- Archives -------------------------------------------------------------------------------------------------------


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("m/data.pkl", state(tensor((5000, 5000), (5000, 1), 0, 25_000_000)), zipfile.ZIP_STORED)
        target.writestr("m/data/0", bytes(100_000_000))
    refused(path, "compressed")


@pytest.mark.parametrize("name", ["../data.pkl", "/m/data.pkl", "m/../../data.pkl", "m\\data.pkl", "C:/data.pkl"])
def test_paths_that_lead_outside(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tricks.pt"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("m/data.pkl", state(tensor()))
        member = zipfile.ZipInfo("x")
        member.filename = name
        target.writestr(member, b"")
    refused(path, "leads outside")


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.pt"
    with zipfile.ZipFile(path, "w") as target, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            target.writestr("m/data.pkl", state(tensor()))
    refused(path, "twice")


@pytest.mark.parametrize(
    "names, words",
    [([], "0 members"), (["a/data.pkl", "b/data.pkl"], "2 members"), (["data.pkl"], "0 members")],
)
def test_archives_of_others(names: list[str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    with zipfile.ZipFile(path, "w") as target:
        for name in [*names, "word/document.xml"]:
            target.writestr(name, b"x")
    refused(path, words)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello, world" * 9, bytes(600), b"\x80\x02N."])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    refused(write(tmp_path, content))


def test_a_tar_file_of_the_first_torch(tmp_path: Path) -> None:
    refused(write(tmp_path, bytes(257) + b"ustar" + bytes(300)), "tar file")


def test_an_unknown_byte_order(tmp_path: Path) -> None:
    refused(write(tmp_path, archive(state(tensor()), byteorder=b"middle")), "byte order 'middle'")


@pytest.mark.parametrize("name", ["network.pt", "checkpoint_legacy.pt", "lstm.safetensors", "script.pt"])
@pytest.mark.parametrize("share", range(PLACES))
def test_cut_off(name: str, share: int, tmp_path: Path) -> None:
    path = tmp_path / f"cut{Path(name).suffix}"
    good = (FILES / name).read_bytes()
    path.write_bytes(good[: len(good) * share // PLACES])
    with pytest.raises(FormatError, match="cut"):
        torch.load(path)


@pytest.mark.parametrize("name", ["network.pt", "lstm_legacy.pt", "lstm.safetensors", "whole_module.pt"])
@pytest.mark.parametrize("share", range(PLACES))
def test_flipped_bytes_give_an_error_or_a_model(name: str, share: int, tmp_path: Path) -> None:
    """Zip archives have checksums: what is read is what was written. Legacy files and safetensors have none."""
    path = tmp_path / f"flipped{Path(name).suffix}"
    good = torch.state_dict(torch.load(FILES / name))
    for bits in (0x01, 0x80, 0xFF):
        data = bytearray((FILES / name).read_bytes())
        data[(len(data) - 1) * share // (PLACES - 1)] ^= bits
        path.write_bytes(data)
        try:
            made = torch.state_dict(torch.load(path))
        except FormatError as error:
            assert "flipped" in str(error)
            continue
        if bytes(data[:2]) == b"PK":
            assert made.keys() == good.keys()
            assert all(np.array_equal(made[key], good[key]) for key in good)


# ---- Safetensors and modules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}, "F8_E4M3"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}, "does not fit 4 bytes"),
        ({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}, "does not fit 4 bytes"),
        ({"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}, "'weight'"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}, "bytes -4..0"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, "bytes 4..8 of 4"),
        ({"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}, "not described"),
        ({"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}, "not described"),
        ({"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}, "not described"),
        (3, "not described"),
    ],
)
def test_safetensors_that_do_not_fit(entry: Any, words: str, tmp_path: Path) -> None:
    text = json.dumps({"weight": entry}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"1234")
    refused(path, words)


MODULES = {
    "gates": ({"weight_ih_l0": (10, 3), "weight_hh_l0": (10, 4)}, "no LSTM, GRU or RNN"),
    "one_bias": ({"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,)}, "'bias_hh_l0' is missing"),
    "no_hidden": ({"weight_ih_l0": (16, 3)}, "weight_hh_l0"),
    "no_first_layer": ({"weight_ih_l1": (16, 3), "weight_hh_l1": (16, 4)}, "weight_ih_l0"),
    "gap": (
        {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "weight_ih_l2": (16, 4), "weight_hh_l2": (16, 4)},
        "layers differ",
    ),
    "far_layer": ({"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "weight_hh_l9999": (16, 4)}, "layers differ"),
    "shape": ({"weight_ih_l0": (12, 3), "weight_hh_l0": (16, 4)}, "must have shape (16, 3)"),
    "second_layer": (
        {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "weight_ih_l1": (16, 5), "weight_hh_l1": (16, 4)},
        "must have shape (16, 4)",
    ),
    "flat": ({"weight_ih_l0": (16,), "weight_hh_l0": (16,)}, "do not fit"),
    "projected_gru": ({"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 2), "weight_hr_l0": (2, 4)}, "LSTM only"),
    "dropped_weights": (
        {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "weight_hh_l0_raw": (16, 4)},
        "kind that rnnx does not have",
    ),
    "attention": ({"in_proj_weight": (12, 4), "in_proj_bias": (12,)}, "kind that rnnx does not have"),
    "conv4d": ({"weight": (3, 3, 3, 3, 3, 3)}, "kind that rnnx does not have"),
    "conv2d": ({"weight": (3, 3, 3, 3), "bias": (4,)}, "must have shape (3,)"),
    "bias": ({"weight": (4, 3), "bias": (5,)}, "must have shape (4,)"),
    "norm": ({"weight": (4,), "running_mean": (4,), "running_var": (4,)}, "is missing"),
    "norm_shape": ({"running_mean": (4,), "running_var": (5,)}, "must have shape (4,)"),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_that_do_not_fit_are_named(name: str) -> None:
    shapes, words = MODULES[name]
    with pytest.raises(FormatError) as error:
        torch.load({f"net.part.{leaf}": np.ones(shape) for leaf, shape in shapes.items()})
    assert "'net.part'" in str(error.value) and words in str(error.value)


def test_a_model_of_rnnx_itself_says_so(tmp_path: Path) -> None:
    model = rnnx.Sequential([rnnx.layers.GRU(4, input_shape=(None, 3))])
    model.save(tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "rnnx.load_model")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pt", tmp_path):
        with pytest.raises(OSError):
            torch.load(path)
    with pytest.raises(TypeError, match="path or a state dict"):
        torch.load(3)


# ---- Limits ---------------------------------------------------------------------------------------------------------


def module(state: bytes) -> bytes:
    """The opcodes of an object of a class of one's own with a state."""
    return b"c__torch__\nNet\n)\x81" + state + b"b"


def table(*items: tuple[str, bytes]) -> bytes:
    return b"}(" + b"".join(_write._text(name) + value for name, value in items) + b"u"


def test_modules_that_are_shared_have_all_their_names(tmp_path: Path) -> None:
    """As in PyTorch's state dict, which has what is shared under each of its names."""
    part = module(table(("weight", tensor())))
    content = b"\x80\x02" + module(table(("a", part + b"q\x05"), ("b", b"h\x05"))) + b"."
    found = torch.load(write(tmp_path, archive(content)))
    assert list(found) == ["a", "b"]
    assert found["a"].weights[0] is not found["b"].weights[0]


def test_modules_that_share_too_much_are_counted_first(tmp_path: Path) -> None:
    body = module(b"}") + b"q\x00"
    for _ in range(60):
        body += module(table(("a", b"h\x00"), ("b", b"h\x00"))) + b"q\x00"
    path = write(tmp_path, archive(b"\x80\x02" + body + b"."))
    with pytest.raises(FormatError, match="1,000,000 entries of tables and modules"):
        torch.load(path)


def test_a_checkpoint_with_the_same_state_dict_twice_asks_which(tmp_path: Path) -> None:
    part = table(("weight", tensor()))
    path = write(tmp_path, archive(b"\x80\x02" + table(("one", part + b"q\x05"), ("two", b"h\x05")) + b"."))
    refused(path, "several state dicts", "'one', 'two'")
    assert torch.load(path, key="two").keys() == {""}


def test_keys_that_lead_to_no_weights_are_left_out(tmp_path: Path) -> None:
    """Numbers, whose hashes anyone can make collide, and long texts; names of modules are neither."""
    odd = b"K\x01NG" + bytes(8) + b"N\x88N" + _write._text("x" * 1001) + tensor()
    content = b"\x80\x02}(" + odd + _write._text("weight") + tensor() + b"u."
    assert torch.load(write(tmp_path, archive(content))).keys() == {""}


@pytest.mark.parametrize(
    "characters", ["a\x1b[2J", "a\nb", "a\x7f", "a\x9b", "\udc9b", "a\u202eb", "\u2028", "x" * 1001, "tab\there"]
)
def test_names_of_tensors_can_be_shown(characters: str, tmp_path: Path) -> None:
    data = f"{characters}.weight".encode("utf-8", "surrogatepass")
    content = b"\x80\x02}X" + struct.pack("<I", len(data)) + data + tensor() + b"s."
    path = write(tmp_path, archive(content))
    for read in (torch.load, torch.describe):
        with pytest.raises(FormatError, match="must be printable|holds no state dict") as error:
            read(path)
        assert str(error.value).isprintable() and len(str(error.value)) < 1000


def test_names_with_other_letters_are_names(tmp_path: Path) -> None:
    content = state(tensor(), "сеть один.слой.weight")
    assert torch.load(write(tmp_path, archive(content))).keys() == {"сеть один.слой"}


def test_names_in_memory_are_those_of_the_caller(monkeypatch: Any) -> None:
    """Limits are for files: what a program has made is its own."""
    assert torch.load({"tab\there.weight": np.ones((2, 3))}).keys() == {"tab\there"}
    monkeypatch.setattr(torch, "MOST_LAYERS", 3)
    assert len(torch.load({f"l{k}.weight": np.ones((1, 1)) for k in range(4)})) == 4


def test_layers_of_a_file_are_limited_and_may_be_chosen(tmp_path: Path) -> None:
    """Two in each Bidirectional, and one in each Linear."""
    parts = [f"both.weight_{side}_l0{end}" for side in ("ih", "hh") for end in ("", "_reverse")]
    names = [*parts, *(f"l{k}.weight" for k in range(9_999))]
    shared = tensor((4, 1), (1, 1), 0, 4) + b"q\x05"
    content = b"\x80\x02" + table(("l.weight", shared), *((name, b"h\x05") for name in names)) + b"."
    path = write(tmp_path, archive(content, {"0": bytes(200_000)}))
    with pytest.raises(FormatError, match=r"10,002 layers.*10,000.*modules="):
        torch.load(path)
    assert torch.load(path, modules=["l7"]).keys() == {"l7"}
    assert len(torch.describe(path)["layers"]) == 10_001


def test_tensors_tied_to_each_other_are_read(tmp_path: Path) -> None:
    """An embedding in bfloat16 that is also the last Linear, and all of the file: layers take four times its bytes."""
    shared = tensor((256, 64), (64, 1), 0, 256 * 64, "BFloat16Storage") + b"q\x05"
    content = b"\x80\x02" + table(("emb.weight", shared), ("out.weight", b"h\x05")) + b"."
    path = write(tmp_path, archive(content, {"0": bytes(range(256)) * 128}))
    found = torch.load(path)
    assert found["emb"].weights[0].value.shape == (256, 64)
    np.testing.assert_array_equal(found["emb"].weights[0].value, found["out"].weights[0].value.T)


def test_views_of_a_storage_that_differ_are_not_taken_for_each_other(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype=np.float32)
    views = {"a": tensor((2, 3), (3, 1), 0, 12), "b": tensor((2, 3), (3, 1), 6, 12), "c": tensor((2, 3), (1, 2), 0, 12)}
    content = b"\x80\x02" + table(*((f"{name}.weight", value) for name, value in views.items())) + b"."
    found = torch.load(write(tmp_path, archive(content, {"0": numbers.tobytes()})))
    np.testing.assert_array_equal(found["a"].weights[0].value.T, numbers[:6].reshape(2, 3))
    np.testing.assert_array_equal(found["b"].weights[0].value.T, numbers[6:].reshape(2, 3))
    np.testing.assert_array_equal(found["c"].weights[0].value, numbers[:6].reshape(3, 2))


@pytest.mark.parametrize("end", ["", "_l0", "_l1"])
def test_shapes_are_compared_before_weights_are_made(end: str) -> None:
    """A kernel of a wide input and many units, each of which is there in another array, would take terabytes."""
    wide, high = np.zeros((1, 4_000_000), "f4"), np.zeros((4000, 1000), "f4")
    arrays = {f"weight_ih{end}": wide, f"weight_hh{end}": high}
    if end == "_l1":
        arrays |= {"weight_ih_l0": np.zeros((4000, 3), "f4"), "weight_hh_l0": high}
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=rf"'weight_ih{end}' must have shape \(4000, "):
            torch.load({f"net.{name}": array for name, array in arrays.items()})
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_products_of_all_projections_together_are_limited() -> None:
    units = 2048
    arrays = {
        "ih": np.zeros((4 * units, 1), "f4"),
        "hh": np.zeros((4 * units, 1), "f4"),
        "hr": np.zeros((1, units), "f4"),
    }
    made = {f"m{k}.weight_{name}_l0": array for k in range(5) for name, array in arrays.items()}
    with pytest.raises(FormatError, match="'m4'.*proj_size=1 of 2048 units.*modules before it are too large"):
        torch.load(made)


def test_a_product_of_a_projection_is_the_same_in_parts(monkeypatch: Any) -> None:
    draw = np.random.default_rng(3)
    shapes = {"weight_ih_l0": (28, 3), "weight_hh_l0": (28, 2), "weight_hr_l0": (2, 7)}
    arrays = {name: draw.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    monkeypatch.setattr(sys.modules["rnnx.formats.torch._slots"], "ROWS", 5)
    product = arrays["weight_hh_l0"].astype("f8") @ arrays["weight_hr_l0"].astype("f8")
    np.testing.assert_allclose(torch.load(arrays)[""].layers[0].recurrent_kernel, product.T, rtol=1e-6)


@pytest.mark.parametrize("function", ["_read_pickled", "make_layer"])
def test_memory_that_is_not_there(function: str, tmp_path: Path, monkeypatch: Any) -> None:
    """A good file in a process with too little memory; what is in memory already is the caller's."""

    def fails(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate")

    path = write(tmp_path, archive(state(tensor())))
    monkeypatch.setattr(sys.modules["rnnx.formats.torch" + "._state" * (function[0] == "_")], function, fails)
    with pytest.raises(FormatError, match="model.pt: .*memory"):
        torch.load(path)
    if function == "make_layer":
        with pytest.raises(MemoryError):
            torch.load({"weight": np.ones((2, 3))})


# ---- Directories of archives ----------------------------------------------------------------------------------------


def altered(directory: dict[int, bytes], name: bytes = b"m/data/0") -> bytes:
    """A good archive in whose directory the entry of a member has other bytes at some places."""
    content = bytearray(archive(state(tensor())))
    at = content.rfind(name) - 46
    for place, new in directory.items():
        content[at + place : at + place + len(new)] = new
    return bytes(content)


OFFSET, SIZES, METHOD, FLAGS = 42, 20, 10, 8
DIRECTORIES = {
    "onto_another": (altered({OFFSET: bytes(4)}), "overlap"),
    "longer": (altered({SIZES: struct.pack("<2L", 60, 60)}), "overlap"),
    "beyond": (altered({SIZES: struct.pack("<2L", 1 << 30, 1 << 30)}), "cut off"),
    "far_away": (altered({OFFSET: struct.pack("<L", 1 << 30)}), "cut off"),
    "wide_without_its_number": (altered({OFFSET: b"\xff" * 4}), "cut off"),
    "sizes_differ": (altered({SIZES: struct.pack("<2L", 10, 24)}), "compressed"),
    "encrypted": (altered({FLAGS: b"\x01\x00"}), "encrypted"),
    "method": (altered({METHOD: b"\x0c\x00"}), "compressed"),
    "no_entry": (altered({0: b"XX"}), "not in its directory"),
    "not_utf8": (altered({FLAGS: b"\x00\x08", 46: b"\xff"}), "damaged"),
    "no_end": (archive(state(tensor())).replace(b"PK\x05\x06", b"PK\x05\x07"), "no end"),
    "long_directory": (archive(state(tensor())) + bytes(1 << 17), "no end"),
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_directories_that_lie(name: str, tmp_path: Path) -> None:
    content, word = DIRECTORIES[name]
    refused(write(tmp_path, content), word)


def test_a_directory_that_is_too_long(tmp_path: Path) -> None:
    """It is refused by its length: nothing of it is read."""
    content = archive(state(tensor()))
    length = (1 << 25) + 1
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, length, len(content), 0)
    path = write(tmp_path, content + b"PK\x01\x02" * (length // 4) + b"P" + end)
    with pytest.raises(FormatError, match="directory of 33,554,433 bytes"):
        torch.load(path)


def test_archives_with_numbers_of_64_bits_are_read(tmp_path: Path) -> None:
    """PyTorch writes the end of every archive so, and members beyond 4 GB."""
    path = tmp_path / "wide.pt"
    with zipfile.ZipFile(path, "w") as target:
        for name, content in {"m/data.pkl": state(tensor()), "m/data/0": bytes(24), "m/byteorder": b"little"}.items():
            with target.open(name, "w", force_zip64=True) as member:
                member.write(content)
    content = path.read_bytes()
    at, end = content.rfind(b"m/data/0"), content.rfind(b"PK\x05\x06")
    size, begin = struct.unpack_from("<2L", content, end + 12)
    (offset,) = struct.unpack_from("<L", content, at - 4)
    wide = struct.pack("<4H3Q", 0xCAFE, 0, 1, 24, 24, 24, offset)
    entry = content[at - 46 :][: 46 + len("m/data/0")]
    entry = (
        entry[:20] + b"\xff" * 8 + entry[28:30] + struct.pack("<H", len(wide)) + entry[32:42] + b"\xff" * 4 + entry[46:]
    )
    directory = content[begin : at - 46] + entry + wide + content[at + len("m/data/0") : end]
    assert len(directory) == size + len(wide)
    last = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, len(directory), begin)
    last += struct.pack("<4sLQL", b"PK\x06\x07", 0, begin + len(directory), 1)
    narrow = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:begin] + directory + last + narrow)
    assert torch.load(path)[""].weights[0].shape == (3, 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with a name")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(FormatError, match="a pipe, not a regular file"):
        torch.load(tmp_path / "pipe.pt")
