"""HDF5 files that rnnx writes, read by h5py and by rnnx itself; written whole or not at all."""

import h5py
import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats.keras import _hdf5_write
from rnnx.formats.keras._hdf5 import opened
from rnnx.formats.keras._hdf5_write import Tree
from rnnx.saving import FormatError

ARRAYS = {
    "f32": np.arange(6, dtype="f4").reshape(2, 3), "f64": np.arange(6.0).reshape(2, 3).T, "f16": np.ones(3, "f2"),
    "i32": np.array(-5, "i4"), "i64": np.arange(5) - 2, "u8": np.arange(3, dtype="u1"),
    "big": np.arange(3, dtype=">f8"), "empty": np.zeros((0, 4), "f4"), "strided": np.arange(20, dtype="f4")[::3],
    "scalar": np.array(2.5, "f8"),
}  # fmt: skip


def test_arrays_and_attributes(tmp_path):
    tree = Tree()
    for name, array in ARRAYS.items():
        tree.put(f"a/{name}", array)
    texts = {"text": "é" * 70_000, "none": "", "list": ["x", "ÿy"], "nothing": []}
    tree.group("b/c").attributes.update(texts)
    _hdf5_write.write(tmp_path / "m.h5", tree)
    with h5py.File(tmp_path / "m.h5") as file, opened(tmp_path / "m.h5") as own:
        assert sorted(file["a"]) == sorted(ARRAYS)
        for name, array in ARRAYS.items():
            for found in (file["a"][name][()], own.array(f"a/{name}")):
                np.testing.assert_array_equal(found, array)
                assert found.dtype == array.dtype.newbyteorder("=") and found.shape == array.shape
        found = file["b/c"].attrs
        assert found["text"] == texts["text"] and found["none"] == "" and len(found["nothing"]) == 0
        assert [text.decode() for text in found["list"]] == texts["list"]
        group = own.group("b/c")
        assert group.text("text") == texts["text"] and group.text("none") == ""
        assert group.texts("list") == texts["list"] and group.texts("nothing") == []


@pytest.mark.parametrize("count", [1, 8, 9, 256, 257, 9000])
def test_groups_of_any_size(count, tmp_path):
    tree, names = Tree(), [f"layer_{k}" for k in range(count)]
    tree.attributes["layer_names"] = names
    for k, name in enumerate(names):
        tree.put(name, np.array(k, "i4"))
    _hdf5_write.write(tmp_path / "m.h5", tree)
    with h5py.File(tmp_path / "m.h5") as file, opened(tmp_path / "m.h5") as own:
        assert own.names() == sorted(names) == list(file) and own.texts("layer_names") == names
        for k in {0, 1, count // 2, count - 1} & set(range(count)):
            assert file[names[k]][()] == own.array(names[k]) == k
        assert ("layer_names" in file.attrs) == (count < 9000)
    with h5py.File(tmp_path / "m.h5", "r+") as file:  # others can go on with it
        file["layer_0z"] = np.ones(3)
        del file[names[-1]]
        assert len(file) == count


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: tree.put("a/f32", np.ones(3)),
        lambda tree: tree.put("a/f32/b", np.ones(3)),
        lambda tree: tree.put("b", np.array(["text"])),
        lambda tree: tree.put("b\0", np.ones(3)),
        lambda tree: tree.group("b").attributes.update(names=["n" * 65_000]),
        lambda tree: tree.group("b").attributes.update({"n" * 66_000: "text"}),
    ],
)
def test_what_cannot_be_written(spoil, tmp_path):
    tree = Tree()
    tree.put("a/f32", np.ones(3, "f4"))
    with pytest.raises(FormatError):
        spoil(tree)
        _hdf5_write.write(tmp_path / "m.h5", tree)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_whole_or_not_at_all(fault, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"m{suffix}"
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2), layers.Dense(1)])
    model.compile("adam", "mse")
    save = model.save_weights if suffix == ".weights.h5" else model.save
    save(path)
    before = path.read_bytes()
    written = []

    def array(self, name, value, own=_hdf5_write._Writer._array):
        written.append(name)
        if len(written) == 3:
            raise fault
        return own(self, name, value)

    monkeypatch.setattr(_hdf5_write._Writer, "_array", array)
    with pytest.raises(type(fault)):
        save(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]
