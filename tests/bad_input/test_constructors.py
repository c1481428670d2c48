"""Bad arguments of constructors: one clear error that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import constraints, initializers, layers, losses, metrics, optimizers, regularizers, schedules
from rnnx.dropout import SeedGenerator
from tests.bad_input.unchanged import refuse

NAN = float("nan")
RECURRENT = ["LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell"]
ANY = (ValueError, TypeError)

RECURRENT_ARGUMENTS: dict[str, tuple[dict[str, Any], Any, tuple[str, ...]]] = {
    "units_0": ({"units": 0}, ValueError, ("`units`", "positive integer", "0")),
    "units_negative": ({"units": -1}, ValueError, ("`units`", "-1")),
    "units_fraction": ({"units": 1.5}, ValueError, ("`units`", "1.5")),
    "units_bool": ({"units": True}, ValueError, ("`units`", "True")),
    "units_string": ({"units": "4"}, ValueError, ("`units`", "'4'")),
    "units_none": ({"units": None}, ValueError, ("`units`", "None")),
    "dropout_negative": ({"dropout": -0.1}, ValueError, ("`dropout`", "[0, 1)", "-0.1")),
    "dropout_1": ({"dropout": 1.0}, ValueError, ("`dropout`", "[0, 1)", "1.0")),
    "dropout_nan": ({"dropout": NAN}, ValueError, ("`dropout`", "nan")),
    "dropout_string": ({"dropout": "x"}, TypeError, ("`dropout`", "number", "str")),
    "dropout_none": ({"dropout": None}, TypeError, ("`dropout`", "number", "NoneType")),
    "dropout_list": ({"dropout": [0.5]}, TypeError, ("`dropout`", "number", "list")),
    "recurrent_dropout_1": ({"recurrent_dropout": 1.0}, ValueError, ("`recurrent_dropout`", "1.0")),
    "recurrent_dropout_inf": ({"recurrent_dropout": float("inf")}, ValueError, ("`recurrent_dropout`", "inf")),
    "recurrent_dropout_complex": ({"recurrent_dropout": 1j}, TypeError, ("`recurrent_dropout`", "complex")),
    "zoneout_1": ({"zoneout": 1.0}, ValueError, ("zoneout", "1.0")),
    "zoneout_negative": ({"zoneout": -0.5}, ValueError, ("zoneout", "-0.5")),
    "zoneout_three": ({"zoneout": (0.1, 0.1, 0.1)}, ValueError, ("zoneout", "3")),
    "zoneout_string": ({"zoneout": "x"}, TypeError, ("zoneout", "str")),
    "noise_shape_int": ({"noise_shape": 3}, ValueError, ("`noise_shape`", "tuple", "3")),
    "noise_shape_zero": ({"noise_shape": (1, 0, 1)}, ValueError, ("`noise_shape`", "0 in (1, 0, 1)")),
    "noise_shape_size": ({"noise_shape": (1, -1, 1)}, ValueError, ("`noise_shape`", "-1")),
    "noise_shape_string": ({"noise_shape": "abc"}, ValueError, ("`noise_shape`", "'abc'")),
    "recurrent_noise_shape": ({"recurrent_noise_shape": (1.5, 1, 1)}, ValueError, ("`recurrent_noise_shape`", "1.5")),
    "dropout_gates": ({"dropout_gates": "some"}, ValueError, ("`dropout_gates`", "'shared'", "'some'")),
    "mode": ({"recurrent_dropout_mode": "hidden"}, ValueError, ("`recurrent_dropout_mode`", "'state'", "'hidden'")),
    "weight_noise": ({"weight_noise": "int4"}, ValueError, ("`weight_noise`", "None, 'int8'", "'int4'")),
    "compat": ({"compat": "keras9"}, ValueError, ("`compat`", "'keras3'", "'keras9'")),
    "seed_negative": ({"seed": -1}, ValueError, ("`seed`", "-1")),
    "seed_string": ({"seed": "x"}, TypeError, ("`seed`", "str")),
    "seed_float": ({"seed": 1.5}, TypeError, ("`seed`", "float")),
    "activation": ({"activation": "sinus"}, ValueError, ("activation", "'sinus'", "tanh")),
    "activation_number": ({"activation": 3}, TypeError, ("activation", "int")),
    "kernel_initializer": ({"kernel_initializer": "best"}, ANY, ("initializer", "'best'")),
    "initializer_number": ({"recurrent_initializer": 3}, ANY, ("initializer", "int")),
    "bias_regularizer": ({"bias_regularizer": "l9"}, ANY, ("regularizer", "'l9'")),
    "kernel_constraint": ({"kernel_constraint": "tight"}, ANY, ("constraint", "'tight'")),
    "implementation": ({"implementation": 7}, ValueError, ("`implementation`", "7")),
    "dtype_int": ({"dtype": "int32"}, ValueError, ("`dtype`", "'float32'", "int32")),
    "dtype_half": ({"dtype": "float16"}, ValueError, ("`dtype`", "float16")),
    "dtype_name": ({"dtype": "wide"}, ValueError, ("`dtype`", "wide")),
    "unknown": ({"colour": "red"}, TypeError, ("colour",)),
    "input_shape": ({"input_shape": (None, -3)}, ValueError, ("`input_shape`", "-3")),
}


@pytest.mark.parametrize("case", RECURRENT_ARGUMENTS)
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent(name: str, case: str) -> None:
    given, kind, words = RECURRENT_ARGUMENTS[case]
    refuse(lambda: getattr(layers, name)(**{"units": 4, **given}), kind, *words)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_time_major(name: str) -> None:
    refuse(lambda: getattr(layers, name)(4, time_major=True), ValueError, "time-major", "swapaxes")


@pytest.mark.parametrize("name", ["GRU", "SimpleRNN"])
def test_zoneout_pair_needs_a_cell_state(name: str) -> None:
    refuse(lambda: getattr(layers, name)(4, zoneout=(0.1, 0.2)), ValueError, "zoneout")


LAYERS: dict[str, tuple[Callable[[], Any], Any, tuple[str, ...]]] = {
    "trainable_string": (lambda: layers.Dense(1, trainable="x"), ValueError, ("`trainable`", "True or False", "'x'")),
    "trainable_number": (lambda: layers.Dense(1, trainable=1), ValueError, ("`trainable`", "got 1")),
    "two_shapes": (
        lambda: layers.Input(shape=(2,), batch_shape=(1, 2)), ValueError, ("`shape`", "`batch_shape`", "not both"),
    ),
    "dense_units_0": (lambda: layers.Dense(0), ValueError, ("`units`", "0")),
    "dense_units_bool": (lambda: layers.Dense(True), ValueError, ("`units`", "True")),
    "dense_units_float": (lambda: layers.Dense(2.0), ValueError, ("`units`", "2.0")),
    "dense_activation": (lambda: layers.Dense(2, "sinus"), ValueError, ("activation", "'sinus'")),
    "dense_unknown": (lambda: layers.Dense(2, unit=3), TypeError, ("unit", "Dense")),
    "activation": (lambda: layers.Activation("sinus"), ValueError, ("activation", "'sinus'")),
    "relu_max": (lambda: layers.ReLU(max_value=-1), ValueError, ("`max_value`",)),
    "relu_slope": (lambda: layers.ReLU(negative_slope=-1), ValueError, ("`negative_slope`",)),
    "softmax_axis": (lambda: layers.Softmax(axis="last"), ANY, ("axis", "last")),
    "embedding_input_dim": (lambda: layers.Embedding(0, 4), ValueError, ("`input_dim`", "0")),
    "embedding_output_dim": (lambda: layers.Embedding(4, 1.5), ValueError, ("`output_dim`", "1.5")),
    "dropout_rate": (lambda: layers.Dropout(1.1), ValueError, ("`rate`", "[0, 1]", "1.1")),
    "dropout_nan": (lambda: layers.Dropout(NAN), ValueError, ("`rate`", "nan")),
    "dropout_string": (lambda: layers.Dropout("x"), TypeError, ("`rate`", "str")),
    "dropout_noise": (lambda: layers.Dropout(0.5, noise_shape="x"), ValueError, ("`noise_shape`",)),
    "dropout_noise_0": (lambda: layers.Dropout(0.5, noise_shape=(0, None)), ValueError, ("`noise_shape`", "0")),
    "spatial_rate": (lambda: layers.SpatialDropout1D(-0.1), ValueError, ("`rate`", "-0.1")),
    "gaussian_rate": (lambda: layers.GaussianDropout(1.0), ValueError, ("`rate`", "[0, 1)", "1.0")),
    "alpha_rate": (lambda: layers.AlphaDropout(1.0), ValueError, ("`rate`", "[0, 1)", "1.0")),
    "conv_filters": (lambda: layers.Conv1D(0, 3), ValueError, ("`filters`", "0")),
    "conv_kernel": (lambda: layers.Conv1D(2, 0), ValueError, ("`kernel_size`", "0")),
    "conv_strides": (lambda: layers.Conv1D(2, 3, strides=0), ValueError, ("`strides`", "0")),
    "conv_padding": (lambda: layers.Conv1D(2, 3, padding="full"), ValueError, ("`padding`", "'full'")),
    "conv_format": (lambda: layers.Conv1D(2, 3, data_format="first"), ValueError, ("channels_last", "'first'")),
    "conv2d_kernel": (lambda: layers.Conv2D(2, (3, 3, 3)), ValueError, ("`kernel_size`", "2 of them", "(3, 3, 3)")),
    "conv2d_causal": (lambda: layers.Conv2D(2, 3, padding="causal"), ValueError, ("`padding`", "'causal'")),
    "conv2d_short": (lambda: layers.Conv2D(2, 3)(np.ones((1, 2, 5, 1))), ValueError, ("2 step", "at least 3")),
    "depthwise_depth": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=0), ValueError, ("`depth_multiplier`", "0")),
    "transpose_more": (
        lambda: layers.Conv2DTranspose(2, 3, output_padding=1), ValueError, ("`output_padding`", "`strides`", "1"),
    ),
    "pool2d_size": (lambda: layers.MaxPooling2D((2, 0)), ValueError, ("`pool_size`", "(2, 0)")),
    "pool_size": (lambda: layers.MaxPooling1D(0), ValueError, ("`pool_size`", "0")),
    "pool_format": (lambda: layers.MaxPooling1D(2, data_format="NCW"), ValueError, ("`data_format`", "'NCW'")),
    "global_format": (lambda: layers.GlobalMaxPooling1D("first"), ValueError, ("`data_format`", "'first'")),
    "flatten_format": (lambda: layers.Flatten("last"), ValueError, ("`data_format`", "'last'")),
    "pool_padding": (lambda: layers.AveragePooling1D(2, padding="causal"), ValueError, ("`padding`", "'causal'")),
    "layer_norm_axis": (lambda: layers.LayerNormalization(axis=[0, 2]), ValueError, ("`axis`", "[0, 2]")),
    "batch_norm_axis": (lambda: layers.BatchNormalization(axis=[1, 2]), ValueError, ("`axis`", "[1, 2]")),
    "group_norm_groups": (lambda: layers.GroupNormalization(0), ValueError, ("`groups`", "0")),
    "group_norm_divide": (lambda: layers.GroupNormalization(3)(np.ones((1, 4))), ValueError, ("`groups`", "4", "3")),
    "rms_epsilon": (lambda: layers.RMSNormalization(epsilon=NAN), ValueError, ("`epsilon`", "nan")),
    "unit_axis": (lambda: layers.UnitNormalization(axis=()), ValueError, ("`axis`", "()")),
    "leaky_slope": (lambda: layers.LeakyReLU(None), ValueError, ("`negative_slope`", "None")),
    "leaky_negative": (lambda: layers.LeakyReLU(-0.5), ValueError, ("`negative_slope`", "-0.5")),
    "elu_alpha": (lambda: layers.ELU("1"), ValueError, ("`alpha`", "'1'")),
    "prelu_shared": (lambda: layers.PReLU(shared_axes=[0]), ValueError, ("`shared_axes`", "[0]")),
    "noise_stddev": (lambda: layers.GaussianNoise(2.0), ValueError, ("`stddev`", "2.0")),
    "padding_negative": (lambda: layers.ZeroPadding1D(-1), ValueError, ("`padding`", "-1")),
    "padding_axes": (lambda: layers.ZeroPadding2D((1, 2, 3)), ValueError, ("`padding`", "(1, 2, 3)")),
    "cropping_all": (lambda: layers.Cropping1D(2)(np.ones((1, 4, 1))), ValueError, ("`cropping`", "4")),
    "up_size": (lambda: layers.UpSampling1D(0), ValueError, ("`size`", "0")),
    "up_cubic": (lambda: layers.UpSampling2D(interpolation="bicubic"), ValueError, ("`interpolation`", "bicubic")),
    "dot_batch": (lambda: layers.Dot((0, 1)), ValueError, ("`axes`", "(0, 1)")),
    "dot_sizes": (lambda: layers.Dot(1)([np.ones((1, 2)), np.ones((1, 3))]), ValueError, ("size 2", "3")),
    "dot_three": (lambda: layers.Dot(1)([np.ones((1, 2))] * 3), ValueError, ("two inputs", "3")),
    "subtract_one": (lambda: layers.Subtract()([np.ones((1, 2))]), ValueError, ("two inputs", "1")),
    "layer_norm_epsilon": (lambda: layers.LayerNormalization(epsilon=0), ValueError, ("`epsilon`", "0")),
    "layer_norm_nan": (lambda: layers.LayerNormalization(epsilon=NAN), ValueError, ("`epsilon`", "nan")),
    "batch_norm_momentum": (lambda: layers.BatchNormalization(momentum=1.5), ValueError, ("`momentum`", "1.5")),
    "batch_norm_epsilon": (lambda: layers.BatchNormalization(epsilon=-1), ValueError, ("`epsilon`", "-1")),
    "reshape_two_unknown": (lambda: layers.Reshape((-1, -1)), ValueError, ("`target_shape`", "(-1, -1)")),
    "reshape_negative": (lambda: layers.Reshape((-2, 3)), ValueError, ("`target_shape`", "-2")),
    "permute_zero": (lambda: layers.Permute((0, 1)), ValueError, ("`dims`", "(0, 1)")),
    "permute_twice": (lambda: layers.Permute((1, 1)), ValueError, ("`dims`", "(1, 1)")),
    "repeat_0": (lambda: layers.RepeatVector(0), ValueError, ("`n`", "0")),
    "repeat_float": (lambda: layers.RepeatVector(2.5), ValueError, ("`n`", "2.5")),
    "time_distributed": (lambda: layers.TimeDistributed("dense"), ValueError, ("TimeDistributed", "str")),
    "bidirectional_layer": (lambda: layers.Bidirectional(layers.Dense(2)), ValueError, ("Bidirectional", "Dense")),
    "bidirectional_mode": (
        lambda: layers.Bidirectional(layers.GRU(2), merge_mode="max"), ValueError, ("`merge_mode`", "'max'"),
    ),
    "bidirectional_backwards": (
        lambda: layers.Bidirectional(layers.GRU(2, go_backwards=True)), ValueError, ("must not go backwards",),
    ),
    "bidirectional_pair": (
        lambda: layers.Bidirectional(layers.GRU(2), backward_layer=layers.GRU(2)), ValueError, ("go_backwards=True",),
    ),
    "bidirectional_outputs": (
        lambda: layers.Bidirectional(
            layers.GRU(2), backward_layer=layers.GRU(2, go_backwards=True, return_sequences=True)
        ), ValueError, ("`return_sequences`",),
    ),
    "rnn_cell": (lambda: layers.RNN(3), ValueError, ("RNN", "cell", "int")),
    "rnn_no_cells": (lambda: layers.RNN([]), ValueError, ("at least one cell",)),
    "stacked_cells": (lambda: layers.StackedRNNCells([3]), ValueError, ("StackedRNNCells", "int")),
    "input_nothing": (lambda: rnnx.Input(), ValueError, ("shape",)),
    "input_negative": (lambda: rnnx.Input((None, -1)), ValueError, ("`input_shape`", "-1")),
    "input_sparse": (lambda: rnnx.Input((3,), sparse=True), ValueError, ("sparse",)),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case: str) -> None:
    make, kind, words = LAYERS[case]
    refuse(make, kind, *words)


OTHERS: dict[str, tuple[Callable[[], Any], Any, tuple[str, ...]]] = {
    "rate_negative": (lambda: optimizers.SGD(-0.1), ValueError, ("`learning_rate`", "-0.1")),
    "rate_nan": (lambda: optimizers.Adam(NAN), ValueError, ("`learning_rate`", "nan")),
    "rate_string": (lambda: optimizers.Adam("fast"), ANY, ("learning_rate", "fast")),
    "momentum": (lambda: optimizers.SGD(momentum=1.5), ValueError, ("`momentum`", "1.5")),
    "beta_1": (lambda: optimizers.Adam(beta_1=1.0), ValueError, ("`beta_1`", "1.0")),
    "beta_2": (lambda: optimizers.AdamW(beta_2=-0.1), ValueError, ("`beta_2`", "-0.1")),
    "clipnorm": (lambda: optimizers.SGD(clipnorm=0), ValueError, ("`clipnorm`", "0")),
    "clipvalue": (lambda: optimizers.RMSprop(clipvalue=-1), ValueError, ("`clipvalue`", "-1")),
    "two_clips": (lambda: optimizers.SGD(clipnorm=1, clipvalue=1), ValueError, ("clipnorm", "clipvalue", "one")),
    "nadam": (lambda: optimizers.Nadam(amsgrad=True), ValueError, ("amsgrad",)),
    "optimizer_unknown": (lambda: optimizers.get("adamant"), ANY, ("optimizer", "'adamant'")),
    "optimizer_argument": (lambda: optimizers.Adam(speed=3), TypeError, ("speed",)),
    "loss_unknown": (lambda: losses.get("msee"), ANY, ("loss", "'msee'")),
    "loss_reduction": (lambda: losses.MeanSquaredError(reduction="all"), ValueError, ("`reduction`", "'all'")),
    "huber": (lambda: losses.Huber(delta=0), ValueError, ("`delta`", "0")),
    "smoothing": (
        lambda: losses.BinaryCrossentropy(label_smoothing=2), ValueError, ("`label_smoothing`", "2"),
    ),
    "loss_axis": (lambda: losses.CategoricalCrossentropy(axis=1.5), TypeError, ("`axis`", "1.5")),
    "loss_axis_range": (
        lambda: losses.CategoricalCrossentropy(axis=2)([[1.0, 0.0]], [[0.5, 0.5]]), ValueError, ("`axis`", "[-2, 2)"),
    ),
    "metric_unknown": (lambda: metrics.get("precisely"), ANY, ("metric", "'precisely'")),
    "initializer_unknown": (lambda: initializers.get("glorot"), ANY, ("initializer", "'glorot'")),
    "scaling_scale": (lambda: initializers.VarianceScaling(scale=0), ValueError, ("`scale`", "0")),
    "scaling_mode": (lambda: initializers.VarianceScaling(mode="fan"), ValueError, ("`mode`", "'fan'")),
    "orthogonal": (lambda: initializers.Orthogonal()((3,)), ValueError, ("two axes", "(3,)")),
    "identity": (lambda: initializers.Identity()((3,)), ValueError, ("two axes", "(3,)")),
    "regularizer_negative": (lambda: regularizers.L2(-1), ValueError, ("`l2`", "-1")),
    "regularizer_nan": (lambda: regularizers.L1(NAN), ValueError, ("`l1`", "nan")),
    "constraint_unknown": (lambda: constraints.get("tight"), ANY, ("constraint", "'tight'")),
    "piecewise": (lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1]), ValueError, ("2", "1")),
    "decay_steps": (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ValueError, ("`decay_steps`", "0")),
    "seed_stream": (lambda: SeedGenerator(1, stream="torch"), ValueError, ("`stream`", "'torch'")),
    "seed_large": (lambda: SeedGenerator(2**32), ValueError, ("`seed`", "4294967296")),
    "early_mode": (lambda: rnnx.callbacks.EarlyStopping(mode="up"), ValueError, ("`mode`", "'up'")),
    "plateau_factor": (lambda: rnnx.callbacks.ReduceLROnPlateau(factor=1.5), ValueError, ("`factor`", "1.5")),
    "checkpoint": (lambda: rnnx.callbacks.ModelCheckpoint("a", save_freq="hour"), ValueError, ("`save_freq`", "hour")),
    "lambda": (lambda: rnnx.callbacks.LambdaCallback(on_lunch=print), TypeError, ("on_lunch",)),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_others(case: str) -> None:
    make, kind, words = OTHERS[case]
    refuse(make, kind, *words)


LOSS_CALLS: dict[str, tuple[Any, Any, Any, dict[str, Any], tuple[str, ...]]] = {
    "shapes": (losses.MeanSquaredError, np.zeros((2, 3)), np.zeros((2, 4)), {}, ("(2, 3)", "(2, 4)")),
    "weights": (
        losses.MeanSquaredError, np.zeros((2, 3)), np.zeros((2, 3)), {"sample_weight": np.ones(5)}, ("sample_weight",),
    ),
    "mask": (losses.MeanSquaredError, np.zeros((2, 3)), np.zeros((2, 3)), {"mask": np.ones(5, bool)}, ("`mask`",)),
    "scalar": (losses.MeanSquaredError, np.float64(1), np.float64(1), {}, ("`y_pred`",)),
    "class_beyond": (
        losses.SparseCategoricalCrossentropy, np.array([0, 3]), np.full((2, 3), 1 / 3), {}, ("0..2", "3"),
    ),
    "class_negative": (
        losses.SparseCategoricalCrossentropy, np.array([0, -5]), np.full((2, 3), 1 / 3), {}, ("0..2", "-5"),
    ),
    "class_fraction": (
        losses.SparseCategoricalCrossentropy, np.array([0, 0.5]), np.full((2, 3), 1 / 3), {}, ("whole numbers",),
    ),
    "class_nan": (
        losses.SparseCategoricalCrossentropy, np.array([0, NAN]), np.full((2, 3), 1 / 3), {}, ("whole numbers",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LOSS_CALLS)
def test_loss_calls(case: str) -> None:
    loss, y_true, y_pred, options, words = LOSS_CALLS[case]
    refuse(lambda: loss()(y_true, y_pred, **options), ValueError, *words)
    refuse(lambda: loss().value_and_grad(y_true, y_pred, **options), ValueError, *words)
