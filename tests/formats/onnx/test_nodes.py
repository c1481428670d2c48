"""Recurrent operators: the node tests inside the package onnx, and every option beside the plain NumPy cells."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnnx.formats.onnx import Session
from rnnx.formats.onnx._activations import GateActivation
from rnnx.formats.onnx._cells import NumpyCell
from rnnx.formats.onnx._file import Source
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._recurrent import DEFAULT_ACTIVATIONS, GATES
from rnnx.saving import FormatError
from tests.formats.onnx.nodes import NAMES, arrays_for, one_node

# Operators with versions of their own here, whose node tests are quick to make.
COMMON = (
    "add", "and", "batch_normalization", "cast", "clip", "concat", "constantofshape", "conv", "cumsum", "div",
    "dropout", "elu", "equal", "exp", "expand", "flatten", "gather", "gathernd", "gelu", "gemm",
    "globalaveragepool", "globalmaxpool", "greater", "hardsigmoid", "identity", "if", "layernormalization",
    "leakyrelu", "less", "log", "logsoftmax", "loop", "matmul", "max", "mean", "min", "mul", "neg", "not", "or",
    "pad", "pow", "rangeop", "reciprocal", "reducemax", "reducemean", "reducemin", "reducesum", "relu", "reshape",
    "scan", "selu", "shape", "sigmoid", "size", "slice", "softmax", "softplus", "softsign", "split", "sqrt",
    "squeeze", "sub", "sum", "tanh", "tile", "topk", "transpose", "unsqueeze", "where",
)  # fmt: skip
# Those that the evaluator of the package onnx runs; what they take is said here.
EVALUATED = (
    "acos", "acosh", "affinegrid", "asin", "asinh", "atan", "atanh", "attention", "bitshift", "bitwiseand",
    "bitwisenot", "blackmanwindow", "causal_conv_with_state", "celu", "center_crop_pad", "col2im", "compress",
    "convinteger", "convtranspose", "cosh", "cumprod", "deformconv", "depthtospace", "det", "dft",
    "dynamicquantizelinear", "einsum", "eyelike", "gatherelements", "gridsample", "groupnormalization",
    "hammingwindow", "hannwindow", "hardmax", "hardswish", "instance_normalization", "linear_attention",
    "lpnormalization", "lrn", "matmulinteger", "maxunpool", "meanvariancenormalization", "melweightmatrix", "mish",
    "mod", "negativeloglikelihoodloss", "nonmaxsuppression", "nonzero", "onehot", "prelu", "qlinearconv",
    "qlinearmatmul", "reduce_log_sum", "reduce_log_sum_exp", "reducel1", "reducel2", "reducesumsquare", "resize",
    "reversesequence", "rmsnormalization", "roialign", "rotaryembedding", "scatterelements", "scatternd",
    "sequenceinsert", "shrink", "sinh", "softmax_cross_entropy_loss", "spacetodepth", "splittosequence", "stft",
    "string_concat", "string_split", "stringnormalizer", "swish", "tensorscatter", "tfidfvectorizer",
    "thresholdedrelu", "trilu", "unique", "upsample", "xor",
)  # fmt: skip


def _cases(modules: tuple[str, ...]) -> dict[str, Any]:
    """Node tests of these modules; they are made when the modules are imported."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in pkgutil.iter_modules(node.__path__):
            if found.name.strip("_") in modules:
                importlib.import_module(f"{node.__name__}.{found.name}")
    return {case.name: case for case in node._NodeTestCases if hasattr(case.model, "graph")}


RECURRENT_CASES = _cases(("lstm", "gru", "rnn"))
ALL_CASES = _cases(COMMON)
EVALUATED_CASES = {
    name: case for name, case in _cases(EVALUATED).items() if name not in ALL_CASES and "expanded" not in name
}


AS_ONNX_RUNTIME = {  # which counts the places of a result, where the standard has the size times the scale
    "test_resize_downsample_scales_linear_align_corners": np.array([[[[1, 4]]]], "f"),
    "test_resize_downsample_scales_cubic_align_corners": np.array([[[[1, 2.5, 4], [7, 8.5, 10], [13, 14.5, 16]]]], "f"),
}


