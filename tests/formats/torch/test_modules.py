"""Whole modules that PyTorch pickled: their classes, arguments and order are used, and what has no layer is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import info, torch
from rnnx.formats.convert import convert
from rnnx.formats.torch import _chain, _classes
from rnnx.formats.torch._values import Global, Instance
from rnnx.saving import FormatError
from tests.golden import store

CASES = store.load("torch_modules")
FILES = store.DATA / "torch_modules"
REFUSED = {
    "instance": "InstanceNorm1d", "rms": "RMSNorm", "each_batch": "track_running_stats=False",
    "transposed": "ConvTranspose1d", "mirrored": "padding_mode=reflect",
    "shortened": "max_norm=0.1", "bag": "EmbeddingBag", "slopes": "PReLU",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_sequential_is_a_chain(name: str, tmp_path: Any) -> None:
    model = rnnx.load_model(FILES / f"{name}.pt")
    x, y = CASES[name]["x"], CASES[name]["y"]
    np.testing.assert_allclose(model.predict(x, verbose=0), y, rtol=1e-5, atol=1e-6)
    if name not in ("conv", "image"):  # which take 12 or 13 steps or 9 rows, and the random input has others
        convert(FILES / f"{name}.pt", tmp_path / "m.safetensors")
        np.testing.assert_array_equal(rnnx.load_model(tmp_path / "m.safetensors")(x), model(x))


def test_arguments_of_modules() -> None:
    conv = torch.load(FILES / "conv.pt")
    assert (conv["0"].strides, conv["0"].dilation_rate, conv["0"].groups, conv["0"].padding) == (2, 2, 3, "valid")
    assert conv["2"].epsilon == 0.01 and conv["2"].momentum == 0.7
    assert torch.load(FILES / "same.pt")["z"].padding == "same"
    assert torch.load(FILES / "dense.pt")["3.1"].epsilon == 0.1
    words = torch.load(FILES / "words.pt")
    assert type(words["0"]).__name__ == "Embedding" and words["5"].forward_layer.activation.name == "relu"
    assert torch.load(FILES / "conv.pt", options={"0": {"strides": 1}})["0"].strides == 1


def test_normalization_of_groups() -> None:
    """The value is PyTorch's, see `tests.golden.make_torch_modules`."""
    model = rnnx.load_model(FILES / "grouped.pt")
    x = (np.linspace(-1, 1, 12, dtype="float32").reshape(2, 2, 3) ** 2).swapaxes(1, 2)
    wanted = [[-0.30476513504981995, 0.9095045328140259], [-0.7123465538024902, 1.0212949514389038]]
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted, rtol=1e-5, atol=1e-6)
    layer = torch.load(FILES / "grouped.pt")["1"]
    assert (type(layer).__name__, layer.groups, layer.epsilon) == ("GroupNormalization", 2, 0.01)
    for own, array in torch.state_dict(layer).items():
        assert own in ("weight", "bias") and array.shape == (4,)
    attributes = {"num_groups": 0, "eps": 1e-5}
    with pytest.raises(FormatError, match="num_groups must be at least 1"):
        _classes.WITH_WEIGHTS["GroupNorm"](attributes, {"weight": np.ones(4), "bias": np.ones(4)})


def test_zeros_around_a_convolution_are_a_layer_of_a_chain() -> None:
    names = [type(layer).__name__ for layer in torch.load_model(FILES / "padded.pt").layers]
    convolutions = ["ZeroPadding1D", "Conv1D", "ReLU", "ZeroPadding1D", "Conv1D", "ZeroPadding1D", "Conv1D", "Conv1D"]
    assert names == [*convolutions, "Permute", "Reshape", "Dense"]
    assert not any("padding=1" in line for line in info.lines(FILES / "padded.pt"))


def convolved(x: Any, weight: Any, bias: Any, zeros: Any, strides: Any) -> Any:
    """PyTorch's convolution of features last, written as sums over windows."""
    rank = x.ndim - 2
    padded = np.pad(x, [(0, 0), *[(n, n) for n in zeros], (0, 0)])
    axes = tuple(range(1, 1 + rank))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axes)
    windows = windows[(slice(None), *[slice(None, None, n) for n in strides])]
    return np.tensordot(windows, weight, [[1 + rank, *range(2 + rank, 2 + 2 * rank)], [1, *range(2, 2 + rank)]]) + bias


