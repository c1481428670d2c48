"""Python called from programs that XLA has compiled, on their own memory.

`jax.pure_callback` hands its arrays on as arrays of JAX, which takes a quarter of a millisecond a call. Here a handler
of XLA's foreign function interface (a stable one in C, ``xla/ffi/api/c_api.h``) makes NumPy arrays on the buffers.
Where JAX or its version of the interface do not take it, `jax.pure_callback` does the work.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import secrets
from collections.abc import Callable, Sequence
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnx._typing import Array

_TARGET = "rnnx_python"
_MAJOR = 0  # of the interface whose structures these are
_EXECUTE = 3
_INTERNAL = 13  # code of an error


class _Base(Structure):
    _fields_ = [("struct_size", c_size_t), ("extension_start", c_void_p)]


class _Version(_Base):
    _fields_ = [("major", c_int), ("minor", c_int)]


class _ErrorArguments(_Base):
    _fields_ = [("message", c_char_p), ("code", c_int)]


class _Api(_Base):
    _fields_ = [
        ("version", _Version), ("internal", c_void_p),
        ("create_error", ctypes.CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))),
    ]  # fmt: skip


class _Metadata(Structure):
    _fields_ = [("struct_size", c_size_t), ("version", _Version)]


class _Extension(Structure):
    _fields_ = [("struct_size", c_size_t), ("kind", c_int), ("next", c_void_p), ("metadata", POINTER(_Metadata))]


class _Buffer(_Base):
    _fields_ = [("dtype", c_int), ("data", c_void_p), ("rank", c_int64), ("dims", POINTER(c_int64))]


class _Buffers(_Base):
    _fields_ = [("size", c_int64), ("types", c_void_p), ("items", POINTER(POINTER(_Buffer)))]


class _Scalar(Structure):
    _fields_ = [("dtype", c_int), ("value", POINTER(c_int64))]


class _Attributes(_Base):
    _fields_ = [("size", c_int64), ("types", c_void_p), ("names", c_void_p), ("items", POINTER(POINTER(_Scalar)))]


class _Frame(_Base):
    _fields_ = [
        ("api", POINTER(_Api)), ("context", c_void_p), ("stage", c_int), ("arguments", _Buffers), ("results", _Buffers),
        ("attributes", _Attributes),
    ]  # fmt: skip


_functions: dict[int, tuple[Callable[..., Any], list[Any], list[Any]]] = {}  # programs may live as long as the process
_keys = itertools.count(secrets.randbits(62))  # not those of a process from which a compiled program comes


@ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))
def _handler(pointer: Any) -> int | None:
    frame = pointer.contents
    try:
        if frame.extension_start:  # XLA asks for the version
            _Extension.from_address(frame.extension_start).metadata.contents.version.major = _MAJOR
            minor = frame.api.contents.version.minor  # of which all are compatible
            _Extension.from_address(frame.extension_start).metadata.contents.version.minor = minor
        elif frame.stage == _EXECUTE:
            function, arguments, results = _known(frame.attributes.items[0].contents.value[0])
            found = function(*_arrays(frame.arguments, arguments))
            for array, value in zip(_arrays(frame.results, results), found, strict=True):
                np.copyto(array, value)
        return None
    except BaseException as error:  # nothing may be raised through XLA
        message = f"{type(error).__name__}: {error}".encode()
        given = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, _INTERNAL)
        made: int | None = frame.api.contents.create_error(byref(given))
        return made


def _known(key: int) -> Any:
    if key not in _functions:
        raise LookupError("rnnx: the program was compiled by another process; trace it again in this one")
    return _functions[key]


def _arrays(buffers: _Buffers, kinds: Sequence[Any]) -> list[Array]:
    found = []
    for k, (shape, dtype, size) in enumerate(kinds):
        memory = (ctypes.c_byte * size).from_address(buffers.items[k].contents.data) if size else b""
        found.append(np.frombuffer(memory, dtype).reshape(shape))
    return found


@functools.cache
def _works() -> bool:
    """Whether XLA takes the handler: it is registered and tried once."""
    try:
        jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(_handler), platform="cpu")
        kinds = (jax.ShapeDtypeStruct((2,), "int32"),)
        program = jax.jit(lambda x: _called(lambda x: (x + 1,), kinds, x))
        with jax.ensure_compile_time_eval():  # also where something is traced
            return bool(np.asarray(program(np.arange(2, dtype=np.int32))[0]).tolist() == [1, 2])
    except Exception:
        return False


def _called(function: Callable[..., Any], shapes: tuple[Any, ...], *operands: Any) -> Any:
    key = next(_keys)
    _functions[key] = function, [_kind(part) for part in operands], [_kind(part) for part in shapes]
    return jax.ffi.ffi_call(_TARGET, shapes, vmap_method="sequential")(*operands, key=np.int64(key))


def _kind(part: Any) -> tuple[tuple[int, ...], np.dtype, int]:
    dtype = np.dtype(part.dtype)
    return tuple(part.shape), dtype, int(np.prod(part.shape, dtype=int)) * dtype.itemsize


def call_back(function: Callable[..., Any], shapes: tuple[Any, ...], *operands: Any) -> Any:
    """What ``function`` gives for arrays: now, or if something is traced, whenever the program runs."""
    if not any(isinstance(part, jax.core.Tracer) for part in operands):
        return tuple(jnp.asarray(part) for part in function(*operands))
    if _works():
        return _called(function, shapes, *operands)
    return jax.pure_callback(function, shapes, *operands, vmap_method="sequential")
