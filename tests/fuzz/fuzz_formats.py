"""Damaged files of every format give a model or one FormatError: no crash, no hang, no blow-up of memory.

Command, from the root of the repository: ``python -m tests.fuzz.fuzz_formats --inputs 200000``. Files that found
something are kept in the folder ``--keep``; every input follows from the good files, ``--seed`` and its number.

Each input is read in every way of `tests.hostile.limits.ways`, in a process that may take `MEMORY` bytes and `SECONDS`
seconds of a processor for it. A process that dies is reported with the input that killed it, and the run goes on.
Blocks of inputs run beside each other in ``--jobs`` processes.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from rnnx.saving import FormatError, load_weights

from ..hostile.limits import MEMORY, SECONDS, TooSlow, limited, peak, peak_again, timed, unclear, unlimited, ways
from . import checkpoints
from .good_files import good_files, small_model
from .mutations import mutated

BLOCK = 10_000  # inputs of one process, which takes as long to begin as a thousand of them
PROMISED = 100 << 20  # bytes of a file that is read within the limits, see docs/files.md
GRACE = 5  # seconds of a processor more, after which the process ends: what does not come back from C
WAIT = 120.0  # seconds by the clock after which it ends: what only waits
KEPT = 3  # inputs of a block that are stored for one kind of finding
SOURCES = f"{os.sep}rnnx{os.sep}"  # in the paths of the package's files
OWN_WEIGHTS = (
    ".h5",
    ".keras",
    ".safetensors",
    checkpoints.SUFFIX,
)  # read into a model that is there, if they are no model


class Finding(Exception):
    """An outcome that is not as promised: what findings of its kind have in common, and what was found here."""


def read(path: Path) -> str:
    """Read a file in every way; what came of it, "model" if it was read.

    Raises
    ------
    Finding
        If a refusal is not as promised, or took too much memory.
    Exception
        Any other than FormatError and OSError that came out of a reader.
    """
    before, outcome = peak_again(), "model"
    acts = ways(path)
    if path.suffix in OWN_WEIGHTS:
        acts["weights"] = lambda: load_weights(_own(), path)
    for way, act in acts.items():
        if way == "weights" and outcome == "model":
            continue
        named = Path("JSON") if way == "from_json" else path  # which knows no file
        try:
            act()
        except (FormatError, OSError) as error:
            outcome = type(error).__name__ if way == "load" else outcome
            if (wrong := unclear(str(error), named)) is not None:
                raise Finding(f"unclear {type(error).__name__}", wrong) from error
            if _ran_out(error):
                raise Finding("refused only when memory ran out", str(error)) from error
    if (taken := peak() - before) > MEMORY:
        raise Finding("too much memory", f"{taken >> 20} MB")
    return outcome


@cache
def _own() -> Any:
    return small_model()


def _ran_out(error: BaseException | None) -> bool:
    """Whether a refusal is what the end of memory led to."""
    return any(isinstance(one, MemoryError) for one in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it came from, and so on; each once."""
    known: set[int] = set()
    while error is not None and id(error) not in known:
        known.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def kind_of(error: BaseException) -> str:
    """What findings of a kind have in common: the error, and where in the package it came from."""
    what = error.args[0] if isinstance(error, Finding) else type(error).__name__
    frames: list[traceback.FrameSummary] = []
    for origin in causes(error):
        frames = [frame for frame in traceback.extract_tb(origin.__traceback__) if SOURCES in frame.filename] or frames
    if not frames:
        return what
    return f"{what} in {frames[-1].filename.rpartition(SOURCES)[2]}:{frames[-1].name}"


def chosen_names(files: dict[str, bytes], words: list[str]) -> dict[str, list[str]]:
    """The names of good files by format, those that hold one of some words.

    Raises
    ------
    SystemExit
        If there are none.
    """
    found: dict[str, list[str]] = {}
    for name in files:
        if not words or any(word in name for word in words):
            found.setdefault(Path(name).suffix.replace(".pth", ".pt"), []).append(name)
    if not found:
        raise SystemExit(f"no file is named like {', '.join(words)}")
    return found


def made_input(seed: int, number: int, files: dict[str, bytes], chosen: dict[str, list[str]]) -> tuple[str, bytes]:
    """Input number so and so: the name of the good file it comes from, and its bytes. Formats come equally often."""
    rng = random.Random(f"{seed} {number}")
    name = rng.choice(chosen[rng.choice(list(chosen))])
    return name, mutated(name, files[name], list(files.values()), rng)


