"""Leaves of lists, tuples and dicts inside each other, and the same forms with other leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rnnx import _nested as nested

FORMS: list[Any] = [
    (7, [7]),
    ([7, [8, (9,)]], [7, 8, 9]),
    ({"b": [1, 2], "a": (3,)}, [3, 1, 2]),
    ([], []),
    ({"x": {"z": 1, "y": [2]}, "w": ()}, [2, 1]),
    ({2: "two", "one": 1}, ["two", 1]),  # keys that have no order of their own
]


@pytest.mark.parametrize(("form", "expected"), FORMS)
def test_leaves_come_in_the_order_of_sorted_keys(form: Any, expected: list[Any]) -> None:
    assert nested.leaves(form) == expected


@pytest.mark.parametrize(("form", "expected"), FORMS)
def test_what_is_mapped_has_the_same_form_and_order_of_keys(form: Any, expected: list[Any]) -> None:
    seen: list[Any] = []
    made = nested.mapped(lambda leaf: (seen.append(leaf), leaf)[1], form)
    assert made == form and seen == expected
    assert list(made) == list(form) if isinstance(form, dict) else type(made) is type(form)


@pytest.mark.parametrize(("form", "expected"), FORMS)
def test_leaves_are_packed_again(form: Any, expected: list[Any]) -> None:
    template = nested.packed(form, range(len(expected)))
    assert nested.leaves(template) == list(range(len(expected)))
    assert nested.packed(template, expected) == form


def test_what_is_one_thing_is_said() -> None:
    mse = {"class_name": "MeanSquaredError", "config": {}}
    assert nested.leaves([mse, {"y": "mae"}], nested.is_config) == [mse, "mae"]
    assert nested.mapped(type, {"y": [mse]}, nested.is_config) == {"y": [dict]}
    assert nested.leaves([(None, 3), [(2, 3)]], nested.is_shape) == [(None, 3), (2, 3)]
    assert nested.leaves((None, 3), nested.is_shape) == [(None, 3)]


def test_a_template_is_made_where_one_is_needed() -> None:
    assert nested.template_of(3) is None and nested.template_of([1, 2]) is None and nested.template_of((1,)) is None
    assert nested.template_of((1, 2)) == (0, 1) and nested.template_of([[1], 2]) == [[0], 1]
    assert nested.template_of({"b": 5, "a": [6]}) == {"b": 1, "a": [0]}


def test_values_are_matched_with_a_template() -> None:
    template = {"b": 1, "a": [0]}
    assert nested.matched("m", template, {"a": ["A"], "b": "B"}) == ["A", "B"]
    assert nested.matched("m", template, ["B", "A"]) == ["B", "A"]
    with pytest.raises(ValueError, match=r"^m: expected b, a, got b: a missing$"):
        nested.matched("m", template, {"b": 1})
    with pytest.raises(ValueError, match=r"^m: expected a dict of b, a, got list of 3$"):
        nested.matched("m", template, [1, 2, 3])


def test_templates_are_written_and_read() -> None:
    template = {"b": (0, [1]), "a": 2}
    again = nested.from_plain(json.loads(json.dumps(nested.to_plain(template))))
    assert again == template and list(again) == ["b", "a"] and type(again["b"]) is tuple
    with pytest.raises(ValueError, match="must be in a dict, tuple or list, got 'set'"):
        nested.from_plain({"set": []})


def test_structures_are_hashed_written_and_filled() -> None:
    found: list[Any] = []
    structure = nested.flatten({"b": [1.5, None], "a": (2.5, "w")}, lambda leaf: isinstance(leaf, float), found)
    assert found == [2.5, 1.5] and nested.count_leaves(structure) == 2
    again = nested.frozen(json.loads(json.dumps(structure)))
    assert again == structure and hash(again) == hash(structure)
    assert nested.unflatten(again, "AB") == {"a": ("A", "w"), "b": ["B", None]}
    with pytest.raises(TypeError, match="expected tensors, numbers, strings or None"):
        nested.flatten({1, 2}, lambda leaf: False, [])
