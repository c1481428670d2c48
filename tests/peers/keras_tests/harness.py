"""Keras' ``testing.TestCase`` for rnnx: the same assertions; its layer test reduced to what has a meaning here.

Not looked at, as they belong to a backend or to Keras' object tracking: counts of seed generators and of variables that
are not weights, sparse and ragged tensors, mixed precision, ``dir`` of a revived object, whether a layer without
weights is built before it is called. The training check is one differentiated call and a step of the weights.
An error of the expected type with another sentence is noted (``other words``): error sentences are rnnx' own.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl.testing import parameterized

from . import tensors, tree
from .placeholders import NotApplicable

WORDS: list[str] = []  # sentences of the running test that differ


class _Raises:
    """``assertRaisesRegex`` that takes the expected type with other words, and notes them."""

    def __init__(self, case: Any, expected: Any, pattern: Any):
        self.case, self.expected, self.pattern = case, expected, pattern
        self.exception: Any = None

    def __enter__(self) -> _Raises:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if kind is None:
            raise self.case.failureException(f"{self.expected} not raised; expected the words {self.pattern!r}")
        if not issubclass(kind, self.expected):
            return False
        self.exception = error.with_traceback(None)
        if not re.search(self.pattern, str(error)):
            WORDS.append(f"{self.pattern!r} | {error}")
        return True


def is_shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(size, (int, type(None))) for size in value)


def map_shapes(function: Any, shape: Any, dtype: Any) -> Any:
    """A function of a shape and a dtype over nested shapes, and dtypes of the same structure or one."""
    if is_shape(shape):
        return function(tuple(shape), dtype)
    if isinstance(shape, dict):
        return {k: map_shapes(function, v, dtype[k] if isinstance(dtype, dict) else dtype) for k, v in shape.items()}
    several = dtype if isinstance(dtype, (list, tuple)) else [dtype] * len(shape)
    return type(shape)(map_shapes(function, s, d) for s, d in zip(shape, several, strict=True))


class TestCase(parameterized.TestCase):
    maxDiff = None
    __test__ = True

    def setUp(self) -> None:
        super().setUp()
        WORDS.clear()
        tensors.clear_session()

    def get_temp_dir(self) -> str:
        folder = tempfile.mkdtemp()
        self.addCleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        return folder

    def assertRaisesRegex(self, expected_exception: Any, expected_regex: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("msg", None)
        context = _Raises(self, expected_exception, expected_regex)
        if not args:
            return context
        with context:
            args[0](*args[1:], **kwargs)
        return None

    def convert_to_numpy(self, x: Any) -> Any:
        return tensors.convert_to_numpy(x)

    def assertAllClose(
        self, actual: Any, desired: Any, atol: float = 1e-6, rtol: float = 1e-6, *, msg: Any = None, **tpu: Any
    ) -> None:
        a, b = self.convert_to_numpy(actual), self.convert_to_numpy(desired)
        np.testing.assert_allclose(a, b, atol=atol, rtol=rtol, err_msg=msg or "")

    def assertNotAllClose(self, x1: Any, x2: Any, atol: float = 1e-6, rtol: float = 1e-6, msg: Any = None) -> None:
        try:
            self.assertAllClose(x1, x2, atol=atol, rtol=rtol)
        except AssertionError:
            return
        raise AssertionError(f"The two values are close at all elements. \n{msg or ''}.\nValues: {x1}")

    def assertAlmostEqual(self, actual: Any, desired: Any, decimal: int = 3, *, msg: Any = None, **tpu: Any) -> None:
        a, b = self.convert_to_numpy(actual), self.convert_to_numpy(desired)
        np.testing.assert_almost_equal(a, b, decimal=decimal, err_msg=msg or "")

    def assertAllEqual(self, actual: Any, desired: Any, msg: Any = None) -> None:
        a, b = self.convert_to_numpy(actual), self.convert_to_numpy(desired)
        np.testing.assert_array_equal(a, b, err_msg=msg or "")

    def assertLen(self, iterable: Any, expected_len: int, msg: Any = None) -> None:
        self.assertEqual(len(iterable), expected_len, msg=msg)

    def assertSparse(self, x: Any, sparse: bool = True) -> None:
        if sparse:
            raise NotApplicable("sparse tensors")

    def assertRagged(self, x: Any, ragged: bool = True) -> None:
        if ragged:
            raise NotApplicable("ragged tensors")

    def assertDType(self, x: Any, dtype: Any, msg: Any = None) -> None:
        found = tensors.standardize_dtype(x.dtype if hasattr(x, "dtype") else type(x))
        self.assertEqual(found, tensors.standardize_dtype(dtype), msg=msg)

    def assertFileExists(self, path: Any) -> None:
        if not Path(path).is_file():
            raise AssertionError(f"File {path} does not exist")

    def run_class_serialization_test(self, instance: Any, custom_objects: Any = None) -> Any:
        from keras.src.saving import custom_object_scope, deserialize_keras_object, serialize_keras_object

        config = to_json(instance.get_config())
        with custom_object_scope(custom_objects):
            revived = type(instance).from_config(instance.get_config())
        self.assertEqual(config, to_json(revived.get_config()))
        serialized = to_json(serialize_keras_object(instance))
        with custom_object_scope(custom_objects):
            revived = deserialize_keras_object(from_json(serialized))
        self.assertEqual(config, to_json(revived.get_config()))
        return revived

    def run_layer_test(
        self,
        layer_cls: Any,
        init_kwargs: Any,
        input_shape: Any = None,
        input_dtype: Any = None,
        input_sparse: bool = False,
        input_ragged: bool = False,
        input_data: Any = None,
        call_kwargs: Any = None,
        expected_output_shape: Any = None,
        expected_output_dtype: Any = None,
        expected_output_sparse: bool = False,
        expected_output_ragged: bool = False,
        expected_output: Any = None,
        expected_num_trainable_weights: Any = None,
        expected_num_non_trainable_weights: Any = None,
        expected_num_non_trainable_variables: Any = None,
        expected_num_seed_generators: Any = None,
        expected_num_losses: Any = None,
        supports_masking: Any = None,
        expected_mask_shape: Any = None,
        custom_objects: Any = None,
        run_training_check: bool = True,
        **rest: Any,
    ) -> None:
        if input_sparse or input_ragged:
            raise NotApplicable("sparse and ragged tensors")
        init_kwargs, call_kwargs = init_kwargs or {}, call_kwargs or {}
        if input_shape is not None and input_dtype is None:
            input_dtype = "float32"

        def called(layer: Any, x: Any) -> Any:
            return layer(**x, **call_kwargs) if isinstance(x, dict) else layer(x, **call_kwargs)

        def check_weights(layer: Any) -> None:
            self.assertTrue(layer.built)
            for name, expected in (
                ("trainable_weights", expected_num_trainable_weights),
                ("non_trainable_weights", expected_num_non_trainable_weights),
            ):
                if expected is not None:
                    self.assertLen(getattr(layer, name), expected, msg=f"Unexpected number of {name}")

        def check_output(layer: Any, output: Any, values: bool) -> None:
            if expected_output_shape is not None:

                def fits(wanted: Any, x: Any) -> bool:
                    pairs = zip(wanted, x.shape, strict=False)
                    return len(wanted) == len(x.shape) and all(w is None or w == size for w, size in pairs)

                ok = tree.flatten(tree.map_structure_up_to(output, fits, expected_output_shape, output))
                found = tree.map_structure(lambda x: x.shape, output)
                self.assertTrue(all(ok), msg=f"Expected output shapes {expected_output_shape} but received {found}")
            if expected_output_dtype is not None:

                def is_dtype(wanted: Any, x: Any) -> bool:
                    return bool(wanted == tensors.standardize_dtype(x.dtype))

                ok = tree.flatten(tree.map_structure_up_to(output, is_dtype, expected_output_dtype, output))
                found = tree.map_structure(lambda x: x.dtype, output)
                self.assertTrue(all(ok), msg=f"Expected output dtypes {expected_output_dtype} but received {found}")
            if not values:
                return
            if expected_output is not None:
                wanted, given = tree.flatten(expected_output), tree.flatten(output)
                self.assertLen(given, len(wanted))
                for one, other in zip(wanted, given, strict=True):
                    self.assertAllClose(one, other, msg="Unexpected output value")
            if expected_num_losses is not None:
                self.assertLen(layer.losses, expected_num_losses)

        layer = layer_cls(**init_kwargs)
        self.run_class_serialization_test(layer, custom_objects)
        if supports_masking is not None:
            self.assertEqual(layer.supports_masking, supports_masking, msg="Unexpected supports_masking value")
        if input_data is None and input_shape is None:
            return

        if input_shape is None:
            shapes = tree.map_structure(lambda x: tuple(x.shape), input_data)
            symbolic = tree.map_structure(lambda x: tensors.KerasTensor(x.shape, x.dtype), input_data)
        else:
            shapes, symbolic = input_shape, map_shapes(tensors.KerasTensor, input_shape, input_dtype)
            rng = np.random.default_rng(0)
            input_data = map_shapes(
                lambda shape, dtype: (3 * rng.random(shape, "float32")).astype(dtype), input_shape, input_dtype
            )

        layer = layer_cls(**init_kwargs)  # build
        layer.build(**shapes) if isinstance(shapes, dict) else layer.build(shapes)
        check_weights(layer)

        layer = layer_cls(**init_kwargs)  # symbolic call
        output = called(layer, symbolic)
        check_weights(layer)
        check_output(layer, output, False)
        if expected_mask_shape is not None:
            self.assertEqual(expected_mask_shape, layer.compute_mask(symbolic).shape)

        layer = layer_cls(**init_kwargs)  # call on arrays
        output = called(layer, input_data)
        check_output(layer, output, True)
        if run_training_check and not isinstance(input_data, dict):
            layer = layer_cls(**init_kwargs)
            y, pullback = layer.vjp(input_data, **{**call_kwargs, "training": True})
            flat = tree.map_structure(lambda part: np.ones(part.shape, part.dtype), y)
            gradients = pullback(flat).dweights
            for weight, gradient in zip(layer.weights, gradients, strict=True):
                if gradient is not None:
                    self.assertEqual(weight.shape, gradient.shape)
                    weight.assign(weight.value - 0.01 * gradient)


def _encode(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"__class__": "tuple", "__value__": [_encode(part) for part in value]}
    if isinstance(value, list):
        return [_encode(part) for part in value]
    if isinstance(value, dict):
        return {key: _encode(part) for key, part in value.items()}
    return value


def _decode(value: dict[str, Any]) -> Any:
    return tuple(value["__value__"]) if value.keys() == {"__class__", "__value__"} else value


def to_json(value: Any) -> str:
    return json.dumps(_encode(value), sort_keys=True, indent=4)


def from_json(text: str) -> Any:
    return json.loads(text, object_hook=_decode)


def nowhere() -> bool:
    """Whether a test runs on a GPU or TPU of some backend."""
    return False
