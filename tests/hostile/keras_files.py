"""Hostile files of the keras format: archives, HDF5 files and JSON."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rnnx.formats._crc32c import crc32c, masked

from ..fuzz import checkpoints
from .kinds import Kind

# ---- Configurations -------------------------------------------------------------------------------------------------


def layer(kind: str, name: str, nodes: list[Any] | None = None, **config: Any) -> dict[str, Any]:
    found = {"class_name": kind, "name": name, "config": {"name": name, **config}}
    return found if nodes is None else {**found, "inbound_nodes": nodes}


def source() -> dict[str, Any]:
    return layer("InputLayer", "x", [], batch_shape=[None, 3], dtype="float32")


def linear(name: str, *inputs: str) -> dict[str, Any]:
    return layer("Activation", name, [[[before, 0, 0, {}]] for before in inputs], activation="linear")


def graph(name: str, layers: list[Any], output: tuple[str, int], nodes: list[Any] | None = None) -> dict[str, Any]:
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[*output, 0]]}
    return layer("Functional", name, nodes, layers=layers, **ends)


def chain(layers: list[Any]) -> dict[str, Any]:
    return layer("Sequential", "m", layers=[source(), *layers])


def called_twice(path: Path, depth: int) -> None:
    """A model that calls a model twice that calls a model twice."""
    model, name = graph("m", [source(), linear("a", "x")], ("a", 0)), "m"
    for k in range(depth):
        nodes = [[["x", 0, 0, {}]], [[name, 0, 0, {}]]]
        model, name = graph(f"m{k}", [source(), {**model, "inbound_nodes": nodes}], (name, 1)), f"m{k}"
    archive(path, model)


def long_chain(path: Path, length: int) -> None:
    archive(path, chain([layer("Activation", f"a{k}", activation="linear") for k in range(length)]))


def many_notes(path: Path, length: int) -> None:
    """Layers that a warning is given for, with names that move the cursor."""
    archive(path, chain([layer("GaussianNoise", f"\x1b[2J{k}", stddev=0.1) for k in range(length)]))


def long_graph(path: Path, length: int) -> None:
    archive(path, graph("m", [source(), *(linear(f"a{k}", f"a{k - 1}" if k else "x") for k in range(length))],
                        (f"a{length - 1}", 0)))  # fmt: skip


def backward_graph(path: Path, length: int) -> None:
    layers = [linear(f"a{k}", f"a{k - 1}" if k else "x") for k in range(length)]
    archive(path, graph("m", [*layers[::-1], source()], (f"a{length - 1}", 0)))


def many_calls(path: Path, count: int) -> None:
    """One layer, called many times."""
    nodes = [[["x", 0, 0, {}]]] * count
    archive(path, graph("m", [source(), {**linear("a"), "inbound_nodes": nodes}], ("a", count - 1)))


def many_masks(path: Path, length: int) -> None:
    """Every layer carries the masks of all before."""
    x = layer("InputLayer", "x", [], batch_shape=[None, 5, 3], dtype="float32")
    layers = [x, layer("Masking", "b0", [[["x", 0, 0, {}]]])]
    for k in range(1, length):
        layers.append(layer("Masking", f"m{k}", [[[f"b{k - 1}", 0, 0, {}]]]))
        layers.append(layer("Add", f"b{k}", [[[f"m{k}", 0, 0, {}], [f"b{k - 1}", 0, 0, {}]]]))
    archive(path, graph("m", layers, (f"b{length - 1}", 0)))


def many_units(path: Path, units: int) -> None:
    archive(path, chain([layer("Dense", "d", units=units)]))


def many_metrics(path: Path, count: int) -> None:
    training = {"optimizer": "adam", "loss": "mse", "metrics": ["mse"] * count}
    archive(path, {**chain([layer("Activation", "a", activation="linear")]), "compile_config": training})


def deep_metrics(path: Path, count: int) -> None:
    """A list inside lists, which is copied once for each."""
    metrics: list[Any] = [None] * count
    for _ in range(150):
        metrics = [metrics]
    training = {"optimizer": "adam", "loss": "mse", "metrics": metrics}
    archive(path, {**chain([layer("Activation", "a", activation="linear")]), "compile_config": training})


def tiny_lists(path: Path, count: int) -> None:
    archive(path, '{"class_name": "Sequential", "config": [' + "[]," * count + "[]]}")


def tiny_lists_in_json(path: Path, count: int) -> None:
    path.write_text('{"class_name": "Sequential", "config": [' + "[]," * count + "[]]}")


def units_in_json(path: Path, units: int) -> None:
    path.write_text(json.dumps(chain([layer("Dense", "d", units=units)])))


def long_version(path: Path, length: int) -> None:
    config = chain([layer("Activation", "a", activation="linear")])
    archive(path, config, metadata=json.dumps({"keras_version": "3.1." * length}))


# ---- Archives -------------------------------------------------------------------------------------------------------


def weights(write: Callable[[Any], None] | None = None) -> bytes:
    """An HDF5 file."""
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        root.create_group("layers")
        if write is not None:
            write(root)
    return file.getvalue()


def archive(path: Path, config: Any, data: bytes | None = None, metadata: str = '{"keras_version": "2.13.1"}') -> None:
    """A ``.keras`` file of any configuration."""
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("metadata.json", metadata)
        made.writestr("config.json", text)
        made.writestr("model.weights.h5", weights() if data is None else data)


def many_members(path: Path, count: int) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for k in range(count):
            made.writestr(f"{k}", b"")


def members_in_one_place(path: Path, size: int) -> None:
    """Members of an archive that are the same bytes."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", " " * size)
        first = made.infolist()[0]
        for name in ("metadata.json", "model.weights.h5", *map(str, range(100))):
            info = zipfile.ZipInfo(name)
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = size
            made.filelist.append(info)


