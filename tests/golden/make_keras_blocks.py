"""Make ``keras_blocks.npz`` and ``keras_files/blocks.tar.xz``: convolutional and attention models, from Keras 3.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_blocks``.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .keras_archive import pack
from .keras_torch import as_list, gradient_of, keras, record, tensor, torch
from .store import DATA, Case, build_layer, random_like, save

BATCH, TIMESTEPS, FEATURES = 2, 6, 4
SEQUENCE, ROW, IMAGE = (BATCH, TIMESTEPS, FEATURES), (BATCH, FEATURES), (BATCH, 4, 5, 2)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0]], dtype=bool)
FIRST = {"data_format": "channels_first"}

Entry = tuple[str, dict[str, Any], list[tuple[int, ...]]]


def elementwise() -> list[Entry]:
    """Activations with parameters, merging, padding, cropping, up-sampling and normalization."""
    found: list[Entry] = [
        ("LeakyReLU", {}, [SEQUENCE]),
        ("LeakyReLU", {"negative_slope": 0.1}, [ROW]),
        ("ELU", {}, [SEQUENCE]),
        ("ELU", {"alpha": 0.4}, [ROW]),
        ("PReLU", {}, [SEQUENCE]),
        ("PReLU", {"shared_axes": [1]}, [SEQUENCE]),
        ("PReLU", {"shared_axes": [1, 2]}, [IMAGE]),
        ("Softmax", {"axis": [1, 2]}, [SEQUENCE]),
        ("Softmax", {"axis": [-1, 1]}, [IMAGE]),
        ("Identity", {}, [SEQUENCE]),
        ("Subtract", {}, [SEQUENCE] * 2),
        ("Maximum", {}, [SEQUENCE] * 3),
        ("Minimum", {}, [SEQUENCE] * 2),
        ("Dot", {"axes": 1}, [ROW] * 2),
        ("Dot", {"axes": -1, "normalize": True}, [SEQUENCE, (BATCH, 3, FEATURES)]),
        ("Dot", {"axes": [1, 2]}, [SEQUENCE, (BATCH, 5, TIMESTEPS)]),
        ("Dot", {"axes": [2, 1], "normalize": True}, [SEQUENCE, ROW]),
        ("Dot", {"axes": [1, 3]}, [ROW, (BATCH, 2, 3, FEATURES)]),
        ("ZeroPadding1D", {"padding": 2}, [SEQUENCE]),
        ("ZeroPadding1D", {"padding": [0, 3], **FIRST}, [SEQUENCE]),
        ("ZeroPadding2D", {"padding": [1, 2]}, [IMAGE]),
        ("ZeroPadding2D", {"padding": [[1, 0], [0, 2]], **FIRST}, [IMAGE]),
        ("Cropping1D", {"cropping": [1, 0]}, [SEQUENCE]),
        ("Cropping1D", {}, [SEQUENCE]),
        ("Cropping2D", {"cropping": [[1, 0], [2, 1]]}, [IMAGE]),
        ("Cropping2D", {"cropping": [2, 1], **FIRST}, [(BATCH, 3, 5, 6)]),
        ("UpSampling1D", {"size": 3}, [SEQUENCE]),
        ("UpSampling2D", {"size": [2, 3]}, [IMAGE]),
        ("UpSampling2D", {**FIRST}, [IMAGE]),
        ("UpSampling2D", {"size": [2, 3], "interpolation": "bilinear"}, [IMAGE]),
        ("UpSampling2D", {"size": 3, "interpolation": "bilinear", **FIRST}, [IMAGE]),
        ("LayerNormalization", {"axis": [1, 2]}, [SEQUENCE]),
        ("LayerNormalization", {"axis": [1, 3]}, [IMAGE]),
        ("LayerNormalization", {"axis": [3, 1], "scale": False}, [IMAGE]),
        ("GroupNormalization", {"groups": 2}, [SEQUENCE]),
        ("GroupNormalization", {"groups": 3, "axis": 1, "epsilon": 0.1}, [(BATCH, 6, 4, 2)]),
        ("GroupNormalization", {"groups": -1, "center": False}, [IMAGE]),
        ("UnitNormalization", {}, [SEQUENCE]),
        ("UnitNormalization", {"axis": [1, 2]}, [IMAGE]),
        ("RMSNormalization", {}, [SEQUENCE]),
        ("RMSNormalization", {"axis": [2, 3], "epsilon": 0.1}, [IMAGE]),
    ]
    return found


def windows() -> list[Entry]:
    """Convolutions and pooling of sequences and images."""
    found: list[Entry] = []
    for padding, strides, dilation in [("valid", 1, 1), ("same", 1, 2), ("same", (2, 1), 1), ("valid", (1, 2), 1)]:
        options = {"padding": padding, "strides": strides, "dilation_rate": dilation}
        found += [
            ("Conv2D", {"filters": 3, "kernel_size": [3, 2], "activation": "tanh", **options}, [IMAGE]),
            ("Conv2D", {"filters": 4, "kernel_size": 2, "groups": 2, **options, **FIRST}, [(BATCH, 2, 4, 5)]),
        ]
    for padding, strides, dilation in [("valid", 1, 1), ("same", 1, 2), ("same", 2, 1)]:
        options = {"padding": padding, "strides": strides, "dilation_rate": dilation, "kernel_size": 3}
        found += [
            ("Conv1D", {"filters": 4, **options, **FIRST}, [SEQUENCE]),
            ("DepthwiseConv1D", {"depth_multiplier": 2, **options}, [SEQUENCE]),
            ("DepthwiseConv2D", {"activation": "relu", **options, "kernel_size": [2, 3]}, [IMAGE]),
            ("SeparableConv1D", {"filters": 3, "depth_multiplier": 2, **options, **FIRST}, [SEQUENCE]),
            ("SeparableConv2D", {"filters": 3, "use_bias": False, **options, "kernel_size": 2}, [IMAGE]),
        ]
    for padding, strides, dilation, more in [
        ("valid", 1, 1, None), ("valid", 2, 1, None), ("valid", 3, 1, 2), ("same", 1, 1, None), ("same", 2, 1, None),
        ("same", 2, 1, 1), ("valid", 1, 2, None), ("same", 3, 1, None),
    ]:  # fmt: skip
        options = {"padding": padding, "strides": strides, "dilation_rate": dilation, "output_padding": more}
        found += [
            ("Conv1DTranspose", {"filters": 2, "kernel_size": 3, **options}, [SEQUENCE]),
            ("Conv1DTranspose", {"filters": 2, "kernel_size": 2, **options, **FIRST}, [SEQUENCE]),
        ]
        if dilation == 1:
            found.append(("Conv2DTranspose", {"filters": 2, "kernel_size": [3, 4], **options}, [(BATCH, 2, 3, 2)]))
    for name in ("MaxPooling2D", "AveragePooling2D"):
        found += [
            (name, {"pool_size": 2}, [IMAGE]),
            (name, {"pool_size": [3, 1], "strides": 1, "padding": "same"}, [IMAGE]),
            (name, {"pool_size": [2, 3], "strides": [1, 2], **FIRST}, [(BATCH, 2, 4, 5)]),
        ]
    for name in ("GlobalMaxPooling2D", "GlobalAveragePooling2D"):
        found += [(name, {}, [IMAGE]), (name, {"keepdims": True, **FIRST}, [IMAGE])]
    found += [
        ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": [None, 3], "bias_axes": "d"}, [SEQUENCE]),
        ("EinsumDense", {"equation": "abc,bcde->aed", "output_shape": [2, 3], "bias_axes": "e"}, [SEQUENCE]),
        ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 3, "activation": "tanh"}, [ROW]),
        ("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": [3, 4], "bias_axes": "c"}, [SEQUENCE]),
    ]
    return found


SEVERAL = ("Subtract", "Maximum", "Minimum", "Dot")


def layer_cases(rng: np.random.Generator, entries: list[Entry]) -> dict[str, Case]:
    """Run every layer of a list."""
    cases = {}
    for name, kwargs, shapes in entries:
        inputs = random_like(rng, shapes, scale=1.0)
        label = "-".join([name, *(f"{key}={value}" for key, value in kwargs.items()), str(shapes[0])])
        cases[label] = record({"class": name, "kwargs": kwargs}, rng, inputs if name in SEVERAL else inputs[0])
    return cases


def batch_normalization_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Batch normalization over an axis that is not the last."""
    cases = {}
    for shape, axis in ((SEQUENCE, 1), (IMAGE, 1), (IMAGE, -2)):
        parts = random_like(rng, [(shape[axis],)] * 4)
        parts[3] = np.abs(parts[3]) + np.float32(0.5)
        for training in (False, True):
            x = random_like(rng, [shape], scale=1.0)[0]
            spec = {"class": "BatchNormalization", "kwargs": {"axis": axis, "momentum": 0.8}}
            cases[f"BatchNormalization-{axis}-{training}-{len(shape)}"] = record(
                spec, rng, x, weights=parts, training=training
            )
    return cases


