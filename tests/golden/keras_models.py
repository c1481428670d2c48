"""Models with everything that rnnx and Keras 3 have in common, for the round trips between them."""

import numpy as np

import rnnx
from rnnx import layers as L

RECURRENT = (L.LSTM, L.GRU, L.SimpleRNN)


def chain(*parts, shape=(7, 3), **options):
    return lambda: rnnx.Sequential([rnnx.Input(shape, **options), *(part() for part in parts)])


def _recurrent():
    made = {}
    for cls in RECURRENT:
        name = cls.__name__.lower()
        made[name] = chain(lambda cls=cls: cls(5))
        made[f"{name}_stack"] = chain(
            lambda cls=cls: cls(5, return_sequences=True),
            lambda cls=cls: cls(4, dropout=0.2, recurrent_dropout=0.3, seed=3),
            lambda: L.Dense(2, activation="softmax"),
        )
        made[f"{name}_options"] = chain(
            lambda cls=cls: cls(
                5,
                activation="relu",
                use_bias=False,
                go_backwards=True,
                unroll=True,
                kernel_regularizer="l2",
                recurrent_constraint="max_norm",
                return_sequences=True,
                zero_output_for_mask=True,
            )
        )
        for mode in ("concat", "sum", "mul", "ave"):
            made[f"{name}_masked_{mode}"] = chain(
                L.Masking,
                lambda cls=cls, mode=mode: L.Bidirectional(cls(4, return_sequences=True), merge_mode=mode),
                lambda cls=cls, mode=mode: L.Bidirectional(cls(3), merge_mode=mode),
            )
        made[f"{name}_two_outputs"] = lambda cls=cls: _directions(cls, merge_mode=None)
        made[f"{name}_states"] = lambda cls=cls: _directions(cls, return_state=True, return_sequences=True)
    return made


def _directions(cls, merge_mode="concat", **options):
    x = rnnx.Input((7, 3))
    return rnnx.Model(x, L.Bidirectional(cls(4, **options), merge_mode=merge_mode)(x))


def encoder_decoder():
    source, target = rnnx.Input((None, 3), name="source"), rnnx.Input((None, 2), name="target")
    _, h, c = L.LSTM(4, return_state=True)(source)
    y = L.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
    return rnnx.Model([source, target], [L.TimeDistributed(L.Dense(3))(y), h])


def shared():
    x = rnnx.Input((7, 3))
    layer = L.GRU(4, return_sequences=True)
    p = layer(x)
    q = layer(L.Dense(3)(p))
    return rnnx.Model(x, L.Concatenate()([L.Add()([p, q]), L.Multiply()([p, q]), L.Average()([p, q])]))


def nested():
    x = rnnx.Input((7, 3))
    inner = chain(lambda: L.GRU(4, return_sequences=True), L.BatchNormalization, lambda: L.Dense(2))()
    return rnnx.Model(x, L.LSTM(3)(inner(x)))


def branches():
    """Layers of one class that Keras sorts in another order than they were made in."""
    x = rnnx.Input((7, 3))
    late = L.LSTM(4, name="late")(x)
    early = L.LSTM(3, name="second")(L.LSTM(3, return_sequences=True, name="first")(x))
    return rnnx.Model(x, [L.Concatenate()([L.Dense(2)(early), late])])


def arithmetic():
    x = rnnx.Input((7, 3))
    gate, y = L.Dense(3, activation="sigmoid")(x), L.GRU(3, return_sequences=True)(x)
    mixed = -(gate * x + (1 - gate) * y) / 2 + x / (2 + gate) - 0.25
    return rnnx.Model(x, L.LSTM(2)(L.Arithmetic("maximum")([mixed, L.Arithmetic("minimum")([x, y])])))


def arithmetic_masked():
    x = rnnx.Input((7, 3))
    masked = L.Masking()(x)
    both = [L.GRU(3, return_sequences=True)(masked) for _ in range(2)]
    return rnnx.Model(x, [L.LSTM(2)(both[0] + both[1]), L.LSTM(2)(L.Add()(both))])


