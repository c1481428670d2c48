"""Hostile files of the safetensors format: rnnx's own, and their container."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .kinds import Kind

FLOATS = np.ones(16, np.float32)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(path: Path, header: dict[str, Any] | str, data: bytes = b"") -> None:
    """A container of any header."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def described(path: Path, model: Any, weights: dict[str, Any] | None = None, **more: Any) -> None:
    """A file that is whole and has the right checksum, with any description of a model."""
    from rnnx.formats.safetensors import _checksum

    weights = weights or {}
    text = model if isinstance(model, str) else json.dumps(
        {"format": 1, "rnnx": "1.0", "kind": "model", "weights": sorted(weights), "model": model, **more}
    )  # fmt: skip
    header: dict[str, Any] = {"__metadata__": {"rnnx": text, "checksum": _checksum(weights, text)}}
    place = 0
    for name, array in weights.items():
        header[name] = entry("F32", list(array.shape), place, place + array.nbytes)
        place += array.nbytes
    write(path, header, b"".join(array.tobytes() for array in weights.values()))


# ---- Descriptions of models -----------------------------------------------------------------------------------------


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}}


def call(*inputs: Any, single: bool = True, **more: Any) -> dict[str, Any]:
    return {"inputs": [[name, k, 0] for name, k in inputs], "single": single, "states": 0, "call": {}, **more}


def graph(name: str, layers: list[Any], output: Any, **more: Any) -> dict[str, Any]:
    config = {"layers": layers, "inputs": ["x"], "outputs": [[*output, 0]], "several_inputs": False, **more}
    return layer("Model", name, **{"several_outputs": False, **config})


def source(*shape: int | None) -> dict[str, Any]:
    return {**layer("InputLayer", "x", shape=list(shape or (3,)), batch_size=None, dtype="float32"), "calls": []}


def activation(name: str) -> dict[str, Any]:
    return layer("Activation", name, activation="linear")


def called_twice(path: Path, depth: int) -> None:
    """A model that calls a model twice that calls a model twice."""
    model = graph("m", [source(), {**activation("a"), "calls": [call(("x", 0))]}], ("a", 0))
    for k in range(depth):
        calls = [call(("x", 0)), call((model["config"]["name"], 0))]
        model = graph(f"m{k}", [source(), {**model, "calls": calls}], (model["config"]["name"], 1))
    described(path, model)


def inside_each_other(path: Path, depth: int) -> None:
    """Models inside each other, called once."""
    model = layer("Sequential", "m", input=source()["config"], layers=[activation("a")])
    for k in range(depth):
        model = layer("Sequential", f"m{k}", input=source()["config"], layers=[model])
    described(path, model)


def both_ways(path: Path, depth: int) -> None:
    """Bidirectional layers of Bidirectional layers, whose backward layers are copies."""
    inner = layer("LSTM", "l", units=1, return_sequences=True)
    for k in range(depth):
        inner = layer("Bidirectional", f"b{k}", layer=inner, merge_mode="sum")
    described(path, layer("Sequential", "m", input=source(None, 1)["config"], layers=[inner]))


def long_chain(path: Path, length: int) -> None:
    """A Sequential model of many layers."""
    layers = [activation(f"a{k}") for k in range(length)]
    described(path, layer("Sequential", "m", input=source()["config"], layers=layers))


def backward_graph(path: Path, length: int) -> None:
    """A chain as a graph whose layers come last first."""
    layers = [{**activation(f"a{k}"), "calls": [call((f"a{k - 1}" if k else "x", 0))]} for k in range(length)]
    described(path, graph("m", [*layers[::-1], source()], (f"a{length - 1}", 0)))


def unconnected_graph(path: Path, length: int) -> None:
    """Layers that wait for one that is not called."""
    layers = [{**activation(f"a{k}"), "calls": [call(("y", 0))]} for k in range(length)]
    described(path, graph("m", [source(), {**activation("y"), "calls": []}, *layers], ("a0", 0)))


def many_axes(path: Path, axes: int) -> None:
    """A shape of many axes, carried through many layers."""
    layers = [layer("Reshape", "r", target_shape=[1] * axes), *(activation(f"a{k}") for k in range(5000))]
    described(path, layer("Sequential", "m", input=source(1)["config"], layers=layers))


def growing_axis(path: Path, length: int) -> None:
    """An axis that doubles in every layer."""
    layers = [source(), {**layer("Concatenate", "c0"), "calls": [call(("x", 0), ("x", 0), single=False)]}]
    for k in range(1, length):
        calls = [call((f"c{k - 1}", 0), (f"c{k - 1}", 0), single=False)]
        layers.append({**layer("Concatenate", f"c{k}"), "calls": calls})
    described(path, graph("m", layers, (f"c{length - 1}", 0)))


