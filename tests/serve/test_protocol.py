"""Requests and responses of the Open Inference Protocol, read and written without a server."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rnnx.serve.protocol import DATATYPES, InferRequest, read_request, unpacked, write_response
from rnnx.serve.refusal import Refusal

pytestmark = pytest.mark.serve
GOOD = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}


def body(**changes: Any) -> bytes:
    return json.dumps({"inputs": [GOOD], **changes}).encode()


def refused(*args: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_request(*args)
    return caught.value


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda name: st.tuples(st.just(name), arrays(DATATYPES[name], array_shapes(max_dims=4, max_side=5)))
    )
)
def test_tensors_arrive_as_they_were(case: tuple[str, Any]) -> None:
    name, array = case
    head = {"name": "x", "shape": array.shape, "datatype": name}
    binary = json.dumps({"inputs": [{**head, "parameters": {"binary_data_size": array.nbytes}}]}).encode()
    found = read_request(binary + array.tobytes(), str(len(binary)).encode()).tensors["x"]
    assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return
    for data in (array.tolist(), array.ravel().tolist()):
        found = read_request(json.dumps({"inputs": [{**head, "data": data}]}).encode(), None).tensors["x"]
        assert found.dtype == array.dtype and np.array_equal(found, array)


@pytest.mark.parametrize("numbers", [[0, 2**63 + 1], [2**64 - 1, 5], [[1], [2**63 + 3]]])
def test_whole_numbers_on_both_sides_of_two_to_the_63(numbers: Any) -> None:
    shape = np.shape(np.array(numbers, object))
    tensor = {"name": "x", "shape": shape, "datatype": "UINT64", "data": numbers}
    assert read_request(body(inputs=[tensor]), None).tensors["x"].tolist() == numbers


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.one_of(st.none(), st.binary(max_size=4)))
def test_any_bytes_are_read_or_refused(data: bytes, length: bytes | None) -> None:
    try:
        read_request(data, length)
    except Refusal as refusal:
        assert refusal.status == 400 and refusal.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [3]}, "has 3 number"),
        ({"shape": [-1]}, "0 or more"),
        ({"shape": [10**30]}, "has 1000"),
        ({"shape": [1] * 9}, "at most 8"),
        ({"datatype": "BYTES"}, "datatype"),
        ({"data": [[1], [2, 3]]}, "lists of one length"),
        ({"data": ["a", "b"]}, "numbers"),
        ({"data": 3}, "list of numbers"),
        ({"data": [[1, 2]]}, "of shape (1, 2)"),
        ({"datatype": "INT32", "data": [1.5, 2]}, "no INT32"),
        ({"datatype": "INT8", "data": [300, 2]}, "out of the range"),
        ({"parameters": {"shared_memory_region": "r"}}, "unknown parameter"),
        ({"parameters": {"binary_data_size": 8}}, "both"),
        ({"data": None}, "list of numbers"),
    ],
)
def test_tensors_that_do_not_fit(change: dict[str, Any], said: str) -> None:
    refusal = refused(body(inputs=[{**GOOD, **change}]), None)
    assert refusal.status == 400 and said in refusal.message and "'x'" in refusal.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": [GOOD, GOOD]}, "twice"),
        ({"parameters": {"priority": 3}}, "unknown parameter(s) 'priority'"),
        ({"parameters": {"sequence_start": True}}, "sequence_id"),
        ({"parameters": {"sequence_id": 0, "sequence_end": True}}, "sequence_id"),
        ({"parameters": {"sequence_id": 1.5}}, "sequence_id"),
        ({"parameters": {"sequence_id": 3, "sequence_start": 1}}, "true or false"),
        ({"parameters": {"timeout": -1}}, "microseconds"),
        ({"id": "a" * 300}, "256"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification"),
        ({"inputs": {}}, "protocol"),
        ({"inputs": [{"name": "x"}]}, "shape"),
    ],
)
def test_requests_that_do_not_fit(changes: dict[str, Any], said: str) -> None:
    assert said in refused(body(**changes), None).message


@pytest.mark.parametrize("length", [b"-1", b"x", b"99999", b"9" * 40])
def test_lengths_of_the_json(length: bytes) -> None:
    assert "Content-Length" in refused(body(), length).message


def test_bytes_that_are_missing_or_left_over() -> None:
    head = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    text = json.dumps({"inputs": [head]}).encode()
    assert "too early" in refused(text + bytes(5), str(len(text)).encode()).message
    assert "follow" in refused(text + bytes(9), str(len(text)).encode()).message
    wrong = json.dumps({"inputs": [{**head, "parameters": {"binary_data_size": 12}}]}).encode()
    assert "takes 8 bytes" in refused(wrong + bytes(12), str(len(wrong)).encode()).message


def test_deep_nesting_is_refused() -> None:
    deep = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": ' + b"[" * 100_000 + b"1"
    assert refused(deep, None).status == 400


def test_encodings() -> None:
    data = body()
    assert unpacked(gzip.compress(data), b"gzip", 1000) == data
    assert unpacked(zlib.compress(data), b"deflate", 1000) == data
    for packed, encoding, status in (
        (gzip.compress(bytes(10**6)), b"gzip", 413),
        (data, b"gzip", 400),
        (gzip.compress(data)[:-4], b"gzip", 400),
        (gzip.compress(data) + b"x", b"gzip", 400),
        (data, b"br", 415),
    ):
        with pytest.raises(Refusal) as caught:
            unpacked(packed, encoding, 1000)
        assert caught.value.status == status


def request(**changes: Any) -> InferRequest:
    return InferRequest(**({
        "id": "", "tensors": {}, "wanted": None, "binary": False, "sequence": None, "starts": False, "ends": False,
        "timeout": None,
    } | changes))  # fmt: skip


def test_responses() -> None:
    outputs = {"y": np.float32([[1.5, 2]]), "n": np.int32([3])}
    answer, length = write_response("m", request(id="7"), outputs)
    assert length is None
    assert json.loads(answer) == {
        "model_name": "m",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2]},
            {"name": "n", "datatype": "INT32", "shape": [1], "data": [3]},
        ],
    }
    answer, length = write_response("m", request(wanted={"n": True, "y": False}), outputs)
    assert answer[length:] == np.int32([3]).tobytes()
    assert [output["name"] for output in json.loads(answer[:length])["outputs"]] == ["n", "y"]


def test_json_has_no_nan() -> None:
    outputs = {"y": np.float32([np.nan])}
    with pytest.raises(Refusal, match="binary"):
        write_response("m", request(), outputs)
    answer, length = write_response("m", request(binary=True), outputs)
    assert answer[length:] == outputs["y"].tobytes()
