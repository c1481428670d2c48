"""Run public training scripts on rnnx and print which come to their end, which stop, and why.

Command, in an environment with the ``test`` extra, pandas 2, matplotlib, scikit-learn, nltk, tqdm, h5py, requests,
gensim, statsmodels, jinja2, sqlalchemy, pillow, jieba, openpyxl, xlrd, regex, loguru and glog:
``python -m tests.peers.training_scripts``. It fetches the repositories that ``catalogue.txt`` names, at its commits,
with git, into ``--folder`` (what is there is not fetched again); nothing of
them is in this tree. Words such as ``addition_rnn`` run these scripts only.

The scripts are run as they are, with Keras' names meaning rnnx' (`names`), one short epoch where they train for hours
(`short`), and small synthetic data where they download it or keep it elsewhere (`stand_ins`, `data`); packages that
only read such data, and words of older versions of others, are `packages`. A script

* runs: it came to its end, or trained until the time limit;
* trains: it trained, and stopped later, for another reason than rnnx;
* stops at ``rnnx``, ``tensorflow``, a ``package`` that is not there, ``data``, ``python 2``, or the ``script`` itself.

A cell of a notebook that lacks a name is skipped: notebooks show lines of code between the cells that run.

``known.txt`` names every script that does not run, with the reason; the run fails for any that it does not name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SECONDS = 4.0  # of the processor for a script, after which it has trained long enough, if it has trained
WAIT = 900.0  # by the clock, after which it hangs
LARGEST = 4 << 20  # bytes of a file of a repository; larger ones are data
OFFLINE = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}  # a blob that was left out stays out
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".pdf", ".mp4", ".mid", ".wav", ".mp3")


class Script(NamedTuple):
    repository: str
    commit: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.repository}/{self.path}"


def catalogue() -> list[Script]:
    """The scripts of ``catalogue.txt``: a line for a repository and its commit, and one for each script below it."""
    scripts, repository, commit = [], "", ""
    for line in (HERE / "catalogue.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            scripts.append(Script(repository, commit, line.strip()))
        else:
            repository, commit = line.split()
    return scripts


def fetched(repository: str, commit: str, folder: Path) -> Path:
    """The files of a repository at a commit, without what is large.

    Raises
    ------
    subprocess.CalledProcessError
        If the repository cannot be fetched.
    """
    tree = folder / repository.replace("/", "+") / commit
    if tree.exists():
        return tree
    bare = tree.with_suffix(".git")
    git = ["git", "-C", str(bare)]
    if not bare.exists():
        subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
        address = os.environ.get("RNNX_GIT", "https://github.com/") + repository
        subprocess.run([*git, "remote", "add", "origin", address], check=True)
    fetch = ["fetch", "-q", "--depth", "1", f"--filter=blob:limit={LARGEST}", "origin", commit]
    subprocess.run([*git, *fetch], check=True)
    part = tree.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    listed = subprocess.run([*git, "ls-tree", "-rz", commit], capture_output=True, check=True).stdout
    for entry in filter(None, listed.decode(errors="replace").split("\0")):
        about, name = entry.split("\t", 1)
        _, kind, blob = about.split()
        if kind != "blob" or name.lower().endswith(PICTURES):
            continue
        content = subprocess.run([*git, "cat-file", "blob", blob], capture_output=True, env=OFFLINE)
        if content.returncode == 0:  # not one that is too large
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.stdout)
    part.rename(tree)
    return tree


def run(script: Script, folder: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """Run a script in a process of its own, in a copy of its repository that is thrown away."""
    tree = fetched(script.repository, script.commit, folder)
    with tempfile.TemporaryDirectory() as name:
        work, report = Path(name, "tree").resolve(), Path(name, "report.json")
        shutil.copytree(tree, work)
        environment = {**os.environ, "RNNX_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TMPDIR": name}
        root = str(HERE.parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            f"{__package__}.one",
            script.repository,
            str(work),
            script.path,
        ]
        try:
            done = subprocess.run(
                [*command, str(report), str(seconds)],
                cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=WAIT,
            )  # fmt: skip
            error = done.stderr[-600:]
        except subprocess.TimeoutExpired:
            error = f"no end after {WAIT:.0f} s"
        written = report.read_text() if report.exists() else ""
        return json.loads(written) if written else {"kind": "rnnx", "error": error, "begun": 0, "done": 0}


def outcome(report: dict[str, Any]) -> str:
    """One word for what became of a script."""
    if "kind" in report:
        return "trains" if report["done"] and report["kind"] not in ("rnnx",) else str(report["kind"])
    if not report["done"]:
        return "nothing trained"
    return "runs"


def known() -> dict[str, tuple[str, str]]:
    """The lines of ``known.txt``: a script, what becomes of it, and why."""
    lines = [line for line in (HERE / "known.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {name: (kind, reason) for name, kind, reason in (line.split("\t") for line in lines)}


def run_all(scripts: list[Script], folder: Path, jobs: int, keep: Path | None = None) -> dict[str, dict[str, Any]]:
    """Run scripts beside each other; the report of each, which is also written into the folder ``keep``."""

    def one(script: Script) -> tuple[str, dict[str, Any]]:
        report = run(script, folder)
        report["outcome"] = outcome(report)
        if keep is not None:
            (keep / (script.name.replace("/", "+") + ".json")).write_text(json.dumps(report, indent=1))
        return script.name, report

    for script in scripts:  # first, as two of them may be of one repository
        fetched(script.repository, script.commit, folder)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        return dict(pool.map(one, scripts))


def table(reports: dict[str, dict[str, Any]]) -> str:
    """Every script that does not run, with its reason, and the counts."""
    lines = []
    for name, report in sorted(reports.items(), key=lambda item: (item[1]["outcome"], item[0])):
        if report["outcome"] != "runs":
            where = report.get("within") or Path(report.get("at", "")).name
            lines.append(
                f"{report['outcome']}: {name}: {report.get('error', '')[:300]} | {report.get('line', '')} | {where}"
            )
    counts = Counter(report["outcome"] for report in reports.values())
    return "\n".join([*lines, f"{len(reports)} scripts: " + ", ".join(f"{n} {k}" for k, n in counts.most_common())])


def unexpected(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Scripts that stop and that ``known.txt`` does not name."""
    named = known()
    return [name for name, report in reports.items() if report["outcome"] != "runs" and name not in named]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="only scripts whose names hold one of these words")
    parser.add_argument("--folder", type=Path, default=Path("training-scripts"), help="where repositories are kept")
    parser.add_argument("--keep", type=Path, help="where the reports are written")
    parser.add_argument("--jobs", type=int, default=1, help="scripts beside each other")
    options = parser.parse_args(arguments)
    scripts = [s for s in catalogue() if not options.words or any(word in s.name for word in options.words)]
    reports = run_all(scripts, options.folder, options.jobs, options.keep)
    print(table(reports))
    unknown = unexpected(reports)
    print("not in known.txt:", *unknown, sep="\n    ")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