def merges():
    """Everything that joins two, and a mask that goes through."""
    x = rnnx.Input((7, 3))
    masked = L.Masking()(x)
    y = L.GRU(3, return_sequences=True)(masked)
    joined = [L.Subtract()([y, x]), L.Maximum()([y, x]), L.Minimum()([y, masked])]
    alike = L.Dot(axes=2, normalize=True)([y, x])
    return rnnx.Model(x, [L.LSTM(2)(L.Identity()(L.Concatenate()(joined))), alike, L.Dot((1, 1))([x, y])])


def attentive():
    """Every attention, with masks, switches and scores."""
    x, y = rnnx.Input((7, 3), name="x"), rnnx.Input((5, 3), name="y")
    a, b = L.Masking()(x), L.GRU(3, return_sequences=True)(L.Masking()(y))
    one, scores = L.Attention(use_scale=True, score_mode="concat")([a, b], return_attention_scores=True)
    two = L.AdditiveAttention(dropout=0.2, seed=3)([a, b, b])
    three = L.MultiHeadAttention(2, 3, value_dim=2, use_gate=True)(a, b, key=b)
    four = L.MultiHeadAttention(2, 3, output_shape=4, sliding_window=3)(one, one, use_causal_mask=True)
    last = L.EinsumDense("abc,cd->abd", (None, 2), bias_axes="d")(L.Concatenate()([one, two, three, four]))
    return rnnx.Model([x, y], [L.LSTM(2)(last), scores])


def noisy():
    x = rnnx.Input((7, 3))
    return rnnx.Model(x, L.Dropout(0.5)(L.LSTM(3)(x), training=True))