def attention_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Attention layers with masks, causal ones and returned scores."""
    query, value, key = (BATCH, 4, 3), (BATCH, TIMESTEPS, 3), (BATCH, TIMESTEPS, 2)
    alone = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], dtype=bool)
    shown = rng.random((BATCH, 4, TIMESTEPS)) > 0.4
    shown[:, :, 0] = True  # what a query gets that sees nothing depends on the backend
    causal, scores = {"use_causal_mask": True}, {"return_attention_scores": True}
    heads = {"num_heads": 2, "key_dim": 3}
    listed: list[tuple[str, dict[str, Any], list[tuple[int, ...]], list[Any], dict[str, Any]]] = [
        ("Attention", {}, [query, value], [], {}),
        ("Attention", {"use_scale": True}, [query, value, value], [alone, MASK], scores),
        ("Attention", {"use_scale": True, "score_mode": "concat"}, [query, value], [None, MASK], causal),
        ("Attention", {"score_mode": "concat"}, [query, value, value], [alone, None], {**causal, **scores}),
        ("AdditiveAttention", {}, [query, value], [alone, MASK], causal),
        ("AdditiveAttention", {"use_scale": False}, [query, value, value], [], scores),
        ("MultiHeadAttention", heads, [query, value], [], {}),
        ("MultiHeadAttention", {**heads, "value_dim": 2}, [query, value, key], [alone, MASK, MASK], scores),
        ("MultiHeadAttention", {**heads, "output_shape": 5, "use_bias": False}, [query, value], [None, MASK], causal),
        ("MultiHeadAttention", {**heads, "use_gate": True}, [query, value], [], {"attention_mask": shown}),
        ("MultiHeadAttention", {**heads, "sliding_window": 2}, [query, query], [alone, alone], {**causal, **scores}),
    ]  # fmt: skip
    cases = {}
    for number, (name, kwargs, shapes, masks, call) in enumerate(listed):
        xs = random_like(rng, shapes, scale=1.0)
        several = name == "MultiHeadAttention"
        layer = build_layer(keras.layers, {"class": name, "kwargs": kwargs}, dtype="float64")
        layer.build(*shapes) if several else layer.build(shapes)
        weights = random_like(rng, [tuple(weight.shape) for weight in layer.weights])
        layer.set_weights([weight.astype(np.float64) for weight in weights])
        tensors = [tensor(x) for x in xs]
        given = {word: tensor(value) if isinstance(value, np.ndarray) else value for word, value in call.items()}
        own = [None if mask is None else tensor(mask) for mask in masks]
        if several:
            words = ("query_mask", "value_mask", "key_mask")
            for word, value, mask in zip(words, tensors, own, strict=False):
                if mask is not None:
                    given[word] = mask
                    keras.src.backend.set_keras_mask(value, mask)
        elif own:
            given["mask"] = own
        ys = as_list(layer(*tensors, **given) if several else layer(tensors, **given))
        dys = random_like(rng, [tuple(y.shape) for y in ys], scale=1.0)
        torch.autograd.backward(ys, [tensor(dy, gradient=False) for dy in dys])
        case = Case({"spec": {"class": name, "kwargs": kwargs}, "call": {k: v for k, v in call.items() if v is True}})
        case.put("x", xs)
        case.put("weights", weights)
        for k, mask in enumerate(masks):
            case.put(f"masks/{k}", mask)
        case.put("attention_mask", call.get("attention_mask"))
        case.put("y", [y.detach().numpy() for y in ys])
        case.put("dy", dys)
        case.put("dx", [gradient_of(x) for x in tensors])
        case.put("dweights", [gradient_of(weight.value) for weight in layer.weights])
        cases[f"attention-{number}-{name}"] = case
    return cases


def conv_lstm_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Convolutional LSTMs with masks, initial states and both orders of axes."""
    lines, film = (BATCH, 4, 5, 2), (BATCH, 4, 3, 4, 2)
    mask = np.array([[0, 1, 1, 0], [1, 0, 1, 1]], dtype=bool)
    both = {"return_sequences": True, "return_state": True}
    listed: list[tuple[str, dict[str, Any], tuple[int, ...], Any, Any, dict[str, Any]]] = [
        ("ConvLSTM1D", {"kernel_size": 2}, lines, None, None, {}),
        ("ConvLSTM1D", {"kernel_size": 3, "padding": "same", "strides": 2, **both}, lines, mask, (3, 2), {}),
        ("ConvLSTM1D", {"kernel_size": 2, "dilation_rate": 2, "use_bias": False}, lines, mask, None, {}),
        ("ConvLSTM1D", {"kernel_size": 2, "dropout": 0.5, "recurrent_dropout": 0.5, **both}, lines, None, None,
         {"inputs": (4, BATCH, 1, 5, 2), "recurrent": (4, BATCH, 1, 4, 2)}),
        ("ConvLSTM2D", {"kernel_size": [2, 3], "go_backwards": True, "return_sequences": True}, film, None, None, {}),
        ("ConvLSTM2D", {"kernel_size": 2, "padding": "same", "recurrent_activation": "relu", **both}, film, mask,
         (3, 4, 2), {}),
        ("ConvLSTM2D", {"kernel_size": 2, "activation": "elu", **FIRST}, (BATCH, 4, 2, 3, 4), None, (2, 2, 3), {}),
    ]  # fmt: skip
    cases = {}
    for number, (name, kwargs, shape, valid, state, drawn) in enumerate(listed):
        spec = {"class": name, "kwargs": {"filters": 2, **kwargs}}
        masks = {word: ((rng.random(size) > 0.4) * 2).astype(np.float32) for word, size in drawn.items()}
        cases[f"{name}-{number}"] = record(
            spec,
            rng,
            random_like(rng, [shape], scale=1.0)[0],
            mask=valid,
            initial_state=None if state is None else random_like(rng, [(BATCH, *state)] * 2),
            masks=masks,
            training=bool(masks),
        )
    return cases