def expanding_member(path: Path, size: int) -> None:
    archive(path, chain([layer("Activation", "a", activation="linear")]), bytes(size))


# ---- HDF5 files -----------------------------------------------------------------------------------------------------


def model_of(write: Callable[[Any], None], path: Path, units: int, rows: int = 3) -> None:
    """A model of one layer, whose kernel is written by a function."""
    own = [layer("Dense", "d", units=units, use_bias=False)]
    own[0]["config"]["batch_input_shape"] = [None, rows]
    with h5py.File(path, "w") as root:
        root.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": own}})
        group = root.create_group("model_weights")
        group.attrs["layer_names"] = [b"d"]
        inner = group.create_group("d")
        inner.attrs["weight_names"] = [b"kernel"]
        write(inner)


def expanding_array(path: Path, size: int) -> None:
    """Zeros, compressed a thousand times."""

    def write(group: Any) -> None:
        group.create_dataset("kernel", (1000, size // 1000), "f4", compression="gzip", chunks=(1000, size // 1000))
        group["kernel"][:] = 0

    model_of(write, path, size // 1000, 1000)


def absent_pieces(path: Path, size: int) -> None:
    """An array of which no number is there: zeros, as HDF5 has it, at no cost."""

    def write(group: Any) -> None:
        group.create_dataset("kernel", (1000, size // 1000), "f4", chunks=(1000, 1000))

    model_of(write, path, size // 1000, 1000)


def pieces_in_one_place(path: Path, count: int) -> None:
    """Every piece of an array is the same bytes, and much larger than what it holds of the array."""
    side = 2_000_000
    piece = zlib.compress(bytes(4 * side), 9)

    def write(group: Any) -> None:
        group.create_dataset("kernel", (count, 1), "f4", compression="gzip", chunks=(1, side), maxshape=(None, None))
        for k in range(count):
            group["kernel"].id.write_direct_chunk((k, 0), piece)

    model_of(write, path, 1, count)


def filters(path: Path, size: int) -> None:
    """A filter that is used again and again: the list of filters is written by hand."""

    def write(group: Any) -> None:
        group.create_dataset("kernel", (1000, size // 1000), "f4", shuffle=True, chunks=(1000, size // 1000))
        group["kernel"][:] = 1

    model_of(write, path, size // 1000, 1000)
    with h5py.File(path, "r") as root:
        header = h5py.h5o.get_info(root["model_weights/d/kernel"].id).addr
    data = bytearray(path.read_bytes())
    place = data.index(b"shuffle\0") - 16  # of the list of filters, which has a message of its own
    many = b"\x02\xff" + b"\x02\0\0\0\0\0" * 255
    kind, length = struct.unpack_from("<HH", data, place - 8)
    assert kind == 0x0B and length >= 24
    struct.pack_into("<HHIQQ", data, place - 8, 0x10, 16, 0, len(data), 8 + len(many))  # it goes on at the end
    struct.pack_into("<HHI", data, place + 16, 0, length - 24, 0)  # and the rest is empty
    (count,) = struct.unpack_from("<H", data, header + 2)
    struct.pack_into("<H", data, header + 2, count + 2)
    path.write_bytes(data + struct.pack("<HHI", 0x0B, len(many), 0) + many)


def groups_of_groups(path: Path, depth: int) -> None:
    """Groups with two names for each group inside: a path for every number of so many bits."""

    def write(root: Any) -> None:
        for _ in range(depth):
            inner = root.create_group("a")
            root["b"] = inner
            root = inner

    with h5py.File(path, "w") as root:
        root.attrs["layer_names"] = [b"a"]
        write(root)


def one_array_of_many_names(path: Path, count: int) -> None:
    """A model whose layers have the same array."""
    own = [layer("Dense", f"d{k}", units=1000, use_bias=False) for k in range(count)]
    own[0]["config"]["batch_input_shape"] = [None, 1000]
    with h5py.File(path, "w") as root:
        root.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": own}})
        group = root.create_group("model_weights")
        group.attrs["layer_names"] = [f"d{k}".encode() for k in range(count)]
        array = group.create_dataset("kernel", data=np.ones((1000, 1000), np.float32))
        for k in range(count):
            inner = group.create_group(f"d{k}")
            inner.attrs["weight_names"] = [b"kernel"]
            inner["kernel"] = array


def many_texts(path: Path, count: int) -> None:
    """Names of layers that are one text of variable length."""
    with h5py.File(path, "w") as root:
        root.attrs.create("layer_names", ["a" * 60000] * count, dtype=h5py.string_dtype())
    # every reference points at the first text
    data = path.read_bytes()
    place = data.index(struct.pack("<I", 60000))
    first = data[place : place + 16]
    path.write_bytes(data[:place] + first * count + data[place + 16 * count :])


def many_messages(path: Path, count: int) -> None:
    """A header of many empty messages, which many names lead to."""
    start = 96
    header = b"OHDR\x02\x02" + struct.pack("<I", 4 * count) + bytes(4 * count) + bytes(4)
    begin = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + struct.pack("<QQQQ", 0, 2**64 - 1, 0, start)
    path.write_bytes(begin.ljust(start, b"\0") + header)


# ---- Folders and checkpoints of TensorFlow --------------------------------------------------------------------------


def saved_model(
    path: Path,
    nodes: list[bytes],
    arrays: dict[bytes, list[tuple[int, Any]]] | None = None,
    data: bytes = b"",
    config: Any = None,
) -> None:
    """A folder whose checkpoint has such objects and entries; the objects lie behind the other data."""
    text, checksum = checkpoints.text_entry(checkpoints.message((1, node) for node in nodes))
    entry = [(1, 7), (2, b""), (4, len(data)), (5, len(text)), (6, checksum)]
    entries = {b"": [(1, 1)], **(arrays or {}), checkpoints.OBJECTS: entry}
    folder(path, checkpoints.table({name: checkpoints.message(own) for name, own in entries.items()}), data + text,
           config)  # fmt: skip


def folder(path: Path, index: bytes, data: bytes = b"", config: Any = None) -> None:
    made = chain([layer("Dense", "d", units=3)]) if config is None else config
    root = [(3, b"root"), (5, json.dumps({"keras_version": "2.12.0", "model_config": made}).encode())]
    described = checkpoints.message([(1, checkpoints.message(root))])
    members = {checkpoints.METADATA: described, checkpoints.INDEX: index, checkpoints.ARRAYS: data}
    checkpoints.placed(path, checkpoints.packed(members))


def node(*children: tuple[str, int], key: bytes = b"") -> bytes:
    parts = [(1, checkpoints.message([(1, number), (2, name.encode())])) for name, number in children]
    own = [(2, checkpoints.message([(1, b"VARIABLE_VALUE"), (3, key)]))] if key else []
    return checkpoints.message([*parts, *own])


def many_objects(path: Path, count: int) -> None:
    saved_model(path, [b""] * count)


def many_children(path: Path, count: int) -> None:
    saved_model(path, [node(*((f"layer-{k}", 0) for k in range(count)))])


def objects_of_objects(path: Path, count: int) -> None:
    """A model that is its own layer."""
    saved_model(path, [node(("layer_with_weights-0", 0))], config=deep_models(min(count, 60)))


def deep_models(depth: int) -> Any:
    model = chain([layer("Dense", "d", units=3)])
    for k in range(depth):
        model = {"class_name": "Sequential", "config": {"name": f"m{k}", "layers": [source(), model]}}
    return model


def one_array_of_many_variables(path: Path, count: int) -> None:
    """Layers whose kernels are one array."""
    side = 700
    data = bytes(4 * side * side)
    key = [(1, 1), (2, checkpoints.message([(2, checkpoints.message([(1, side)]))] * 2)), (5, len(data)),
           (6, masked(crc32c(data)))]  # fmt: skip
    root = node(*((f"layer_with_weights-{k}", 1) for k in range(count)))
    x = layer("InputLayer", "x", [], batch_shape=[None, side], dtype="float32")
    own = [layer("Dense", f"d{k}", units=side, use_bias=False) for k in range(count)]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [x, *own]}}
    saved_model(path, [root, node(("kernel", 2)), node(key=b"k")], {b"k": key}, data, config)


def long_names(path: Path, count: int) -> None:
    """Names that are the one before and a letter more."""
    name = b"n" * 60_000
    entries = checkpoints.number(0) + checkpoints.number(len(name)) + checkpoints.number(0) + name
    for k in range(count):
        entries += checkpoints.number(len(name) + k) + b"\x01\x00a"
    text = entries + struct.pack("<II", 0, 1)
    made = text + b"\0" + struct.pack("<I", masked(crc32c(text + b"\0")))
    folder(path, checkpoints.ended(made, checkpoints.block([(b"z", checkpoints.handle(0, len(made)))])))


def blocks_in_one_place(path: Path, count: int) -> None:
    """A block that is read for each of many places of the table of blocks."""
    made = checkpoints.block([(b"", checkpoints.message([(1, 1)])), *((b"k%06d" % k, b"") for k in range(1000))])
    places = [(b"%08d" % k, checkpoints.handle(0, len(made))) for k in range(count)]
    folder(path, checkpoints.ended(made, checkpoints.block(places)))


def array_beyond_the_file(path: Path, size: int) -> None:
    key = [(1, 1), (2, checkpoints.message([(2, checkpoints.message([(1, size)]))])), (5, 4 * size)]
    root = node(("layer_with_weights-0", 1))
    saved_model(path, [root, node(("kernel", 2), ("bias", 2)), node(key=b"k")], {b"k": key})


def many_files(path: Path, count: int) -> None:
    folder(path, checkpoints.table({b"": checkpoints.message([(1, count)]), b"z": b""}))


KINDS: list[Kind] = [
    Kind("keras model called twice", ".keras", called_twice, 18, 18, "called more than 30,000 times"),
    Kind("keras models inside each other", ".keras", called_twice, 22, 60, "inside each other"),
    Kind("keras long chain", ".keras", long_chain, 1500, 11_900),
    Kind("keras longer chain", ".keras", long_chain, 12_100, 100_000, "12,000 layers"),
    Kind("keras many notes", ".keras", many_notes, 1500, 11_900),
    Kind("keras long graph", ".keras", long_graph, 1500, 11_900),
    Kind("keras backward graph", ".keras", backward_graph, 1500, 11_900),
    Kind("keras many calls", ".keras", many_calls, 1500, 29_000),
    Kind("keras more calls", ".keras", many_calls, 31_000, 250_000, "30,000 calls"),
    Kind("keras many masks", ".keras", many_masks, 1600, 5000, "masks"),
    Kind("keras many units", ".keras", many_units, 300_000_000, 2**62, "no numbers"),
    Kind("keras many metrics", ".keras", many_metrics, 30_000, 1_000_000),
    Kind("keras deep metrics", ".keras", deep_metrics, 30_000, 1_900_000),
    Kind("keras tiny lists", ".keras", tiny_lists, 2_100_000, 22_000_000, "values and tables"),
    Kind("keras JSON of tiny lists", ".json", tiny_lists_in_json, 2_100_000, 22_000_000, "values and tables"),
    Kind("keras JSON of many units", ".json", units_in_json, 300_000_000, 2**62),
    Kind("keras long version", ".keras", long_version, 100_000, 15_000_000),
    Kind("keras many members", ".keras", many_members, 2000, 500_000, "directory|no metadata"),
    Kind("keras members in one place", ".keras", members_in_one_place, 1000, 60_000_000, "overlap"),
    Kind("keras expanding member", ".keras", expanding_member, 70_000_000, 2_000_000_000, "more than such a file"),
    Kind("hdf5 expanding array", ".h5", expanding_array, 20_000_000, 200_000_000, "no numbers"),
    Kind("hdf5 absent pieces", ".h5", absent_pieces, 5_000_000, 15_000_000, "not all of them are there"),
    Kind("hdf5 pieces in one place", ".h5", pieces_in_one_place, 40, 2000, "unpack to more"),
    Kind("hdf5 filters", ".h5", filters, 1_000_000, 20_000_000, "255 filters"),
    Kind("hdf5 groups of groups", ".h5", groups_of_groups, 40, 1000),
    Kind("hdf5 one array of many names", ".h5", one_array_of_many_names, 30, 2000),
    Kind("hdf5 many texts", ".h5", many_texts, 900, 900),
    Kind("savedmodel many objects", ".savedmodel", many_objects, 100_000, 20_000_000, "fields|has the weights|layers"),
    Kind("savedmodel many children", ".savedmodel", many_children, 30_000, 3_000_000, "fields|layers with weights"),
    Kind(
        "savedmodel objects of objects", ".savedmodel", objects_of_objects, 15, 60, "inside each other|layers|weights"
    ),
    Kind("savedmodel one array of many variables", ".savedmodel", one_array_of_many_variables, 30, 2000, "no numbers"),
    Kind("savedmodel long names", ".savedmodel", long_names, 5000, 200_000, "bytes of names"),
    Kind("savedmodel blocks in one place", ".savedmodel", blocks_in_one_place, 300, 200_000, "overlap"),
    Kind("savedmodel array beyond the file", ".savedmodel", array_beyond_the_file, 2**31, 2**60, "outside"),
    Kind("savedmodel many files", ".savedmodel", many_files, 2**31, 2**60, "files with arrays"),
    Kind("hdf5 many messages", ".h5", many_messages, 1_100_000, 24_000_000, "looked at"),
]
