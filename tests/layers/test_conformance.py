"""Every layer passes the harness of `tests.conformance`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.layers import Layer
from tests.conformance import CHECKS, Example, check_gradients

RNG = np.random.default_rng(17)
SEQUENCE = RNG.normal(size=(3, 5, 4))
FLAT = RNG.normal(size=(3, 4))
IDS = RNG.integers(0, 7, (3, 5))
PAIR = [RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 5, 4))]
LINES = RNG.normal(size=(3, 5, 4, 2))
FILM = RNG.normal(size=(3, 5, 3, 4, 2))
IMAGE = RNG.normal(size=(3, 4, 5, 2))
VOLUME = np.random.default_rng(18).normal(size=(2, 3, 4, 3, 2))
NOISE = {"dropout": 0.3, "recurrent_dropout": 0.3, "seed": 3}


def of(kind: Any, *args: Any, **options: Any) -> Any:
    return lambda **kwargs: kind(*args, **{**options, **kwargs})


def recurrent(kind: Any, **options: Any) -> Any:
    return of(kind, 3, **options)


def around(wrapper: Any, inner: Any, **options: Any) -> Any:
    """A layer around another one of the same dtype."""

    def make(**kwargs: Any) -> Any:
        return wrapper(inner(**{k: v for k, v in kwargs.items() if k == "dtype"}), **options, **kwargs)

    return make


@rnnx.utils.register_keras_serializable()
def halves(x: Any, gain: float = 0.5) -> Any:
    """For Lambda."""
    return gain * x * x


S = {"return_sequences": True}
FIRST = {"data_format": "channels_first"}
EXAMPLES: dict[str, Example] = {}
for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN):
    name = kind.__name__
    EXAMPLES |= {
        name: Example(recurrent(kind), [SEQUENCE], mask="drop"),
        f"{name}_sequences": Example(recurrent(kind, **S), [SEQUENCE]),
        f"{name}_states": Example(recurrent(kind, return_state=True, **S), [SEQUENCE]),
        f"{name}_backwards": Example(recurrent(kind, go_backwards=True, use_bias=False, **S), [SEQUENCE]),
        f"{name}_slow": Example(recurrent(kind, activation="gelu", **S), [SEQUENCE]),
    }
    for mode in ("state", "update", "cell", "weights"):
        EXAMPLES[f"{name}_{mode}"] = Example(
            recurrent(kind, recurrent_dropout_mode=mode, **NOISE, **S), [SEQUENCE], noisy=True
        )
    EXAMPLES[f"{name}_zoneout"] = Example(recurrent(kind, zoneout=0.3, seed=3, **S), [SEQUENCE], noisy=True)
    EXAMPLES[f"{name}_fresh"] = Example(
        recurrent(kind, noise_shape=(None, None, 1), recurrent_noise_shape=(1, None, None), **NOISE),
        [SEQUENCE],
        noisy=True,
        mask="drop",
    )
EXAMPLES |= {
    "GRU_reset_before": Example(recurrent(layers.GRU, reset_after=False, **S), [SEQUENCE]),
    "RNN": Example(around(layers.RNN, recurrent(layers.GRUCell)), [SEQUENCE], mask="drop"),
    "RNN_lstm": Example(around(layers.RNN, recurrent(layers.LSTMCell, **NOISE), **S), [SEQUENCE], noisy=True),
    "RNN_stack": Example(
        around(
            layers.RNN,
            lambda **kw: layers.StackedRNNCells([layers.LSTMCell(3, **kw), layers.SimpleRNNCell(2, **kw)], **kw),
            return_state=True,
            **S,
        ),
        [SEQUENCE],
    ),
    "TimeDistributed": Example(around(layers.TimeDistributed, of(layers.Dense, 2, activation="tanh")), [SEQUENCE]),
    "TimeDistributed_dropout": Example(
        around(layers.TimeDistributed, of(layers.Dropout, 0.4, seed=1)), [SEQUENCE], noisy=True
    ),
    "Dense": Example(of(layers.Dense, 3, activation="tanh"), [FLAT]),
    "Dense_steps": Example(of(layers.Dense, 3, activation="softmax", use_bias=False), [SEQUENCE]),
    "Activation": Example(of(layers.Activation, "gelu"), [SEQUENCE]),
    "ReLU": Example(of(layers.ReLU, 0.8, 0.1, 0.2), [SEQUENCE]),
    "Softmax": Example(of(layers.Softmax), [SEQUENCE]),
    "ReversibleEmbedding": Example(of(layers.ReversibleEmbedding, 7, 4), [IDS], whole_numbers=True),
    "ReversibleEmbedding_apart": Example(
        of(layers.ReversibleEmbedding, 7, 4, tie_weights=False), [IDS], whole_numbers=True
    ),
    "SpectralNormalization": Example(around(layers.SpectralNormalization, of(layers.Dense, 3)), [SEQUENCE], moves=True),
    "SpectralNormalization_lines": Example(
        around(layers.SpectralNormalization, of(layers.Conv1D, 3, 2), power_iterations=2),
        [SEQUENCE],
        mask="drop",
        moves=True,
    ),
    "Embedding": Example(of(layers.Embedding, 7, 3), [IDS], whole_numbers=True),
    "Embedding_mask": Example(of(layers.Embedding, 7, 3, mask_zero=True), [IDS], whole_numbers=True, mask="own"),
    "Masking": Example(of(layers.Masking), [SEQUENCE], mask="own"),
    "Dropout": Example(of(layers.Dropout, 0.4, seed=1), [SEQUENCE], noisy=True),
    "Dropout_steps": Example(of(layers.Dropout, 0.4, noise_shape=(None, None, 1), seed=1), [SEQUENCE], noisy=True),
    "SpatialDropout1D": Example(of(layers.SpatialDropout1D, 0.4, seed=1), [SEQUENCE], noisy=True),
    "GaussianDropout": Example(of(layers.GaussianDropout, 0.4, seed=1), [SEQUENCE], noisy=True),
    "AlphaDropout": Example(of(layers.AlphaDropout, 0.4, seed=1), [SEQUENCE], noisy=True),
    "LayerNormalization": Example(of(layers.LayerNormalization), [SEQUENCE]),
    "BatchNormalization": Example(of(layers.BatchNormalization), [SEQUENCE]),
    "Conv1D": Example(of(layers.Conv1D, 3, 2, activation="tanh"), [SEQUENCE], mask="drop"),
    "Conv1D_same": Example(of(layers.Conv1D, 3, 3, strides=2, padding="same"), [SEQUENCE], mask="drop"),
    "Conv1D_causal": Example(of(layers.Conv1D, 3, 2, dilation_rate=2, padding="causal"), [SEQUENCE], mask="drop"),
    "MaxPooling1D": Example(of(layers.MaxPooling1D, 2), [SEQUENCE], mask="drop"),
    "AveragePooling1D": Example(of(layers.AveragePooling1D, 2, 1, "same"), [SEQUENCE], mask="drop"),
    "GlobalMaxPooling1D": Example(of(layers.GlobalMaxPooling1D), [SEQUENCE], mask="drop"),
    "GlobalAveragePooling1D": Example(of(layers.GlobalAveragePooling1D, keepdims=True), [SEQUENCE], mask="drop"),
    "Flatten": Example(of(layers.Flatten), [SEQUENCE], mask="drop"),
    "MaxPooling1D_first": Example(of(layers.MaxPooling1D, 2, **FIRST), [SEQUENCE], mask="drop"),
    "AveragePooling1D_first": Example(of(layers.AveragePooling1D, 2, 1, "same", **FIRST), [SEQUENCE], mask="drop"),
    "GlobalMaxPooling1D_first": Example(of(layers.GlobalMaxPooling1D, keepdims=True, **FIRST), [SEQUENCE], mask="drop"),
    "GlobalAveragePooling1D_first": Example(of(layers.GlobalAveragePooling1D, **FIRST), [SEQUENCE], mask="drop"),
    "Flatten_first": Example(of(layers.Flatten, **FIRST), [SEQUENCE], mask="drop"),
    "Lambda": Example(of(layers.Lambda, halves), [SEQUENCE], mask="drop"),
    "Reshape": Example(of(layers.Reshape, (2, -1)), [SEQUENCE], mask="drop"),
    "Permute": Example(of(layers.Permute, (2, 1)), [SEQUENCE], mask="drop"),
    "RepeatVector": Example(of(layers.RepeatVector, 3), [FLAT], mask="drop"),
    "Add": Example(of(layers.Add), PAIR),
    "Add_spread": Example(of(layers.Add), [PAIR[0], PAIR[1][:, :1]], mask="own"),
    "Average": Example(of(layers.Average), PAIR),
    "Multiply": Example(of(layers.Multiply), PAIR),
    "Arithmetic": Example(of(layers.Arithmetic, "subtract"), PAIR, mask="drop"),
    "Arithmetic_spread": Example(of(layers.Arithmetic, "divide"), [PAIR[0], PAIR[1][:, :1] + 5], mask="drop"),
    "Arithmetic_number": Example(of(layers.Arithmetic, "divide", left=2.0), [SEQUENCE + 5], mask="drop"),
    "Conv1D_first": Example(of(layers.Conv1D, 5, 2, groups=5, **FIRST), [SEQUENCE], mask="drop"),
    "Conv2D": Example(of(layers.Conv2D, 3, (2, 3), padding="same", activation="tanh"), [IMAGE], mask="drop"),
    "Conv2D_strides": Example(of(layers.Conv2D, 4, 3, strides=(2, 1), groups=2), [IMAGE], mask="drop"),
    "Conv2D_dilated": Example(of(layers.Conv2D, 4, (2, 1), dilation_rate=(2, 1), **FIRST), [IMAGE], mask="drop"),
    "DepthwiseConv1D": Example(of(layers.DepthwiseConv1D, 3, 2, "same", 2), [SEQUENCE], mask="drop"),
    "DepthwiseConv2D": Example(of(layers.DepthwiseConv2D, 2, depth_multiplier=2, **FIRST), [IMAGE], mask="drop"),
    "SeparableConv1D": Example(of(layers.SeparableConv1D, 3, 2, depth_multiplier=2), [SEQUENCE], mask="drop"),
    "SeparableConv2D": Example(of(layers.SeparableConv2D, 3, 3, 2, "same", activation="elu"), [IMAGE], mask="drop"),
    "Conv1DTranspose": Example(of(layers.Conv1DTranspose, 3, 3, 2, "same"), [SEQUENCE], mask="drop"),
    "Conv2DTranspose": Example(of(layers.Conv2DTranspose, 3, (1, 3), 2), [IMAGE], mask="drop"),
    "Conv2DTranspose_first": Example(
        of(layers.Conv2DTranspose, 2, 3, (1, 2), "same", (0, 1), **FIRST), [IMAGE], mask="drop"
    ),
    "Conv3D": Example(of(layers.Conv3D, 2, (2, 1, 3), (1, 2, 1), "same", activation="tanh"), [VOLUME], mask="drop"),
    "Conv3D_groups": Example(
        of(layers.Conv3D, 2, 2, groups=2, **FIRST), [VOLUME.transpose(0, 4, 1, 2, 3)], mask="drop"
    ),
    "Conv3DTranspose": Example(of(layers.Conv3DTranspose, 2, 2, (2, 1, 1), "same"), [VOLUME], mask="drop"),
    "MaxPooling3D": Example(of(layers.MaxPooling3D, (2, 3, 1), 1, "same"), [VOLUME], mask="drop"),
    "AveragePooling3D": Example(of(layers.AveragePooling3D, 2, (1, 2, 1), "same"), [VOLUME], mask="drop"),
    "GlobalMaxPooling3D": Example(of(layers.GlobalMaxPooling3D, **FIRST), [VOLUME], mask="drop"),
    "GlobalAveragePooling3D": Example(of(layers.GlobalAveragePooling3D, keepdims=True), [VOLUME], mask="drop"),
    "MaxPooling2D": Example(of(layers.MaxPooling2D, (2, 3), 1, "same"), [IMAGE], mask="drop"),
    "MaxPooling2D_first": Example(of(layers.MaxPooling2D, 2, **FIRST), [IMAGE], mask="drop"),
    "AveragePooling2D": Example(of(layers.AveragePooling2D, 3, (1, 2), "same"), [IMAGE], mask="drop"),
    "GlobalMaxPooling2D": Example(of(layers.GlobalMaxPooling2D, **FIRST), [IMAGE], mask="drop"),
    "GlobalAveragePooling2D": Example(of(layers.GlobalAveragePooling2D, keepdims=True), [IMAGE], mask="drop"),
    "TimeDistributed_images": Example(
        around(layers.TimeDistributed, of(layers.Conv2D, 2, 2)), [RNG.normal(size=(2, 3, 3, 4, 2))]
    ),
    "Attention": Example(of(layers.Attention, use_scale=True, dropout=0.4, seed=1), PAIR, noisy=True, mask="own"),
    "Attention_concat": Example(of(layers.Attention, True, "concat"), [*PAIR, SEQUENCE], mask="own"),
    "Attention_causal": Example(of(layers.Attention), PAIR, call={"use_causal_mask": True}, mask="own"),
    "AdditiveAttention": Example(of(layers.AdditiveAttention), [PAIR[0], PAIR[1][:, :3]], mask="own"),
    "MultiHeadAttention": Example(
        of(layers.MultiHeadAttention, 2, 3, dropout=0.4, seed=1), PAIR, noisy=True, mask="own"
    ),
    "MultiHeadAttention_all": Example(
        of(layers.MultiHeadAttention, 2, 3, 2, output_shape=5, use_gate=True, use_bias=False, sliding_window=3),
        [PAIR[0], PAIR[1][:, :3], RNG.normal(size=(3, 3, 2))],
        mask="own",
        call={"use_causal_mask": True},
    ),
    "GroupedQueryAttention": Example(
        of(layers.GroupedQueryAttention, 3, 4, 2, use_gate=True, dropout=0.3, seed=1), PAIR, noisy=True, mask="own"
    ),
    "EinsumDense": Example(of(layers.EinsumDense, "abc,cd->abd", (None, 3), "tanh", "d"), [SEQUENCE], mask="drop"),
    "EinsumDense_turned": Example(of(layers.EinsumDense, "abc,bcde->aed", (2, 3), None, "e"), [SEQUENCE], mask="drop"),
    "EinsumDense_others": Example(of(layers.EinsumDense, "...x,xy->...y", (4, 5, 3), None, "y"), [IMAGE], mask="drop"),
    "ConvLSTM1D": Example(of(layers.ConvLSTM1D, 2, 2, **NOISE), [LINES], noisy=True, mask="drop"),
    "ConvLSTM1D_sequences": Example(
        of(layers.ConvLSTM1D, 2, 3, 2, "same", activation="elu", return_state=True, **S), [LINES]
    ),
    "ConvLSTM2D": Example(of(layers.ConvLSTM2D, 2, 2, go_backwards=True, use_bias=False, **S), [FILM]),
    "ConvLSTM2D_first": Example(
        of(layers.ConvLSTM2D, 2, (2, 1), zero_output_for_mask=True, return_state=True, **S, **FIRST, **NOISE),
        [FILM],
        noisy=True,
    ),
    "AdaptiveAveragePooling1D": Example(of(layers.AdaptiveAveragePooling1D, 2), [SEQUENCE], mask="drop"),
    "AdaptiveAveragePooling2D": Example(of(layers.AdaptiveAveragePooling2D, (2, 3)), [IMAGE], mask="drop"),
    "AdaptiveAveragePooling3D": Example(of(layers.AdaptiveAveragePooling3D, 2, **FIRST), [VOLUME], mask="drop"),
    "AdaptiveMaxPooling1D": Example(of(layers.AdaptiveMaxPooling1D, 3), [SEQUENCE], mask="drop"),
    "AdaptiveMaxPooling2D": Example(of(layers.AdaptiveMaxPooling2D, 2, **FIRST), [IMAGE], mask="drop"),
    "AdaptiveMaxPooling3D": Example(of(layers.AdaptiveMaxPooling3D, (1, 2, 3)), [VOLUME], mask="drop"),
    "ConvLSTM3D": Example(
        of(layers.ConvLSTM3D, 2, (1, 2, 2), **S, **NOISE), [RNG.normal(size=(3, 5, 1, 2, 3, 1))], noisy=True
    ),
    "Softmax_axes": Example(of(layers.Softmax, axis=(1, 3)), [IMAGE]),
    "LeakyReLU": Example(of(layers.LeakyReLU, 0.2), [SEQUENCE]),
    "ELU": Example(of(layers.ELU, 0.7), [SEQUENCE]),
    "PReLU": Example(of(layers.PReLU), [SEQUENCE]),
    "PReLU_shared": Example(of(layers.PReLU, shared_axes=[1, 2]), [IMAGE]),
    "Identity": Example(of(layers.Identity), [SEQUENCE]),
    "ActivityRegularization": Example(of(layers.ActivityRegularization, 0.1, 0.2), [SEQUENCE]),
    "GaussianNoise": Example(of(layers.GaussianNoise, 0.4, seed=1), [SEQUENCE], noisy=True),
    "SpatialDropout2D": Example(of(layers.SpatialDropout2D, 0.4, seed=1), [IMAGE], noisy=True),
    "SpatialDropout2D_first": Example(of(layers.SpatialDropout2D, 0.4, seed=1, **FIRST), [IMAGE], noisy=True),
    "ZeroPadding1D": Example(of(layers.ZeroPadding1D, (2, 1)), [SEQUENCE], mask="drop"),
    "SpatialDropout3D": Example(of(layers.SpatialDropout3D, 0.4, seed=1), [VOLUME], noisy=True),
    "ZeroPadding3D": Example(of(layers.ZeroPadding3D, ((2, 1), (0, 1), (1, 1))), [VOLUME], mask="drop"),
    "Cropping3D": Example(of(layers.Cropping3D, (1, 1, (0, 1)), **FIRST), [VOLUME.repeat(2, 4)], mask="drop"),
    "UpSampling3D": Example(of(layers.UpSampling3D, (1, 3, 2)), [VOLUME], mask="drop"),
    "ZeroPadding2D_first": Example(of(layers.ZeroPadding2D, ((2, 1), (0, 1)), **FIRST), [IMAGE], mask="drop"),
    "Cropping1D": Example(of(layers.Cropping1D, (2, 1)), [SEQUENCE], mask="drop"),
    "Cropping2D": Example(of(layers.Cropping2D, ((2, 1), (0, 1))), [IMAGE], mask="drop"),
    "UpSampling1D": Example(of(layers.UpSampling1D, 3), [SEQUENCE], mask="drop"),
    "UpSampling2D": Example(of(layers.UpSampling2D, (1, 3)), [IMAGE], mask="drop"),
    "UpSampling2D_bilinear": Example(
        of(layers.UpSampling2D, (2, 3), interpolation="bilinear", **FIRST), [IMAGE], mask="drop"
    ),
    "LayerNormalization_axes": Example(of(layers.LayerNormalization, (1, -1)), [IMAGE]),
    "LayerNormalization_steps": Example(of(layers.LayerNormalization, 1), [SEQUENCE]),
    "BatchNormalization_first": Example(of(layers.BatchNormalization, 1), [IMAGE]),
    "GroupNormalization": Example(of(layers.GroupNormalization, 2), [SEQUENCE]),
    "GroupNormalization_first": Example(of(layers.GroupNormalization, 2, 1), [IMAGE]),
    "RMSNormalization": Example(of(layers.RMSNormalization, (1, 2)), [SEQUENCE], mask="drop"),
    "UnitNormalization": Example(of(layers.UnitNormalization), [SEQUENCE]),
    "Subtract": Example(of(layers.Subtract), PAIR),
    "Subtract_spread": Example(of(layers.Subtract), [PAIR[0][:, :1], PAIR[1]], mask="own"),
    "Maximum": Example(of(layers.Maximum), [*PAIR, SEQUENCE]),
    "Maximum_spread": Example(of(layers.Maximum), [PAIR[0][:, :1], PAIR[1]], mask="own"),
    "Minimum": Example(of(layers.Minimum), PAIR),
    "Dot": Example(of(layers.Dot, (2, 1)), [PAIR[0], RNG.normal(size=(3, 4, 2))], mask="drop"),
    "Dot_cosine": Example(of(layers.Dot, -1, normalize=True), PAIR, mask="drop"),
    "Operation": Example(of(layers.Operation, "softmax", {"axis": 1}), [SEQUENCE], mask="drop"),
    "Operation_pair": Example(of(layers.Operation, "maximum"), PAIR, mask="drop"),
    "Operation_list": Example(of(layers.Operation, "stack", {"axis": 2}), PAIR, mask="drop"),
    "Operation_several": Example(
        of(layers.Operation, "split", {"indices_or_sections": 2, "axis": 2}), [SEQUENCE], mask="drop"
    ),
    "Normalization": Example(of(layers.Normalization), [SEQUENCE]),
    "Normalization_inverted": Example(of(layers.Normalization, axis=(1, 2), invert=True), [SEQUENCE]),
    "Normalization_given": Example(of(layers.Normalization, mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0] * 4), [SEQUENCE]),
    "Rescaling": Example(of(layers.Rescaling, 3.0, offset=-1.0), [SEQUENCE]),
    "Concatenate": Example(of(layers.Concatenate), PAIR),
    "Concatenate_steps": Example(of(layers.Concatenate, axis=1), PAIR, mask="own"),
}
for mode in ("concat", "sum", "mul", "ave", None):
    EXAMPLES[f"Bidirectional_{mode}"] = Example(
        around(layers.Bidirectional, recurrent(layers.GRU, **S), merge_mode=mode), [SEQUENCE]
    )
EXAMPLES["Bidirectional_last"] = Example(
    around(layers.Bidirectional, recurrent(layers.LSTM, **NOISE)), [SEQUENCE], noisy=True, mask="drop"
)
NOT_ALONE = {
    "InputLayer", "Layer", "Wrapper", "LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells", "CategoryEncoding",
    "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization",  # of ids
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_conformance(name: str, check: str) -> None:
    CHECKS[check](EXAMPLES[name])


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in EXAMPLES
        if name.split("_")[0] in ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
    ],
)
def test_gradients_under_a_mask(name: str) -> None:
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 0, 0, 0]], bool)
    check_gradients(EXAMPLES[name], mask=mask)


@pytest.mark.parametrize(
    "name", [n for n in EXAMPLES if n.split("_")[0] == "Bidirectional" or n == "BatchNormalization"]
)
def test_gradients_under_lengths(name: str) -> None:
    check_gradients(EXAMPLES[name], mask=np.arange(5) < np.array([5, 0, 3])[:, None])


def test_masking_zeroes_values_and_gradients() -> None:
    layer = layers.Masking(2.0, dtype="float64")
    x = SEQUENCE.copy()
    x[1, 2:] = 2
    x[0, 0, :2] = 2
    valid = np.ones((3, 5), bool)
    valid[1, 2:] = False
    y, pullback = layer.vjp(x)
    assert np.array_equal(layer.compute_mask(x, None), valid)
    assert np.array_equal(y, np.where(valid[..., None], x, 0))
    assert np.array_equal(pullback(np.ones_like(y)).dx, np.broadcast_to(valid[..., None], x.shape))


def test_every_layer_has_an_example() -> None:
    public = {
        getattr(layers, name).__name__  # not that of the same layer under another name
        for name in layers.__all__
        if isinstance(getattr(layers, name), type) and issubclass(getattr(layers, name), Layer)
    }
    assert public - NOT_ALONE == {name.split("_")[0] for name in EXAMPLES}