def work(seed: int, first: int, count: int, names: list[str], place: Path) -> dict[str, int]:
    """Read ``count`` inputs; what came of them. The input under way always lies in ``place``."""
    files = good_files(place)
    chosen = chosen_names(files, names)
    result: Counter[str] = Counter()
    warnings.simplefilter("ignore")
    (place / "weights.bin").write_bytes(bytes(4096))  # for tensors of ONNX outside of their file
    for number in range(first, first + count):
        (place / "now").write_text(f"{number} ")
        name, data = made_input(seed, number, files, chosen)
        if len(data) > PROMISED:
            result["larger than the limits are for"] += 1
            continue
        path = place / f"input{Path(name).suffix}"
        if path.is_dir():
            shutil.rmtree(path)
        if path.suffix == checkpoints.SUFFIX:
            path.unlink(missing_ok=True)
            checkpoints.placed(path, data)
        else:
            path.write_bytes(data)
        (place / "now").write_text(f"{number} {name}")
        with (place / "trace").open("w") as trace, watched(trace):
            try:
                with timed(SECONDS, of_processor=True):
                    outcome = read(path)
            except (Exception, TooSlow) as error:
                unlimited()
                outcome = f"BAD {kind_of(error)}"
                if result[outcome] < KEPT:
                    keep(place / "bad", number, name, data, outcome, traceback.format_exc())
        result[outcome] += 1
    return dict(result)


@contextmanager
def watched(trace: TextIO) -> Iterator[None]:
    """Limits of memory and of time; a process that ends by them, or by a fault, writes where it was."""
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGXCPU, trace, chain=True)
    faulthandler.dump_traceback_later(WAIT, exit=True, file=trace)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + SECONDS + GRACE), most))
    limited(MEMORY)
    try:
        yield
    finally:
        unlimited()
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        faulthandler.cancel_dump_traceback_later()
        faulthandler.unregister(signal.SIGXCPU)
        faulthandler.disable()


def keep(folder: Path, number: int, name: str, data: bytes, outcome: str, why: str) -> None:
    """Store an input that found something."""
    folder.mkdir(exist_ok=True)
    (folder / f"{number}-{name}").write_bytes(data)
    (folder / f"{number}-{name}.txt").write_text(f"{outcome}\n{why}", "utf-8", "backslashreplace")
    print(f"input {number} from {name}: {outcome}", file=sys.stderr, flush=True)


def run_block(first: int, count: int, seed: int, names: list[str], kept: Path) -> Counter[str]:
    """Read a block of inputs, in a process of its own and another one behind each input that kills it."""
    total: Counter[str] = Counter()
    done, end = first, first + count
    environment = {**os.environ, "RNNX_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # one process is one job
    while done < end:
        folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        command = [sys.executable, "-m", "tests.fuzz.fuzz_formats", "--block", str(done), "--inputs", str(end - done)]
        command += ["--seed", str(seed), "--keep", str(folder), *names]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
        if child.returncode == 0:
            total.update(json.loads(child.stdout))
            done = end
        else:
            number, _, name = (folder / "now").read_text().partition(" ") if (folder / "now").exists() else ("", "", "")
            if not name:
                raise SystemExit(
                    f"the process of inputs {done} to {end} ended with {child.returncode}, not in a reader"
                )
            path, trace = folder / f"input{Path(name).suffix}", (folder / "trace").read_text()
            late = child.returncode == -signal.SIGXCPU or "Timeout (" in trace
            outcome = f"BAD {path.suffix} process {'hung' if late else f'died with {child.returncode}'}"
            data = checkpoints.packed_folder(path) if path.is_dir() else path.read_bytes()
            keep(folder / "bad", int(number), name, data, outcome, trace)
            total[outcome] += 1
            total["read before a process ended"] += int(number) - done
            done = int(number) + 1
        if (folder / "bad").exists():
            shutil.copytree(folder / "bad", kept, dirs_exist_ok=True)
        shutil.rmtree(folder)
    return +total


def run(inputs: int, seed: int, names: list[str], kept: Path, jobs: int) -> Counter[str]:
    """Read inputs in processes of their own, some beside each other; how often each outcome came."""
    block = max(1, min(BLOCK, -(-inputs // jobs)))
    with ThreadPoolExecutor(jobs) as pool:
        parts = [
            pool.submit(run_block, first, min(block, inputs - first), seed, names, kept)
            for first in range(0, inputs, block)
        ]
        try:
            return sum((part.result() for part in parts), Counter())
        finally:
            pool.shutdown(cancel_futures=True)


def main(arguments: list[str] | None = None) -> int:
    """Run, and print how often each outcome came and how many inputs were read in a second."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="only files whose names hold one of these words")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes beside each other")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--block", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.block is not None:
        print(json.dumps(work(options.seed, options.block, options.inputs, options.names, options.keep)))
        return 0
    begin = time.perf_counter()
    total = run(options.inputs, options.seed, options.names, options.keep, options.jobs)
    seconds = time.perf_counter() - begin
    for outcome, number in sorted(total.items()):
        print(f"{outcome}: {number:,}")
    print(f"{options.inputs:,} inputs, {options.inputs / seconds:,.0f} a second")
    return 1 if any(outcome.startswith("BAD") for outcome in total) else 0


if __name__ == "__main__":
    sys.exit(main())
