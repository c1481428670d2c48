"""Damaged files of every format give a model or one FormatError: no crash, no hang, no blow-up of memory.

Command, from the root of the repository: ``python -m tests.fuzz.fuzz_formats --inputs 200000``. Files that found
something are kept in the folder ``--keep``; every input follows from the good files, ``--seed`` and its number.

Each input is read in a process that may take `MEMORY` bytes and `SECONDS` seconds. A process that dies is reported
with the input that killed it, and the run goes on.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnx.formats import torch
from rnnx.formats.convert import reader_of
from rnnx.saving import FORMATS, FormatError

from ..golden.store import DATA
from .mutations import mutated

SECONDS = 2.0  # for one file
MEMORY = 2 << 30  # bytes of address space beyond those in use at the start
BLOCK = 2000  # inputs of one process
LONGEST_MESSAGE = 4000  # characters
KERAS_FILES = 12  # one of so many is worth damaging
LARGEST_SEED = 300_000  # bytes of a file that is worth damaging


class TooSlow(BaseException):
    """Raised in a reader that takes too long; nothing catches it on the way."""


def seeds(folder: Path) -> dict[str, bytes]:
    """Good files by name: those of the golden data, and small ones that rnnx writes now."""
    found = {
        f"{path.parent.name}-{path.name}": path.read_bytes()
        for path in sorted(DATA.rglob("*"))
        if path.suffix.lower() in FORMATS and path.stat().st_size <= LARGEST_SEED
    }
    for archive in sorted((DATA / "keras_files").glob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            chosen = [name for name in opened.namelist() if Path(name).suffix in FORMATS][::KERAS_FILES]
            found.update({f"{archive.stem}-{name}": opened.read(name) for name in chosen})
    import rnnx

    model = rnnx.Sequential([
        rnnx.layers.GRU(3, return_sequences=True, dropout=0.1, input_shape=(None, 2), name="gru"),
        rnnx.layers.Bidirectional(rnnx.layers.LSTM(2), name="both"),
        rnnx.layers.Dense(2, name="head"),
    ])  # fmt: skip
    for suffix in FORMATS:
        path = folder / f"rnnx{suffix}"
        try:
            model.save(path)
        except FormatError:  # what has no structure, or cannot express the model
            continue
        found[path.name] = path.read_bytes()
    return found


def read(path: Path) -> str:
    """Read a file in every way; what came of it."""
    outcome = _outcome(lambda: _load(path), path)
    _outcome(lambda: reader_of(path).describe(path), path)
    return outcome


def _load(path: Path) -> None:
    """Read the weights of a file, all of them."""
    module = reader_of(path)
    made = list(torch.load(path).values()) if module is torch else [module.load_model(path)]
    for layer in made:
        for weight in layer.weights:
            weight.value.sum()


def _outcome(act: Callable[[], object], path: Path) -> str:
    """The error of an act, which must be one clear line, or that there was none."""
    try:
        act()
    except (FormatError, OSError) as error:
        text = str(error)
        if "\n" in text or len(text) > LONGEST_MESSAGE or path.name not in text:
            raise AssertionError(f"not one clear line that names the file: {error!r}") from error
        return type(error).__name__
    return "model"


def _late(*_: Any) -> None:
    raise TooSlow


def work(seed: int, first: int, count: int, names: list[str], place: Path) -> dict[str, int]:
    """Read ``count`` inputs; what came of them. The input under way always lies in ``place``."""
    files = seeds(place)
    chosen = [name for name in files if not names or any(word in name for word in names)]
    if not chosen:
        raise SystemExit(f"no file is named like {', '.join(names)}")
    others = list(files.values())
    result: dict[str, int] = {}
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter("ignore")
    for number in range(first, first + count):
        rng = random.Random(f"{seed} {number}")
        name = rng.choice(chosen)
        path = place / f"input{Path(name).suffix}"
        data = mutated(name, files[name], others, rng)
        path.write_bytes(data)
        (place / "now").write_text(f"{number} {name}")
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            outcome = read(path)
        except (Exception, TooSlow) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcome = f"BAD {type(error).__name__}"
            keep(place / "bad", number, name, data, traceback.format_exc())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        result[outcome] = result.get(outcome, 0) + 1
    return result


def keep(folder: Path, number: int, name: str, data: bytes, why: str) -> None:
    """Store an input that found something."""
    folder.mkdir(exist_ok=True)
    (folder / f"{number}-{name}").write_bytes(data)
    (folder / f"{number}-{name}.txt").write_text(why)
    print(f"input {number} from {name}: {why.strip().splitlines()[-1]}", file=sys.stderr, flush=True)


def _limited() -> None:
    """Bound the memory of this process."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(inputs: int, seed: int, names: list[str], kept: Path) -> dict[str, int]:
    """Read inputs in processes of their own; how often each outcome came."""
    total: dict[str, int] = {}
    done, folder = 0, Path(tempfile.mkdtemp(prefix="fuzz"))
    while done < inputs:
        count = min(BLOCK, inputs - done)
        command = [sys.executable, "-m", "tests.fuzz.fuzz_formats", "--block", str(done), "--inputs", str(count)]
        command += ["--seed", str(seed), "--keep", str(folder), *names]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        for line in child.stdout.splitlines():
            outcome, number = line.rsplit(" ", 1)
            total[outcome] = total.get(outcome, 0) + int(number)
        if child.returncode:
            number, name = (folder / "now").read_text().split(" ", 1)
            path = folder / f"input{Path(name).suffix}"
            keep(folder / "bad", int(number), name, path.read_bytes(), f"the process died with {child.returncode}")
            total["BAD process died"] = total.get("BAD process died", 0) + 1
            done = int(number) + 1
        else:
            done += count
    for path in (folder / "bad").glob("*") if (folder / "bad").exists() else ():
        kept.mkdir(parents=True, exist_ok=True)
        (kept / path.name).write_bytes(path.read_bytes())
    return total


def main(arguments: list[str] | None = None) -> int:
    """Run, and print how often each outcome came and how many inputs were read in a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only files whose names hold one of these words")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--block", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.block is not None:
        _limited()
        for outcome, number in work(options.seed, options.block, options.inputs, options.names, options.keep).items():
            print(outcome, number)
        return 0
    begin = time.perf_counter()
    total = run(options.inputs, options.seed, options.names, options.keep)
    seconds = time.perf_counter() - begin
    for outcome, number in sorted(total.items()):
        print(f"{outcome}: {number:,}")
    print(f"{options.inputs:,} inputs, {options.inputs / seconds:,.0f} a second")
    return 1 if any(outcome.startswith("BAD") for outcome in total) else 0


if __name__ == "__main__":
    sys.exit(main())