MODELS = {
    **_recurrent(),
    "gru_reset_before": chain(lambda: L.GRU(5, reset_after=False)),
    "hard_sigmoid": chain(lambda: L.LSTM(5, recurrent_activation="hard_sigmoid")),
    "backward_layer": chain(lambda: L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(3, go_backwards=True))),
    "cells": chain(lambda: L.RNN([L.LSTMCell(4), L.GRUCell(3), L.LSTMCell(2)], return_sequences=True)),
    "one_cell": chain(lambda: L.RNN(L.GRUCell(3))),
    "both_cells": chain(lambda: L.Bidirectional(L.RNN([L.LSTMCell(4), L.LSTMCell(2)]))),
    "ids": chain(
        lambda: L.Embedding(9, 4, mask_zero=True),
        lambda: L.LSTM(3, return_sequences=True),
        lambda: L.GRU(3),
        shape=(7,),
        dtype="int32",
    ),
    "each_step": chain(
        lambda: L.TimeDistributed(L.Dense(4, activation="tanh")),
        lambda: L.TimeDistributed(L.BatchNormalization()),
        L.GlobalAveragePooling1D,
    ),
    "convolution": chain(
        lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2),
        L.BatchNormalization,
        lambda: L.ReLU(negative_slope=0.1),
        lambda: L.MaxPooling1D(2),
        lambda: L.AveragePooling1D(2, padding="same"),
        L.LayerNormalization,
        L.GlobalMaxPooling1D,
        L.Softmax,
    ),
    "shapes_and_noise": chain(
        lambda: L.Permute((2, 1)),
        lambda: L.Reshape((7, 3)),
        L.Flatten,
        lambda: L.RepeatVector(3),
        lambda: L.Dropout(0.3, noise_shape=(None, 1, None)),
        lambda: L.SpatialDropout1D(0.2),
        lambda: L.GaussianDropout(0.1),
        lambda: L.AlphaDropout(0.1),
        lambda: L.Activation("elu"),
        lambda: L.LSTM(2),
    ),
    "stateful": chain(lambda: L.LSTM(3, stateful=True), batch_size=2),
    "resized": chain(
        lambda: L.ZeroPadding1D((2, 1)),
        lambda: L.PReLU(shared_axes=[1]),
        lambda: L.Cropping1D(2),
        lambda: L.LeakyReLU(negative_slope=0.2),
        lambda: L.UpSampling1D(3),
        lambda: L.ELU(alpha=0.5),
        lambda: L.GroupNormalization(3),
        L.RMSNormalization,
        L.UnitNormalization,
        lambda: L.GaussianNoise(0.2, seed=3),
        lambda: L.ActivityRegularization(l1=0.01),
        lambda: L.LayerNormalization(axis=[1, 2]),
        lambda: L.BatchNormalization(axis=1),
        lambda: L.Softmax(axis=[1, 2]),
    ),
    "images_resized": chain(
        lambda: L.ZeroPadding2D(((2, 1), (0, 1))),
        lambda: L.Cropping2D(((1, 0), (0, 2)), data_format="channels_first"),
        lambda: L.UpSampling2D((2, 3), interpolation="bilinear"),
        lambda: L.UpSampling2D(2, data_format="channels_first"),
        lambda: L.SpatialDropout2D(0.3, data_format="channels_first"),
        shape=(4, 5, 3),
    ),
    "images": chain(
        lambda: L.Conv2D(4, 3, padding="same", activation="relu"),
        lambda: L.MaxPooling2D((2, 1)),
        lambda: L.DepthwiseConv2D(2, depth_multiplier=2),
        lambda: L.SeparableConv2D(4, (1, 3), data_format="channels_first"),
        lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1),
        lambda: L.AveragePooling2D(2, padding="same"),
        L.GlobalAveragePooling2D,
        shape=(6, 7, 2),
    ),
    "sequences_of_images": chain(
        lambda: L.TimeDistributed(L.Conv2D(3, 2, strides=(1, 2), groups=1)),
        lambda: L.TimeDistributed(L.MaxPooling2D(2)),
        lambda: L.TimeDistributed(L.GlobalMaxPooling2D()),
        lambda: L.LSTM(3),
        shape=(4, 5, 6, 2),
    ),
    "steps": chain(
        lambda: L.Conv1D(4, 2, data_format="channels_first"),
        lambda: L.DepthwiseConv1D(2),
        lambda: L.SeparableConv1D(3, 2, padding="same"),
        lambda: L.Conv1DTranspose(2, 3, strides=2),
        lambda: L.GRU(2),
    ),
    "films": chain(
        lambda: L.ConvLSTM2D(3, 2, padding="same", return_sequences=True, dropout=0.2, recurrent_dropout=0.1, seed=3),
        lambda: L.TimeDistributed(L.AveragePooling2D()),
        lambda: L.ConvLSTM2D(2, (1, 2), go_backwards=True, recurrent_activation="hard_sigmoid"),
        lambda: L.Reshape((2, -1)),
        lambda: L.GRU(2),
        shape=(4, 5, 6, 2),
    ),
    "lines": chain(lambda: L.ConvLSTM1D(3, 2, data_format="channels_first", use_bias=False), shape=(4, 2, 6)),
    "merges": merges,
    "attentive": attentive,
    "encoder_decoder": encoder_decoder,
    "shared": shared,
    "nested": nested,
    "branches": branches,
    "arithmetic": arithmetic,
    "arithmetic_masked": arithmetic_masked,
    "noisy": noisy,
}


def inputs_of(model, name):
    """Random weights, and random inputs with gaps where there is a mask."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        variance = "variance" in weight.name
        weight.assign(rng.uniform(0.5, 2, weight.shape) if variance else 0.4 * rng.normal(size=weight.shape))
    made = []
    for tensor in model.inputs:
        shape = [2, *(7 if n is None else n for n in tensor.shape[1:])]
        x = rng.integers(0, 9, shape) if name == "ids" else rng.normal(size=shape)
        if "masked" in name:
            x[0, 4:] = x[1, :2] = x[1, 4] = 0
        made.append(x.astype(tensor.node.layer.value_dtype))
    return made