def many_outputs(path: Path, count: int) -> None:
    """A model with one output many times, called many times."""
    outputs = {"outputs": [["a", 0, 0]] * count, "several_outputs": True}
    inner = graph("i", [source(), {**activation("a"), "calls": [call(("x", 0))]}], ("a", 0), **outputs)
    described(path, graph("m", [source(), {**inner, "calls": [call(("x", 0))] * count}], ("i", count - 1)))


def long_name(path: Path, length: int) -> None:
    """A long name that many calls refer to."""
    name = "n" * length
    calls = [call(*[(name, 0)] * 1000, single=False)]
    adds = [{**layer("Add", f"b{k}"), "calls": calls} for k in range(20)]
    joined = {**layer("Add", "z"), "calls": [call(*((f"b{k}", 0) for k in range(20)), single=False)]}
    layers = [source(), {**activation(name), "calls": [call(("x", 0))]}, *adds, joined]
    described(path, graph("m", layers, ("z", 0)))


def many_units(path: Path, units: int) -> None:
    described(path, layer("Sequential", "m", input=source()["config"], layers=[layer("Dense", "d", units=units)]))


def many_words(path: Path, words: int) -> None:
    table = layer("Embedding", "e", input_dim=words, output_dim=1000)
    described(path, layer("Sequential", "m", input=source(None)["config"], layers=[table]))


def many_cells(path: Path, count: int) -> None:
    """Cells on top of each other, twice over."""
    cells = layer("StackedRNNCells", "s", cells=[layer("LSTMCell", f"c{k}", units=1) for k in range(count)])
    rnn = layer("RNN", "r", cell=cells, return_sequences=True)
    both = layer("Bidirectional", "b", layer=rnn)
    described(path, layer("Sequential", "m", input=source(None, 1)["config"], layers=[both]))


def strange_names(path: Path, count: int) -> None:
    """Names that move the cursor of a terminal, or are no text."""
    name = "a\x1b[2J\n\r\ud800\u202e" + "b" * count
    weights = {"weights/0": np.ones((3, 2), np.float32), "weights/1": np.ones(2, np.float32)}
    layers = [{**layer("Dense", name, units=2), "calls": [call(("x", 0))]}]
    described(path, graph(name, layers, (name, 0)), weights)  # the input is missing


# ---- The container --------------------------------------------------------------------------------------------------


def tiny_lists(path: Path, count: int) -> None:
    write(path, '{"a": [' + "[]," * count + "[]]}")


def tiny_lists_inside(path: Path, count: int) -> None:
    """The same in the description, which is a text in the header."""
    described(path, '{"format": 1, "kind": "model", "model": [' + "[]," * count + "[]]}")


def long_text(path: Path, length: int) -> None:
    described(path, '{"format": 1, "kind": "model", "model": "' + "a" * length + '"}')


def deep_lists(path: Path, depth: int) -> None:
    write(path, '{"a": ' + "[" * depth + "]" * depth + "}")


def wide_text(path: Path, length: int) -> None:
    """A text of characters that Python keeps in four bytes each."""
    write(path, '{"a": "\U0001f600' + "x" * length + '"}')


def same_bytes(path: Path, count: int) -> None:
    """Tensors over the same bytes."""
    data = bytes(4 * count)
    header: dict[str, Any] = {f"weights/{k}": entry("F32", [count], 0, 4 * count) for k in range(count)}
    write(path, {**header, "__metadata__": {"rnnx": "{}", "checksum": ""}}, data)


def same_bytes_of_torch(path: Path, count: int) -> None:
    data = bytes(4 * count)
    write(path, {f"{k}.weight": entry("F32", [count], 0, 4 * count) for k in range(count)}, data)


def hole(path: Path, size: int) -> None:
    """Bytes that belong to no tensor."""
    weights = {"weights/0": entry("F32", [4], size, size + 16)}
    write(path, {**weights, "__metadata__": {"rnnx": "{}", "checksum": ""}}, bytes(size + 16))


def empty_tensors(path: Path, count: int) -> None:
    header: dict[str, Any] = {f"{k}": entry("F32", [0], 0, 0) for k in range(count)}
    write(path, {**header, "__metadata__": {"rnnx": "{}", "checksum": ""}})