@pytest.mark.parametrize(("name", "strides"), [("padded", 1), ("strided", 2)])
def test_zeros_around_a_convolution_that_is_no_part_of_a_chain(name: str, strides: int) -> None:
    model = torch.load(FILES / "refused.pt", modules=[name])[name]
    arrays = torch.state_dict({name: model})
    assert sorted(arrays) == [f"{name}.bias", f"{name}.weight"]
    x = np.random.default_rng(3).normal(size=(2, 9, 3)).astype("float32")
    wanted = convolved(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"], [1], [strides])
    np.testing.assert_allclose(model(x), wanted, rtol=0, atol=1e-6)
    options = {name: {"padding": 1, "strides": strides}}
    for again in (torch.load(arrays, options=options)[name], model):
        np.testing.assert_allclose(again(x), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding", [0, 1, (2, 0), "same"])
def test_convolutions_of_images_in_a_state_dict(padding: Any, tmp_path: Any) -> None:
    rng = np.random.default_rng(4)
    arrays = {"c.weight": rng.normal(size=(4, 3, 3, 3)), "c.bias": rng.normal(size=4)}
    words = {} if padding == 0 else {"options": {"c": {"padding": padding}}}
    layer = torch.load(arrays, **words)["c"]
    x = rng.normal(size=(2, 6, 5, 3))
    zeros = {0: (0, 0), 1: (1, 1), "same": (1, 1)}.get(padding, padding)
    np.testing.assert_allclose(layer(x), convolved(x, *arrays.values(), zeros, (1, 1)), rtol=0, atol=1e-12)
    torch.save({"c": layer}, tmp_path / "c.pt")
    for name, array in torch._state.read_state(tmp_path / "c.pt").arrays.items():
        np.testing.assert_array_equal(array, arrays[name])
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    torch.load_weights({"c": layer}, arrays)
    np.testing.assert_allclose(layer(x), convolved(x, *arrays.values(), zeros, (1, 1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", [-1, 1.5, (1, 2, 3), 1 << 40, None])
def test_numbers_of_zeros_that_cannot_be(padding: Any) -> None:
    with pytest.raises(FormatError, match="padding"):
        torch.load({"c.weight": np.ones((4, 3, 3, 3))}, options={"c": {"padding": padding}})


@pytest.mark.parametrize(
    ("name", "shape"), [("padded", "(3, 13, 3)"), ("conv", "(3, 13, 3)"), ("image", "(3, 5, 10, 3)")]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".onnx"])
def test_chains_that_fix_the_number_of_steps_are_converted(name: str, shape: str, suffix: str, tmp_path: Any) -> None:
    done = convert(FILES / f"{name}.pt", tmp_path / f"{name}{suffix}")
    assert done.largest_difference < 1e-5 and shape in done.compared


@pytest.mark.parametrize("name", ["conv", "same", "dense", "words", "padded", "image", "grouped"])
def test_a_state_dict_is_compared_with_what_it_does_not_hold(name: str, tmp_path: Any) -> None:
    """Groups and strides of a convolution, the epsilon of a norm, which kind of matrix it is."""
    assert convert(FILES / f"{name}.pt", tmp_path / "weights.pt").largest_difference == 0


def test_what_has_no_layer_is_refused_by_name() -> None:
    with pytest.raises(FormatError) as caught:
        torch.load(FILES / "refused.pt")
    for name, word in REFUSED.items():
        assert f"module '{name}'" in str(caught.value) and word in str(caught.value)
    said = "\n".join(info.lines(FILES / "refused.pt"))
    for name, word in REFUSED.items():
        assert f"module '{name}'" in said and word in said
        with pytest.raises(FormatError, match=f"'{name}'"):
            torch.load(FILES / "refused.pt", modules=[name])
    assert list(torch.load(FILES / "refused.pt", modules=["fine", "steep"])) == ["fine", "steep.0"]


def test_all_modules_of_a_chain_that_have_no_layer_are_named() -> None:
    with pytest.raises(FormatError, match=r"'steep.1' \(ELU\): alpha=0.5.*'steep.2' \(Softmax\): dim=0.*a LogSoftmax"):
        torch.load_model(FILES / "refused.pt", modules=["steep"])


def test_modules_without_parameters_can_be_named(tmp_path: Any) -> None:
    model = torch.load_model(FILES / "dense.pt", modules=["3.0", "2", "3"][:2])
    layers = torch.load(FILES / "dense.pt")
    x = np.linspace(-1, 3, 12).reshape(2, 6)
    np.testing.assert_allclose(model(x), np.clip(layers["3.0"](x), 0, 6), rtol=0, atol=1e-6)


def module(kind: str, **attributes: Any) -> Instance:
    return Instance(Global("torch.nn.modules.x", kind), attributes)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["Conv1d", "Linear"], "takes the timesteps of the convolution"),
        (["Embedding", "Conv1d"], "takes the timesteps of the module before it as channels"),
        (["LSTM", "BatchNorm1d"], "normalizes timesteps here"),
        (["GRU", "Linear"], "returns a tuple"),
        (["Linear", "Dropout1d", "Linear"], "as channels"),
        (["Linear", "Unflatten"], "is a Unflatten"),
        (["Conv2d", "Linear"], "takes the timesteps of the convolution"),
        (["Conv2d", "MaxPool1d"], "Conv2d and MaxPool1d in one chain"),
        (["Conv2d", "Flatten", "MaxPool2d"], "what a Flatten before it"),
    ],
)
def test_features_in_another_place(kinds: list[str], message: str) -> None:
    """Which would be other numbers, not an error."""
    parts = [(str(k), module(kind)) for k, kind in enumerate(kinds)]
    made = {name: rnnx.layers.Dense(3) for name, part in parts if part.kind.name in _classes.WITH_WEIGHTS}
    with pytest.raises(FormatError, match=message):
        _chain.chain_of(parts, made)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LeakyReLU", {"negative_slope": -0.1}),
        ("LeakyReLU", {"negative_slope": "0.1"}),
        ("Softmax", {"dim": 0}),
        ("GELU", {"approximate": "tanh"}),
        ("Flatten", {"start_dim": 0}),
        ("MaxPool1d", {"kernel_size": 2, "ceil_mode": True}),
        ("MaxPool1d", {"kernel_size": 2, "padding": (1,)}),
        ("MaxPool2d", {"kernel_size": 2, "padding": (0, 1)}),
        ("MaxPool2d", {"kernel_size": (2, 2, 2)}),
        ("AvgPool2d", {"kernel_size": 2, "divisor_override": 3}),
        ("AdaptiveAvgPool2d", {"output_size": (1, 2)}),
        ("AdaptiveAvgPool1d", {"output_size": 3}),
        ("Hardtanh", {"min_val": -1.0}),
        ("Dropout", {"p": 1.5}),
        ("Softplus", {"beta": 2.0}),
    ],
)
def test_arguments_without_a_layer(kind: str, attributes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=rf"module '0' \({kind}\)"):
        _chain.chain_of([("0", module(kind, **attributes))], {})


