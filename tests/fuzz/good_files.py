"""The good files that are damaged: those of the golden data, and small ones that rnnx and `onnx` write now."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from rnnx.saving import FORMATS, FormatError

from ..formats.onnx import models as onnx_models
from ..formats.onnx import spelled as onnx_spelled
from ..golden import keras_archive, store
from . import checkpoints

KERAS_FILES = 12  # one of so many is worth damaging
LARGEST = 300_000  # bytes of a file that is worth damaging
SPELLED_OUT = ("gru_before, loop", "lstm_gemm, unrolled", "loop with a list", "scan backwards", "branches")
MODELS = ("lstm-masking-sequences-zero", "cells-both", "states", "merges", "nested", "embedding", "time-gru")


def small_model() -> Any:
    """A model of which files are written, and into which the weights of others are read."""
    import rnnx

    return rnnx.Sequential([
        rnnx.layers.GRU(3, return_sequences=True, dropout=0.1, input_shape=(None, 2), name="gru"),
        rnnx.layers.Bidirectional(rnnx.layers.LSTM(2), name="both"),
        rnnx.layers.Dense(2, name="head"),
    ])  # fmt: skip


def good_files(folder: Path) -> dict[str, bytes]:
    """Good files by name; a ``folder`` for those that are written on the way."""
    found = {
        f"{path.parent.name}-{path.name}": path.read_bytes()
        for path in sorted(store.DATA.rglob("*"))
        if path.suffix.lower() in FORMATS and path.stat().st_size <= LARGEST
    }
    for archive in sorted((store.DATA / "keras_files").glob("*.tar.xz")):
        members = keras_archive.contents(archive)
        chosen = [name for name in members if Path(name).suffix in FORMATS][::KERAS_FILES]
        found.update({f"{archive.name.partition('.')[0]}-{name}": members[name] for name in chosen})
    found.update(saved_models())
    found.update(archives(found))
    for name, case in store.load("onnx").items():
        if (data := case.get("file")) is not None:
            found[f"{name.replace(' ', '-')}.onnx"] = data.tobytes()
    model = small_model()
    for suffix in FORMATS:
        if suffix != ".hdf5":  # another name for .h5
            _write(found, folder / f"rnnx{suffix}", model.save)
    for suffix in (".weights.h5", ".list.h5", ".weights.safetensors"):
        _write(found, folder / f"rnnx{suffix}", model.save_weights)
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 3, model.input_shape[-1])), np.zeros((2, *model.output_shape[1:])))
    for suffix in (".safetensors", ".keras", ".h5"):
        _write(found, folder / f"rnnx-training{suffix}", model.save)
    for name in MODELS:
        for suffix in (".safetensors", ".onnx", ".keras"):
            _write(found, folder / f"rnnx-{name}{suffix}", onnx_models.made(name).save)
    for name in SPELLED_OUT:
        found[f"{name.replace(', ', '-')}.onnx"] = onnx_spelled.SPELLED[name]().SerializeToString()
    for name, proto in (control_flow() | read_models()).items():
        found[f"{name}.onnx"] = proto.SerializeToString()
    return found


def read_models() -> dict[str, Any]:
    """ONNX models that are read with chosen graphs, without a batch, with a place for each row, and of bytes."""
    from ..formats.onnx import test_branches, test_dequantized, test_read_rows

    found = {"chosen": test_branches.by_rank(0), "chosen-deep": test_branches.by_rank(2)}
    found |= {"one-row": test_branches.one_row(False), "one-row-states": test_branches.one_row(True)}
    for name in ("the last of padded reads", "by pairs", "along an axis"):
        found[name.replace(" ", "-")] = test_read_rows.made(name)[0]
    for name, make in test_dequantized.CASES.items():
        found[name.replace(" ", "-").replace(",", "")] = make()[0]
    return found


def archives(files: dict[str, bytes]) -> dict[str, bytes]:
    """Tar archives around files of PyTorch, packed and not."""
    made: dict[str, bytes] = {}
    for kind, name in (("zip", "lstm.pt"), ("legacy", "lstm_legacy.pt")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for inner, data in {"meta.pkl": b"\x80\x04N.", "weights.pt": files[f"torch_files-{name}"]}.items():
                head = tarfile.TarInfo(f"model/{inner}")
                head.size = len(data)
                archive.addfile(head, io.BytesIO(data))
        made[f"around-{kind}.tar"] = file.getvalue()
        made[f"around-{kind}.tar.gz"] = gzip.compress(file.getvalue(), mtime=0)
    return made


def saved_models() -> dict[str, bytes]:
    """The folders of TensorFlow among the golden data."""
    made: dict[str, dict[str, bytes]] = {}
    for name, data in keras_archive.contents(store.DATA / "keras_files" / "saved_model.tar.xz").items():
        folder, _, inside = name.partition("/")
        if inside in (checkpoints.METADATA, checkpoints.INDEX, checkpoints.ARRAYS):
            made.setdefault(folder, {})[inside] = data
    return {f"{name}{checkpoints.SUFFIX}": checkpoints.packed(members) for name, members in made.items()}


def _write(found: dict[str, bytes], path: Path, save: Any) -> None:
    try:
        save(path)
    except FormatError:  # what has no structure, or cannot express the model
        return
    found[path.name] = path.read_bytes()


def control_flow() -> dict[str, Any]:
    """ONNX models with graphs inside their nodes, local functions and data of their own file."""
    from onnx import TensorProto, helper, numpy_helper

    real, whole = TensorProto.FLOAT, TensorProto.INT64

    def info(name: str, kind: int = real, shape: Any = None) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def model(nodes: Any, constants: Any = None, **options: Any) -> Any:
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
        graph = helper.make_graph(nodes, "graph", [info("x", shape=["n", 3])], [info("y")], tensors)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)

    def branch(operator: str) -> Any:
        return helper.make_graph([helper.make_node(operator, ["x"], ["b"])], "branch", [], [info("b")])

    rounds = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Mul", ["v", "x"], ["after"]),
         helper.make_node("ReduceSum", ["after"], ["seen"])],
        "rounds", [info("k", whole, []), info("go", TensorProto.BOOL, []), info("v")],
        [info("on", TensorProto.BOOL, []), info("after"), info("seen")],
    )  # fmt: skip
    steps = helper.make_graph(
        [helper.make_node("Add", ["s", "row"], ["t"]), helper.make_node("Tanh", ["t"], ["u"])],
        "steps", [info("s"), info("row")], [info("t"), info("u")],
    )  # fmt: skip
    square = helper.make_function(
        "own", "square", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    node = helper.make_node
    return {
        "if": model([
            node("ReduceSum", ["x"], ["sum"], keepdims=0), node("Greater", ["sum", "zero"], ["c"]),
            node("If", ["c"], ["y"], then_branch=branch("Tanh"), else_branch=branch("Neg")),
        ], {"zero": np.float32(0)}),
        "loop": model([node("Loop", ["m", "", "x"], ["y", "sums"], body=rounds)], {"m": np.array(4)}),
        "scan": model([node("Scan", ["z", "x"], ["end", "y"], body=steps, num_scan_inputs=1)],
                      {"z": np.zeros(3, np.float32)}),
        "function": model([node("square", ["x"], ["h"], domain="own"), node("square", ["h"], ["y"], domain="own")],
                          functions=[square]),
        "shapes": model([
            node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["zeros"]), node("Add", ["x", "zeros"], ["h"]),
            node("Pad", ["h", "pads"], ["p"]), node("Tile", ["p", "times"], ["t"]),
            node("Reshape", ["t", "flat"], ["r"]), node("Concat", ["r", "r"], ["c"], axis=0),
            node("Slice", ["c", "begin", "end"], ["cut"]),
            node("Expand", ["cut", "wide"], ["e"]), node("ReduceMean", ["e"], ["y"], axes=[0]),
        ], {"pads": np.array([0, 1, 0, 1]), "times": np.array([2, 1]), "flat": np.array([-1]), "begin": np.array([1]),
            "end": np.array([4]), "wide": np.array([2, 3])}),
    }  # fmt: skip