def mask_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Give each layer an input with a mask and record the mask of its output (none means: it stops there)."""
    specs: list[tuple[str, dict[str, Any]]] = [
        ("LeakyReLU", {}),
        ("ELU", {}),
        ("PReLU", {}),
        ("Identity", {}),
        ("ActivityRegularization", {"l1": 0.1}),
        ("GaussianNoise", {"stddev": 0.1}),
        ("ZeroPadding1D", {"padding": 0}),
        ("Cropping1D", {"cropping": 0}),
        ("UpSampling1D", {"size": 1}),
        ("GroupNormalization", {"groups": 2}),
        ("UnitNormalization", {}),
        ("RMSNormalization", {}),
        ("DepthwiseConv1D", {"kernel_size": 1}),
        ("SeparableConv1D", {"filters": 2, "kernel_size": 1}),
        ("Conv1DTranspose", {"filters": 2, "kernel_size": 1}),
    ]
    merging = [("Subtract", {}), ("Maximum", {}), ("Minimum", {}), ("Dot", {"axes": 2})]
    cases = {}
    x = random_like(rng, [SEQUENCE])[0]
    listed = [(entry, [MASK, second]) for entry in merging for second in (MASK[::-1].copy(), None)]
    for number, ((name, kwargs), masks) in enumerate([(entry, [MASK]) for entry in specs] + listed):
        spec = {"class": name, "kwargs": kwargs}
        layer = build_layer(keras.layers, spec, dtype="float64")
        inputs = [tensor(x, gradient=False) for _ in masks]
        for value, mask in zip(inputs, masks, strict=True):
            if mask is not None:
                keras.src.backend.set_keras_mask(value, tensor(mask))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns where a mask ends
            y = layer(inputs if len(inputs) > 1 else inputs[0])
        case = Case({"spec": spec})
        case.put("x", [x] * len(masks))
        case.put("masks", masks)
        mask = keras.src.backend.get_keras_mask(y)
        case.put("mask_out", None if mask is None else mask.numpy())
        cases[f"mask-{number}-{name}"] = case
    return cases


def models() -> dict[str, Any]:
    """Models as Keras writes them: images before a recurrent layer, films, and attention."""
    layers = keras.layers
    x = keras.Input((4, 6, 5, 2))
    y = layers.TimeDistributed(layers.Conv2D(3, 3, padding="same", activation="relu"))(x)
    y = layers.TimeDistributed(layers.MaxPooling2D((2, 1)))(y)
    y = layers.TimeDistributed(layers.Flatten())(y)
    crnn = keras.Model(x, layers.LSTM(3)(y))
    x = keras.Input((4, 6, 5, 2))
    y = layers.ConvLSTM2D(3, (2, 3), padding="same", return_sequences=True, recurrent_activation="hard_sigmoid")(x)
    y = layers.TimeDistributed(layers.GlobalAveragePooling2D())(layers.BatchNormalization()(y))
    film = keras.Model(x, layers.GRU(2)(y))
    x = keras.Input((8, 6, 2))
    y = layers.SeparableConv2D(4, 3, padding="same")(layers.ZeroPadding2D(1)(x))
    y = layers.DepthwiseConv2D(2, depth_multiplier=2)(layers.PReLU(shared_axes=[1, 2])(y))
    y = layers.Conv2DTranspose(3, 3, strides=2, padding="same")(layers.GroupNormalization(2)(y))
    y = layers.UpSampling2D(interpolation="bilinear")(layers.Cropping2D(2)(layers.LeakyReLU()(y)))
    image = keras.Model(x, layers.GlobalMaxPooling2D()(layers.AveragePooling2D(2)(layers.ELU(0.5)(y))))
    ids = keras.Input((7,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(ids)
    seen = layers.Activation("tanh")(y)  # loses its mask to the next layer for all that come after it
    y = layers.Add()([y, layers.MultiHeadAttention(2, 3, dropout=0.1)(seen, seen, use_causal_mask=True)])
    z = layers.Attention(use_scale=True)([y, layers.LayerNormalization()(y)])
    z = layers.Concatenate()([z, layers.AdditiveAttention()([y, y]), layers.EinsumDense("abc,cd->abd", (7, 3))(y)])
    words = keras.Model(ids, [layers.LSTM(3)(z), layers.Dot(axes=2, normalize=True)([y, y])])
    x = keras.Input((9, 3))
    y = layers.Conv1DTranspose(4, 3, strides=2)(layers.DepthwiseConv1D(2)(layers.SeparableConv1D(4, 2)(x)))
    y = layers.UpSampling1D(2)(layers.Cropping1D(1)(layers.ZeroPadding1D(2)(layers.GaussianNoise(0.1)(y))))
    y = layers.Maximum()([layers.UnitNormalization()(y), layers.RMSNormalization()(y)])
    line = keras.Model(x, layers.GRU(2)(layers.ActivityRegularization(0.1)(layers.Identity()(y))))
    return {"blocks_crnn": crnn, "blocks_film": film, "blocks_image": image, "blocks_words": words, "blocks_line": line}


def write_files(rng: np.random.Generator) -> None:
    """Save the models in both formats with an input and what they make of it."""
    keras.config.set_floatx("float32")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        for key, model in models().items():
            shapes = [tuple(weight.shape) for weight in model.weights]
            model.set_weights([np.abs(part) for part in random_like(rng, shapes, scale=0.4)])
            (x,) = model.inputs
            given = random_like(rng, [(BATCH, *x.shape[1:])], scale=1.0)[0]
            if "int" in str(x.dtype):
                given = rng.integers(0, 9, (BATCH, *x.shape[1:])).astype(np.int32)
            ys = as_list(model.predict(given, verbose=0))
            np.savez(folder / f"{key}.npz", x0=given, **{f"y{k}": y for k, y in enumerate(ys)})
            model.save(folder / f"{key}.keras")
            np.savez(folder / f"{key}_h5.npz", x0=given, **{f"y{k}": y for k, y in enumerate(ys)})
            model.save(folder / f"{key}_h5.h5")
        pack(folder, DATA / "keras_files" / "blocks.tar.xz")


def main() -> None:
    """Write the files."""
    rng = np.random.default_rng(20267)
    cases = layer_cases(rng, elementwise() + windows()) | batch_normalization_cases(rng) | mask_cases(rng)
    cases |= attention_cases(rng) | conv_lstm_cases(rng)
    save("keras_blocks", cases)
    write_files(rng)


if __name__ == "__main__":
    main()