@pytest.mark.parametrize(
    "attributes",
    [
        {"stride": (2, 2)}, {"dilation": 1 << 40}, {"dilation": (1 << 20,)}, {"padding": "circular"},
        {"groups": -1}, {"stride": None}, {"padding": (1,), "padding_mode": "circular"},
    ],
)  # fmt: skip
def test_strange_arguments_of_a_convolution(attributes: dict[str, Any]) -> None:
    parts = {"weight": np.ones((4, 3, 3), np.float32)}
    with pytest.raises(FormatError, match=r"module 'c' \(Conv1d\)"):
        _classes.settled("c", module("Conv1d", **attributes), "Conv1d", parts)


def test_arguments_do_not_reach_the_terminal_raw() -> None:
    with pytest.raises(FormatError) as refused:
        _classes.only({"padding_mode": "mirror\x1b[2J\n"}, "padding_mode", "zeros")
    assert str(refused.value).isprintable()


def test_a_class_of_ones_own() -> None:
    """Whose arrays are those of a norm or a convolution: its computation may be another."""
    own = Instance(Global("__main__", "Norm"), {})
    parts = {"weight": np.ones(3, np.float32), "bias": np.ones(3, np.float32)}
    with pytest.raises(FormatError, match="__main__.Norm, whose computation is not in the file"):
        _classes.settled("n", own, "LayerNorm", parts)
    assert _classes.settled("n", own, "matrix", parts)[0] == "matrix"