def huge_numbers(path: Path, digits: int) -> None:
    """Sizes whose product has a million digits."""
    number = "9" * min(digits, 4000)
    shape = ", ".join([number] * (digits // 100))
    text = f'{{"dtype": "F32", "shape": [{shape}], "data_offsets": [0, 4]}}'
    write(path, f'{{"weights/0": {text}, "__metadata__": {{"rnnx": "{{}}", "checksum": ""}}}}', bytes(4))


def no_numbers(path: Path, axes: int) -> None:
    """A shape of more axes than arrays have, and sizes that are no whole numbers."""
    shape = [1] * axes if axes else [float("inf")]
    write(path, {"a": entry("F32", shape, 0, 4), "__metadata__": {"rnnx": "{}", "checksum": ""}}, bytes(4))


def type_of_structures(path: Path, fields: int) -> None:
    """NumPy takes the name of a layer's type for the description of a structure."""
    inner = layer("Dense", "d", units=2, dtype=",".join(["f4"] * fields))
    described(path, layer("Sequential", "m", input=source()["config"], layers=[inner]))


def wide_escape(path: Path, characters: int) -> None:
    """A header of ASCII, one character of which is written as an escape and makes all of them wide."""
    text = b'{"__metadata__": {"rnnx": "' + b"x" * characters + b"\\ud83d\\ude00" + b'", "checksum": "a"}}'
    path.write_bytes(struct.pack("<Q", len(text)) + text)


KINDS: list[Kind] = [
    Kind("rnnx model called twice", ".safetensors", called_twice, 22, 38, "called more than 30,000 times|inside each"),
    Kind("rnnx models inside each other", ".safetensors", inside_each_other, 45, 64, "inside each other"),
    Kind("rnnx both ways", ".safetensors", both_ways, 25, 64),
    Kind("rnnx long chain", ".safetensors", long_chain, 1500, 11_900),
    Kind("rnnx longer chain", ".safetensors", long_chain, 12_100, 90_000, "12,000 layers"),
    Kind("rnnx backward graph", ".safetensors", backward_graph, 2000, 11_900),
    Kind("rnnx unconnected graph", ".safetensors", unconnected_graph, 2000, 11_900, "do not connect"),
    Kind("rnnx many axes", ".safetensors", many_axes, 20_000, 1_000_000, "axes, the most is 32"),
    Kind("rnnx growing axis", ".safetensors", growing_axis, 100, 11_900, "2\\*\\*63"),
    Kind("rnnx many outputs", ".safetensors", many_outputs, 2000, 60_000, "called more than"),
    Kind("rnnx long name", ".safetensors", long_name, 100, 700),
    Kind("rnnx many units", ".safetensors", many_units, 300_000_000, 2**62, "no numbers"),
    Kind("rnnx many words", ".safetensors", many_words, 300_000_000, 2**62, "no numbers"),
    Kind("rnnx many cells", ".safetensors", many_cells, 500, 20_000),
    Kind("rnnx strange names", ".safetensors", strange_names, 10, 1_000_000, "cannot be made"),
    Kind("rnnx tiny lists", ".safetensors", tiny_lists, 2_100_000, 22_000_000, "values and tables"),
    Kind("rnnx tiny lists in the description", ".safetensors", tiny_lists_inside, 2_100_000, 22_000_000, "values and"),
    Kind("rnnx long text", ".safetensors", long_text, 17_000_000, 95_000_000, "characters|bytes"),
    Kind("rnnx deep lists", ".safetensors", deep_lists, 1000, 40_000_000, "damaged"),
    Kind("rnnx wide text", ".safetensors", wide_text, 26_000_000, 95_000_000, "other characters than ASCII"),
    Kind("rnnx wide escape", ".safetensors", wide_escape, 26_000_000, 95_000_000, "other characters than ASCII"),
    Kind("rnnx type of structures", ".safetensors", type_of_structures, 400_000, 1_900_000, "`dtype` must be"),
    Kind("rnnx same bytes", ".safetensors", same_bytes, 5000, 90_000, "overlap"),
    Kind("torch safetensors same bytes", ".safetensors", same_bytes_of_torch, 5000, 45_000, "overlap"),
    Kind("rnnx hole", ".safetensors", hole, 8, 90_000_000, "no tensor"),
    Kind("rnnx empty tensors", ".safetensors", empty_tensors, 5000, 150_000, "checksum|is 100,000"),
    Kind("rnnx huge numbers", ".safetensors", huge_numbers, 400_000, 1_000_000, "digits"),
    Kind("rnnx axes beyond arrays", ".safetensors", no_numbers, 70, 100_000, "'a'"),
    Kind("rnnx sizes that are no numbers", ".safetensors", no_numbers, 0, 0, "'a'"),
]