def run_case(case: Any) -> None:
    session = Session(case.model)
    for inputs, outputs in case.data_sets:
        if case.name in AS_ONNX_RUNTIME:
            outputs = [AS_ONNX_RUNTIME[case.name]]
        found = session.run(dict(zip([port.name for port in session.inputs], inputs, strict=True)))
        for expected, array in zip(outputs, found.values(), strict=True):
            same(expected, array, case)


def same(expected: Any, found: Any, case: Any) -> None:
    """Numbers within the tolerance of a case, texts to the letter, sequences part by part."""
    if isinstance(expected, list):
        for pair in zip(expected, found, strict=True):
            same(*pair, case)
        return
    while isinstance(found, list):  # an optional value
        (found,) = found
    if isinstance(expected, np.ndarray) and expected.dtype.kind in "fiub":
        assert found.dtype == expected.dtype and found.shape == expected.shape, case.name
        np.testing.assert_allclose(found, expected, rtol=case.rtol, atol=case.atol, err_msg=case.name)
    elif isinstance(expected, np.ndarray) and expected.dtype.kind in "OU":
        np.testing.assert_array_equal(np.asarray(found, object), expected.astype(object), err_msg=case.name)


def test_there_are_recurrent_node_tests() -> None:
    kinds = {node.op_type for case in RECURRENT_CASES.values() for node in case.model.graph.node}
    assert {"LSTM", "GRU", "RNN"} <= kinds
    assert len(RECURRENT_CASES) >= 10


@pytest.mark.parametrize("name", sorted(RECURRENT_CASES))
def test_recurrent_node_tests_of_onnx(name: str) -> None:
    run_case(RECURRENT_CASES[name])


def test_node_tests_of_the_operators_with_versions_of_their_own() -> None:
    """All that can be run at all: what the evaluator of onnx lacks is refused by name."""
    ran = 0
    for case in ALL_CASES.values():
        types = {value.type.WhichOneof("value") for value in case.model.graph.input}
        inputs = [array for arrays, _ in case.data_sets for array in arrays]
        strange = not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" for a in inputs) or types != {
            "tensor_type"
        }
        if strange or case.model.opset_import[0].version < 9 or "bfloat16" in case.name.lower():
            continue
        run_case(case)
        ran += 1
    assert ran > 400


def test_node_tests_of_the_operators_that_the_evaluator_runs() -> None:
    """None of them is taken for one that takes too much; texts and sequences come back too."""
    for case in EVALUATED_CASES.values():
        run_case(case)
    assert len(EVALUATED_CASES) > 450


# ---- Options ---------------------------------------------------------------------------------------------------------

ODD = {"LSTM": ["Tanh", "Relu", "Softsign"], "GRU": ["HardSigmoid", "Softsign"], "RNN": ["Relu"]}
EXOTIC = {
    "LSTM": ["ScaledTanh", "Affine", "ThresholdedRelu"], "GRU": ["Sigmoid", "ScaledTanh"], "RNN": ["ThresholdedRelu"],
}  # fmt: skip


