"""Which dropout, where, and what does it buy? Five sets of data, 16 kinds of dropout, LSTM and GRU.

    python examples/dropout_study/run.py OUT --data FOLDER [--download] [--jobs 2]
    python examples/dropout_study/run.py OUT --tiny

Fits go to ``OUT/fits.jsonl``, tables and pictures to ``OUT/study.md`` and its neighbours. Stop it and run it again: it
goes on where it was, and with all fits there it makes the tables anew. ``--only snippets vowels`` leaves out the other
sets, as it does with data that are not there; `sets.py` says where they come from and under which licences.

How it is done: a learning rate is chosen for each set and cell, without dropout, by the validation loss of two seeds.
Then each arm is trained with it at both rates and five seeds, stops early by the validation loss and is measured on the
test part, which nothing else has seen. Arms of one seed share split, first weights and order of batches, so that their
differences are paired.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy comes: fits run side by side, each on one thread

import argparse  # noqa: E402
import multiprocessing  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterable, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import mean  # noqa: E402
from typing import Any  # noqa: E402

import sets  # noqa: E402
from arms import ARMS, CELLS  # noqa: E402
from fitting import Fit, run  # noqa: E402
from report import write  # noqa: E402
from results import Results  # noqa: E402

import rnnx  # noqa: E402

SEARCHED = 2  # seeds of the search for a learning rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder with data; may be given again")
    parser.add_argument("--download", action="store_true", help="fetch data that are not there into the last --data")
    parser.add_argument("--only", nargs="+", choices=sorted(sets.SETS), help="these sets only")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="fits side by side, one thread each")
    parser.add_argument("--tables", action="store_true", help="make tables and pictures of the fits that are there")
    parser.add_argument("--tiny", action="store_true", help="a few seconds, to see that it runs")
    given = parser.parse_args()
    if given.seeds < 2 or given.jobs < 1:
        parser.error("--seeds must be at least 2 and --jobs at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves the pool in order
    sets.FOLDERS[:] = given.data or [given.out / "data"]
    known = sets.TINY if given.tiny else sets.SETS
    seeds = 2 if given.tiny else given.seeds
    results = Results(given.out / "fits.jsonl")
    try:
        if not given.tables:
            chosen = [known[name] for name in known if given.only is None or name in given.only]
            usable = [own for own in chosen if _is_there(own, given.download)]
            _fit_all(results, _search(usable, given.tiny), given.jobs)
            _fit_all(results, _plan(results, usable, seeds, given.tiny), given.jobs)
    except KeyboardInterrupt:
        print(f"\nstopped; {len(results.lines)} fits are in {results.path}, and the same command goes on")
        return 130
    finally:
        tables(results, known, seeds, given.tiny)
    return 0


def tables(results: Results, known: Mapping[str, sets.Set] = sets.SETS, seeds: int = 5, tiny: bool = False) -> None:
    """Make tables and pictures of the fits that are there, beside their file."""
    fits = _plan(results, known.values(), seeds, tiny)
    wanted = sum(len(CELLS) * min(seeds, own.seeds) * len(own.kinds or _kinds(tiny)) for own in known.values())
    write(results.path.parent, [line for fit in fits if (line := results.find(fit)) is not None], known, wanted)


def _kinds(tiny: bool) -> list[tuple[str, float]]:
    """All arms with their rates."""
    rates = (0.5,) if tiny else (0.25, 0.5)
    return [("none", 0.0), *((arm, rate) for arm in ARMS if arm != "none" for rate in rates)]


def _is_there(own: sets.Set, fetch: bool) -> bool:
    if own.source is None:
        return True
    try:
        if fetch:
            sets.download(own.source)
        sets.path_of(own.source)
    except (sets.MissingData, OSError) as error:
        print(f"without {own.name}: {error}")
        return False
    return True


def _search(chosen: Iterable[sets.Set], tiny: bool) -> list[Fit]:
    """Fits that choose a learning rate for each set and cell."""
    return [
        Fit(own.name, cell, "none", 0.0, seed, rate, tiny)
        for own in chosen
        for cell in CELLS
        for rate in own.rates
        for seed in range(SEARCHED)
        if len(own.rates) > 1
    ]


def _learning_rate(results: Results, own: sets.Set, cell: str, tiny: bool) -> float | None:
    """The rate of the smallest mean validation loss without dropout; None before the search is done."""
    if len(own.rates) == 1:
        return own.rates[0]
    losses = {}
    for rate in own.rates:
        found = [results.find(Fit(own.name, cell, "none", 0.0, seed, rate, tiny)) for seed in range(SEARCHED)]
        if any(line is None for line in found):
            return None
        losses[rate] = mean(line["valid_loss"] for line in found if line is not None)
    return min(losses, key=losses.__getitem__)


def _plan(results: Results, chosen: Iterable[sets.Set], seeds: int, tiny: bool) -> list[Fit]:
    """All fits whose learning rate is known, seed by seed: what is done after a while is a study of fewer seeds."""
    best = {(own, cell): _learning_rate(results, own, cell, tiny) for own in chosen for cell in CELLS}
    return [
        Fit(own.name, cell, arm, rate, seed, learning_rate, tiny)
        for seed in range(seeds)
        for (own, cell), learning_rate in best.items()
        if learning_rate is not None and seed < own.seeds
        for arm, rate in own.kinds or _kinds(tiny)
    ]


def _prepare(folders: list[Path]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process speaks for all
    sets.FOLDERS[:] = folders
    rnnx.set_num_threads(1)


def _fit_all(results: Results, fits: list[Fit], jobs: int) -> None:
    todo = [fit for fit in fits if results.find(fit) is None]
    if not todo:
        return
    progress = _Progress(fits, results)
    if jobs == 1:
        rnnx.set_num_threads(1)
        for fit in todo:
            results.append(line := run(fit))
            progress.show(line)
        return
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(todo)), _prepare, (sets.FOLDERS,)) as pool:
        for line in pool.imap_unordered(run, todo):
            results.append(line)
            progress.show(line)


class _Progress:
    """A line for each fit, with the time that the rest will take at the pace of this run."""

    def __init__(self, fits: list[Fit], results: Results):
        self.count = len(fits)
        self.left = [fit.set for fit in fits if results.find(fit) is None]
        self.seconds = {name: [line["seconds"] for line in results.lines if line["set"] == name] for name in self.left}
        self.start, self.spent = time.perf_counter(), 0.0

    def show(self, line: dict[str, Any]) -> None:
        self.left.remove(line["set"])
        self.seconds[line["set"]].append(line["seconds"])
        self.spent += line["seconds"]
        side_by_side = max(1e-9, self.spent / (time.perf_counter() - self.start))
        own = {name: mean(found) for name, found in self.seconds.items() if found}
        unknown = mean(own.values())
        rest = sum(own.get(name, unknown) for name in self.left) / side_by_side
        rate = f" {line['rate']:g}" if line["rate"] else ""
        print(
            f"[{self.count - len(self.left)}/{self.count}] {line['set']} {line['cell']} {line['arm']}{rate}, seed "
            f"{line['seed']}: test {line['test_score']:.2f}, {line['seconds']:.1f} s; {_words(rest)} left",
            flush=True,
        )


def _words(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min" if minutes else "< 1 min"


if __name__ == "__main__":
    sys.exit(main())
