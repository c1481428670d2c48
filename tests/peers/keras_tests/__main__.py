"""Run Keras' own tests on rnnx and print what became of them, by area.

Command, in an environment with the ``golden`` and ``test`` extras (2.4 MB are fetched with pip, nothing is installed):
``python -m tests.peers.keras_tests``; words such as ``layers/rnn`` run these files only, ``--show`` prints every test
that does not pass, ``--keras FOLDER`` takes an unpacked wheel of Keras.

A test passes, fails with the right error in other words (sentences are rnnx' own), or is one of:

* different: rnnx gives another result;
* missing: an argument or attribute is not there; absent: a class or function is not there;
* not applicable: it is about a backend, a mesh, sparse tensors or Keras' internals;
* not runnable: Keras' file skips it.

``known.txt`` beside this file names every test that is different, missing or absent, by its name or its error, with the
reason; the run fails for any that it does not name, and prints what it names in vain.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from ..public import unpacked
from . import shim

HERE = Path(__file__).parent
KERAS = "keras==3.15.1"
KINDS = ("pass", "other words", "different", "missing", "absent", "not applicable", "not runnable")
FAILED = ("different", "missing", "absent")
FILES = (
    "activations/*", "callbacks/*", "constraints/*", "initializers/*", "layers/layer_test.py", "layers/*/*",
    "legacy/saving/legacy_h5_format_test.py", "losses/*", "metrics/*", "models/*", "optimizers/*",
    "optimizers/schedules/*", "random/seed_generator_test.py", "regularizers/*", "saving/*", "trainers/trainer_test.py",
    "trainers/data_adapters/py_dataset_adapter_test.py", "utils/numerical_utils_test.py", "utils/progbar_test.py",
    "utils/rng_utils_test.py", "utils/sequence_utils_test.py", "utils/summary_utils_test.py",
    "utils/timeseries_dataset_utils_test.py",
)  # fmt: skip
WITHOUT = {  # files about things outside of rnnx' subject, or about Keras' own machinery
    "callbacks/orbax_checkpoint_test.py": "Orbax",
    "layers/preprocessing/data_layer_test.py": "tf.data",
    "layers/preprocessing/feature_space_test.py": "tf.data",
    "layers/preprocessing/mel_spectrogram_test.py": "tf.data",
    "layers/preprocessing/pipeline_test.py": "tf.data",
    "layers/preprocessing/stft_spectrogram_test.py": "tf.data",
    "optimizers/optimizer_sparse_test.py": "sparse gradients",
    "saving/file_editor_test.py": "an editor of files",
}


def copied(keras: Path, folder: Path) -> list[Path]:
    """Copy the test files, and nothing else of Keras, into a folder; those that are run."""
    for file in (keras / "keras/src").rglob("*_test.py"):
        target = folder / file.relative_to(keras)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for name in shim.OWN_FILES:
        target = folder / "keras/src" / (name.replace(".", "/") + ".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(keras / "keras/src" / target.relative_to(folder / "keras/src"), target)
    source = folder / "keras/src"
    found = {file for pattern in FILES for file in source.glob(pattern) if file.name.endswith("_test.py")}
    return sorted(file for file in found if str(file.relative_to(source)) not in WITHOUT)


def run(keras: Path, words: list[str]) -> list[dict[str, Any]]:
    """Run test files in a process of their own; one row a test: its name, what became of it, the error."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        files = [file for file in copied(keras, folder) if not words or any(word in str(file) for word in words)]
        report = folder / "report.json"
        environment = {
            **os.environ,
            "RNNX_KERAS_TESTS": str(folder),
            "RNNX_KERAS_REPORT": str(report),
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", "-p", f"{__package__}.plugin"]
        command += ["-p", "no:cacheprovider", "--continue-on-collection-errors", "--import-mode=importlib"]
        command += ["-c", os.devnull, "--rootdir", str(folder), *map(str, files)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"the inner run of pytest failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return list(json.loads(report.read_text()))


def known() -> list[tuple[str, str, str]]:
    """The lines of ``known.txt``: kind, pattern, reason."""
    lines = [line for line in (HERE / "known.txt").read_text().splitlines() if line and not line.startswith("#")]
    return [(kind, pattern, reason) for kind, pattern, reason in (line.split("\t") for line in lines)]


def judged(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The rows with their final kinds, what ``known.txt`` does not name, and what it names in vain."""
    lines, used, unknown = known(), set(), []
    for entry in rows:
        if entry["kind"] not in (*FAILED, "file"):
            continue
        for kind, pattern, reason in lines:
            if fnmatch.fnmatchcase(entry["test"], pattern) or fnmatch.fnmatchcase(entry["text"], pattern):
                entry["kind"], entry["reason"] = kind, reason
                used.add(pattern)
                break
        else:
            unknown.append(f"{entry['kind']}: {entry['test']}: {entry['text']}")
    return rows, unknown, [pattern for _, pattern, _ in lines if pattern not in used]


def table(rows: list[dict[str, Any]]) -> str:
    """Counts by area."""
    areas: dict[str, Counter[str]] = {}
    for entry in rows:
        parts = entry["test"].split("::")[0].split("/")
        area = "/".join(parts[:2]) if parts[0] == "layers" else parts[0]
        areas.setdefault(area, Counter())[entry["kind"]] += 1
    lines = ["| area | tests | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 2) + "|"]
    for area, counts in [*sorted(areas.items()), ("all", sum(areas.values(), Counter()))]:
        lines.append(f"| {area} | {counts.total()} | " + " | ".join(str(counts[kind] or "") for kind in KINDS) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.keras_tests", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="parts of paths of test files")
    parser.add_argument("--keras", type=Path, help="folder of an unpacked wheel of Keras")
    parser.add_argument("--show", action="store_true", help="print every test that does not pass")
    parser.add_argument("--json", type=Path, help="write all rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        keras = options.keras or unpacked(KERAS, Path(place))
        rows, unknown, stale = judged(run(keras, options.words))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=0))
    if options.show:
        for entry in rows:
            if entry["kind"] != "pass":
                print(f"{entry['kind']}: {entry['test']}: {entry['text']}")
    print(table(rows))
    for line in unknown:
        print("not in known.txt:", line)
    for line in stale if not options.words else []:
        print("in known.txt, and not so:", line)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