def reference(kind: str, arrays: dict[str, Any], options: dict[str, Any]) -> list[Any]:
    """All outputs by the NumPy cells in float64, whatever the options are."""
    up = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in arrays.items()}
    layout, direction = options.get("layout", 0), options.get("direction", "forward")
    x = up["X"].swapaxes(0, 1) if layout else up["X"]
    hidden, many = up["R"].shape[2], len(up["W"])
    names = options.get("activations", DEFAULT_ACTIVATIONS[kind] * many)
    given = {"ScaledTanh": (0.7, 1.3), "Affine": (0.9, 0.1), "ThresholdedRelu": (0.05, 0.0)}
    numbers = {name: tuple(map(float, np.float32(pair))) for name, pair in given.items()}
    numbers["HardSigmoid"] = (0.2, 0.5)
    each = len(names) // many
    ys, hs, cs = [], [], []
    for k in range(many):
        functions = [GateActivation(n.lower(), *numbers.get(n, ())) for n in names[k * each : (k + 1) * each]]
        b = up["B"][k] if "B" in up else np.zeros(2 * GATES[kind] * hidden)
        cell = NumpyCell(kind, up["W"][k], up["R"][k], (b[: len(b) // 2], b[len(b) // 2 :]),
                         up["P"][k] if "P" in up else None, functions, options.get("clip"),
                         bool(options.get("input_forget")), bool(options.get("linear_before_reset")))  # fmt: skip
        states = [up[n].swapaxes(0, 1) if layout else up[n] for n in ("initial_h", "initial_c") if n in up]
        zeros = np.zeros((x.shape[1], hidden))
        h = states[0][k] if states else zeros
        c = (states[1][k] if len(states) > 1 else zeros) if kind == "LSTM" else None
        y, h, c = cell.run(x, up.get("sequence_lens"), h, c, direction == "reverse" or k == 1)
        ys, hs, cs = [*ys, y], [*hs, h], [*cs, c]
    outputs = [np.stack(ys, 1), np.stack(hs), np.stack(cs) if kind == "LSTM" else None]
    if layout:
        outputs = [outputs[0].transpose(2, 0, 1, 3), *(None if o is None else o.swapaxes(0, 1) for o in outputs[1:])]
    return outputs[: 3 if kind == "LSTM" else 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_engine_and_numpy_cells_agree(kind: str, direction: str, dtype: Any) -> None:
    many = 2 if direction == "bidirectional" else 1
    for layout, given, names, constant in itertools.product((0, 1), (0, 1, 2), (None, ODD, EXOTIC), (True, False)):
        options: dict[str, Any] = {"direction": direction, "layout": layout}
        if names is not None:
            options["activations"] = names[kind] * many
        if names is EXOTIC:
            alphas = {"LSTM": [0.7, 0.9, 0.05], "GRU": [0.7], "RNN": [0.05]}[kind]
            betas = {"LSTM": [1.3, 0.1], "GRU": [1.3], "RNN": []}[kind]
            options["activation_alpha"] = alphas * many
            if betas:
                options["activation_beta"] = betas * many
        if kind == "GRU" and given:
            options["linear_before_reset"] = 1
        arrays = arrays_for(kind, many, dtype, layout=layout, optional=given > 0, lengths=given == 2)
        check(kind, options, arrays, constant, {np.float32: 2e-6, np.float64: 1e-12, np.float16: 4e-3}[dtype])


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_only_numpy_has(kind: str, direction: str) -> None:
    many = 2 if direction == "bidirectional" else 1
    arrays = arrays_for(kind, many, np.float32, lengths=True)
    check(kind, {"direction": direction, "clip": 0.4}, arrays, True, 1e-6)
    if kind == "LSTM":
        check(kind, {"direction": direction, "input_forget": 1}, arrays, True, 1e-6)
        peepholes = arrays_for(kind, many, np.float32, peepholes=True)
        check(kind, {"direction": direction, "clip": 0.9}, peepholes, False, 1e-6)


def check(kind: str, options: dict[str, Any], arrays: dict[str, Any], constant: bool, tolerance: float) -> None:
    model = one_node(kind, options, arrays, constant)
    onnx.checker.check_model(model)
    session = Session(model)
    expected = reference(kind, arrays, options)
    found = session.run({port.name: arrays[port.name] for port in session.inputs})
    for own, array in zip(expected, found.values(), strict=True):
        assert array.dtype == arrays["X"].dtype and array.shape == own.shape
        np.testing.assert_allclose(array, own, rtol=tolerance, atol=tolerance)


def test_outputs_that_nobody_wants_are_not_made() -> None:
    arrays = arrays_for("LSTM", 1, np.float32)
    model = one_node("LSTM", {}, arrays, True, outputs=["", "", "Y_c"])
    expected = reference("LSTM", arrays, {})[2]
    np.testing.assert_allclose(Session(model).run({"X": arrays["X"]})["Y_c"], expected, atol=1e-6)


def test_weights_are_packed_once() -> None:
    arrays = arrays_for("GRU", 1, np.float32)
    source = Source(one_node("GRU", {}, arrays, True))
    (step,) = Program(source, source.proto.graph).steps
    assert step.function.fixed is not None and step.function.fixed[0].packed is not None


def test_no_steps_and_no_rows() -> None:
    arrays = arrays_for("LSTM", 1, np.float32)
    session = Session(one_node("LSTM", {}, arrays, True))
    found = session.run({"X": np.zeros((0, 2, 3), np.float32)})
    assert found["Y"].shape == (0, 1, 2, 4) and not found["Y_h"].any()
    assert session.run({"X": np.zeros((5, 0, 3), np.float32)})["Y"].shape == (5, 1, 0, 4)


@pytest.mark.parametrize(
    "kind, options, words",
    [
        ("LSTM", {"direction": "sideways"}, "sideways"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh"]}, "3 activations"),
        ("GRU", {"activations": ["Sigmoid", "Sine"]}, "Sine"),
        ("RNN", {"activations": ["Affine"]}, "activation_alpha"),
        ("RNN", {"layout": 2}, "layout"),
        ("RNN", {"clip": -1.0}, "clip"),
        ("GRU", {"hidden_size": 5}, "hidden_size is 5"),
        ("LSTM", {"projection": 3}, "projection"),
    ],
)
def test_wrong_attributes_are_named(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=f"{kind} node.*{words}"):
        Session(one_node(kind, options, arrays_for(kind, 1, np.float32), True))


@pytest.mark.parametrize("name", ["W", "R", "B", "P"])
def test_weights_of_wrong_shapes_are_named(name: str) -> None:
    arrays = arrays_for("LSTM", 1, np.float32, peepholes=True, optional=True)
    arrays[name] = arrays[name][:, :-1]
    with pytest.raises(FormatError, match="LSTM node"):
        Session(one_node("LSTM", {}, arrays, True))


@pytest.mark.parametrize("lengths", [[1, 9], [-1, 2], [1], [[1, 2]]])
def test_wrong_lengths_are_named(lengths: Any) -> None:
    arrays = arrays_for("GRU", 1, np.float32, batch=2, lengths=True)
    session = Session(one_node("GRU", {}, {**arrays, "sequence_lens": np.array(lengths, np.int32)}, True))
    with pytest.raises(FormatError, match="sequence_lens"):
        session.run({k: arrays[k] for k in ("X", "initial_h")} | {"sequence_lens": np.array(lengths, np.int32)})


# ---- DynamicQuantizeLSTM ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "constant", "most"), [("i1", False, 2e-6), ("i1", True, 1e-2), ("u1", False, 2e-6), ("u1", True, 1e-3)]
)
@pytest.mark.parametrize("per_channel", [True, False])
def test_quantized_lstm(per_channel: bool, kind: str, constant: bool, most: float) -> None:
    """In integers if the weights are constants; in two planes of 8 bits if they go beyond those of one."""
    random = np.random.default_rng(1)
    arrays = arrays_for("LSTM", 2, np.float32, lengths=True)
    own = {"X": arrays["X"]}
    floats = dict(arrays)
    largest, middle = (127, 0) if kind == "i1" else (150, 100)
    for name in "WR":
        weights = arrays[name].swapaxes(1, 2)
        scale = np.abs(weights).max(axis=1 if per_channel else (1, 2)) / largest
        zero = (middle + random.integers(-3, 4, scale.shape)).astype(kind)
        values = np.round(weights / scale.reshape(2, 1, -1)) + zero.reshape(2, 1, -1)
        values = np.clip(values, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
        own.update({name: values, f"{name}_scale": scale.astype(np.float32), f"{name}_zero_point": zero})
        back = (values.astype(np.float32) - zero.reshape(2, 1, -1).astype(np.float32)) * scale.reshape(2, 1, -1).astype(
            np.float32
        )
        floats[name] = back.swapaxes(1, 2)
    own.update({k: arrays[k] for k in ("B", "sequence_lens", "initial_h", "initial_c")})
    names = [*NAMES["LSTM"][:-1], "", "W_scale", "W_zero_point", "R_scale", "R_zero_point"]
    node = helper.make_node("DynamicQuantizeLSTM", names, ["Y", "Y_h", "Y_c"], domain="com.microsoft", hidden_size=4,
                            direction="bidirectional")  # fmt: skip
    model = one_node("LSTM", {}, own, constant, node=node)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    session = Session(model)
    found = session.run({port.name: own[port.name] for port in session.inputs})
    for array, expected in zip(found.values(), reference("LSTM", floats, {"direction": "bidirectional"}), strict=True):
        np.testing.assert_allclose(array, expected, atol=most)
        assert not constant or np.abs(array - expected).max() > 2e-6  # nothing ran in floats


def test_float_types_in_the_description() -> None:
    session = Session(one_node("RNN", {}, arrays_for("RNN", 1, np.float16), True))
    assert session.inputs[0].dtype == np.float16
    with pytest.raises(TypeError, match="'X' must be float16, got float32"):
        session.run({"X": np.zeros((5, 3, 3), np.float32)})
    assert TensorProto.FLOAT16 == 10
