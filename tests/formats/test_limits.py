"""What the readers of all formats ask of a file before they do any work for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rnnx.formats._limits import Budget, check_regular, parse_json, printable, read_file
from rnnx.saving import FormatError


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True], "b": {"c": "d"}},
        "brackets in texts [[[[{{{{ do not count",
        ["\\", '"', '\\"[[[', "[" * 500, "]" * 500, "\ud800"],
        {"é": "日本", "\U0001f600": [[]]},
    ],
)
@pytest.mark.parametrize(
    "form", [json.dumps, lambda v: json.dumps(v).encode(), lambda v: json.dumps(v).encode("utf-16")]
)
def test_json_as_the_standard_library_reads_it(value: Any, form: Any) -> None:
    assert parse_json("m", form(value), "it", most_items=2000, deepest=5) == value
    assert parse_json("m", b"\xef\xbb\xbf[1]", "it") == [1]


def nested(depth: int, inside: str = "") -> str:
    return '{"a":[' * (depth // 2) + inside + "]}" * (depth // 2)


def test_depth_is_counted_as_it_is() -> None:
    texts = '"]]]]", "\\"]]]", "\\\\", ' * 100 + "0"
    assert parse_json("m", nested(20, texts), "it", deepest=20)
    with pytest.raises(FormatError, match="m: it is damaged or too large: it has 22 tables inside each other"):
        parse_json("m", nested(22, texts), "it", deepest=20)
    long = ", ".join(["[]"] * 800_000)  # more than a block
    assert parse_json("m", f"[{long}]", "it", deepest=2)
    with pytest.raises(FormatError, match="has 4 tables inside"):
        parse_json("m", f"[{long}, [[[]]]]", "it", deepest=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" + "[]," * 3000 + "[]]", "values and tables, the most is 1,000"),
        ("[" + "0," * 3000 + "0]", "3,001 values and tables"),
        ('["' + "a" * 20_000 + '"]', "20,004 bytes, the most is 10,000"),
        ('["' + "\U0001f600" * 2000 + '"]', "other characters than ASCII, the most is 2,500"),
        ("[1", "it is damaged"),
        (b"\xff[", "it is damaged"),
        ("", "it is damaged"),
    ],
)
def test_json_beyond_a_limit(text: Any, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        parse_json("m", text, "it", most_bytes=10_000, most_items=1000)


def test_printable() -> None:
    assert printable("a\x1b[2J\n\ud800\u202eb") == "a?[2J???b"
    assert printable("é 日本") == "é 日本"
    assert len(printable("a" * 1000)) == 200 and printable("a" * 1000).endswith("...")
    assert printable(None) == "None"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_only_regular_files(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(pipe)
    check_regular(tmp_path / "link")
    assert read_file(file, 5, "it") == b"12345"
    with pytest.raises(FormatError, match="more than 4 bytes"):
        read_file(file, 4, "it")
    for path, what in ((tmp_path, "a folder"), (pipe, "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(FormatError, match=f"{what}, not a regular file"):
            read_file(path, 5, "it")
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "nothing")


def test_budget() -> None:
    budget = Budget("m.keras", 1000, "calls")
    budget.spend(999)
    budget.spend()
    with pytest.raises(FormatError, match="^m.keras: asks for more than 1,000 calls, the most that is allowed$"):
        budget.spend()
