"""Run PyTorch's own tests of LSTM, GRU, RNN and PackedSequence with rnnx' classes in place of PyTorch's, and count.

Command, in an environment as for ``tests/torch``: ``python -m tests.peers.torch_tests``. It fetches a few test files of
PyTorch's repository at the tag of the version that it is made for; ``--pytorch FOLDER`` (or ``RNNX_PYTORCH``) takes
those of a checkout or source archive. Nothing of them is in this tree. Words such as ``test_nn`` run these files only.

Every test whose name or code names these modules is run, small sizes on the engine too. A test passes (on the engine,
or without a call of it: constructors, files, packing), is skipped by PyTorch's file on this machine, fails on PyTorch's
own classes as well, or differs. ``known.txt`` beside this file names every one that differs, with the reason; the run
fails for any that it does not name, and prints what it names in vain.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TAG = "v2.13.0"
ADDRESS = f"https://raw.githubusercontent.com/pytorch/pytorch/{TAG}/"
FILES = ("test/test_nn.py", "test/nn/test_packed_sequence.py")
KINDS = ("on the engine", "without a call of it", "not runnable", "fails on PyTorch too", "different")


def fetched(folder: Path) -> Path:
    """PyTorch's test files, in a folder as in the repository.

    Raises
    ------
    OSError
        If one cannot be fetched.
    """
    for name in FILES:
        target = folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(ADDRESS + name, timeout=60) as answer:
                target.write_bytes(answer.read())
    return folder


def run(pytorch: Path, words: list[str]) -> list[dict[str, Any]]:
    """Run the tests with the classes swapped, and those that fail on PyTorch's own too; one row a test."""
    files = [name for name in FILES if not words or any(word in name for word in words)]
    rows = _inner(pytorch, files, swapped=True, only=[])
    failed = [row["test"] for row in rows if row["kind"] == "fail"]
    plain = _inner(pytorch, files, swapped=False, only=failed) if failed else []
    fail_anyway = {row["test"] for row in plain if row["kind"] == "fail"}
    for row in rows:
        if row["kind"] == "pass":
            row["kind"] = "on the engine" if row["calls"] else "without a call of it"
        elif row["kind"] == "fail":
            row["kind"] = "fails on PyTorch too" if row["test"] in fail_anyway else "different"
    return rows


def _inner(pytorch: Path, files: list[str], swapped: bool, only: list[str]) -> list[dict[str, Any]]:
    """A run of pytest in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name, "report.json")
        paths = [str(HERE.parents[2]), str(pytorch / "test"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "RNNX_TORCH_REPORT": str(report),
            "RNNX_TORCH_SWAPPED": str(int(swapped)),
            "RNNX_TORCH_ONLY": json.dumps(only),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-q", "--no-header", "--tb=no"]
        command += ["-p", f"{__package__}.plugin"]
        command += ["-p", "no:cacheprovider", "--continue-on-collection-errors", "--noconftest"]
        command += ["-c", os.devnull, "--rootdir", str(pytorch), *(str(pytorch / file) for file in files)]
        done = subprocess.run(command, cwd=name, env=environment, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"the inner run of pytest failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return list(json.loads(report.read_text()))


def known() -> list[tuple[str, str]]:
    """The lines of ``known.txt``: pattern of a test, reason."""
    lines = [line for line in (HERE / "known.txt").read_text().splitlines() if line and not line.startswith("#")]
    return [(pattern, reason) for pattern, reason in (line.split("\t") for line in lines)]


def judged(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What differs and ``known.txt`` does not name, and what it names in vain."""
    lines, used, unknown = known(), set(), []
    for row in rows:
        if row["kind"] != "different":
            continue
        found = next((pattern for pattern, _ in lines if fnmatch.fnmatchcase(row["test"], pattern)), None)
        if found is None:
            unknown.append(f"{row['test']}: {row['text']}")
        else:
            used.add(found)
    return unknown, [pattern for pattern, _ in lines if pattern not in used]


def table(rows: list[dict[str, Any]]) -> str:
    """Counts by file."""
    files: dict[str, Counter[str]] = {}
    for row in rows:
        files.setdefault(row["test"].split("::")[0], Counter())[row["kind"]] += 1
    lines = ["| file | tests | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 2) + "|"]
    for file, counts in [*sorted(files.items()), ("all", sum(files.values(), Counter()))]:
        lines.append(f"| {file} | {counts.total()} | " + " | ".join(str(counts[kind] or "") for kind in KINDS) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.torch_tests", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="parts of paths of test files")
    parser.add_argument(
        "--pytorch", type=Path, default=os.environ.get("RNNX_PYTORCH"), help="folder of PyTorch's source"
    )
    parser.add_argument("--show", action="store_true", help="print every test that does not pass")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = run(fetched(Path(options.pytorch or place).resolve()), options.words)
    unknown, vain = judged(rows)
    if options.show:
        for row in rows:
            if row["kind"] not in KINDS[:2]:
                print(f"{row['kind']}: {row['test']}: {row['text']}")
    print(table(rows))
    for line in unknown:
        print("not in known.txt:", line)
    for line in vain if not options.words else []:
        print("in known.txt, and not so:", line)
    return bool(unknown)


if __name__ == "__main__":
    sys.exit(main())
