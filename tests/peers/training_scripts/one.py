"""Run one script in this process: ``python -m tests.peers.training_scripts.one NAME TREE PATH REPORT SECONDS``."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import signal
import sys
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

WAITS = 10  # times that the time is given again to a script that has not trained yet
SOURCES = f"{os.sep}rnnx{os.sep}"


def sources_of(path: Path) -> list[str]:
    """The Python of a script, or of each cell of a notebook, without commands of the notebook."""
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = [text]
    if path.suffix == ".ipynb":
        book = json.loads(text)
        cells = book.get("cells") or [cell for sheet in book.get("worksheets", []) for cell in sheet["cells"]]
        found = [cell.get("source", cell.get("input", "")) for cell in cells if cell.get("cell_type") == "code"]
        parts = ["".join(part) for part in found]
    if path.suffix == ".ipynb":  # cells of other languages
        parts = [part for part in parts if not re.match(r"\s*%%(?!time|capture|prun)", part)]
    parts = [re.sub(r"^\s*%%\w+.*$", "", part, flags=re.M) for part in parts]
    return [re.sub(r"^(\s*)(?:[%!?]|pip install ).*$", r"\1pass", part, flags=re.M) for part in parts]


def parsed(source: str, path: Path) -> ast.Module:
    """The script, by way of lib2to3 if it is one of Python 2.

    Raises
    ------
    SyntaxError
        If it is no Python of either kind.
    """
    try:
        found = ast.parse(source)
        if not re.search(r"\.(has_key|iteritems|itervalues|next)\(", source):
            return found
        raise SyntaxError("words of Python 2")
    except SyntaxError as error:
        try:
            from lib2to3 import refactor
        except ImportError:
            raise error from None
        names = refactor.get_fixers_from_package("lib2to3.fixes")
        for fixers, options in ((names, {"print_function": False}), ([n for n in names if "print" not in n], {})):
            try:
                tool = refactor.RefactoringTool(fixers, options)
                return ast.parse(str(tool.refactor_string(source.replace("\t", " " * 8) + "\n", str(path))))
            except Exception:
                continue
        raise


def modernize(path: Path) -> None:
    """Rewrite a module of Python 2 so that it can be imported."""
    source = path.read_text(encoding="utf-8", errors="replace")
    try:
        ast.parse(source)
    except SyntaxError:
        try:
            path.write_text(ast.unparse(parsed(source, path)), encoding="utf-8")
        except SyntaxError:
            return


def kind_of(error: BaseException, tree: Path, names: Any) -> str:
    """Whose fault it is: rnnx', or what else is missing."""
    text, frames = str(error), traceback.extract_tb(error.__traceback__)
    files = [frame.filename for frame in frames]
    known = [file for file in files if SOURCES in file or file.startswith(str(tree))]
    last = names.ABSENT[-1].rsplit(".", 1)[-1] if names.ABSENT else None
    if isinstance(error, ImportError) and last is not None and f"'{last}'" in text:
        return "rnnx"
    if isinstance(error, AttributeError) and "rnnx has no" in text:
        return "rnnx"
    if isinstance(error, names.NotOnArrays) or isinstance(error, ImportError) and "tensorflow" in text:
        return "tensorflow"
    if isinstance(error, ImportError):
        return "package"
    if isinstance(error, SyntaxError):
        return "python 2"
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    if missing or type(error).__name__ in ("URLError", "LookupError"):
        return "data"
    if (word := re.match(r"(\w+)(?:\.\w+)?\(\) got an unexpected keyword", text)) and names.is_there(word[1]):
        return "rnnx"  # an argument that Keras has, or had
    if known and SOURCES in known[-1]:  # not what rnnx only called, such as a callback of the script
        return "rnnx"
    return "script"


def failure(error: Exception, tree: Path, names: Any) -> dict[str, Any]:
    """What an error says: whose fault it is, the line of the script, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(str(tree))]
    within = [f"{f.filename.split(SOURCES)[-1]}:{f.lineno}" for f in frames if SOURCES in f.filename]
    report = {
        "kind": kind_of(error, tree, names),
        "error": f"{type(error).__name__}: {error}"[:1000],
        "line": own[-1].line if own and not own[-1].filename.endswith(".ipynb") else "",
        "at": f"{frames[-1].filename}:{frames[-1].lineno}",
    }
    return {**report, "within": within[-1]} if within else report


def run(repository: str, tree: Path, path: str, seconds: float) -> dict[str, Any]:
    """Run a script of an unpacked repository; what it trained, and where it stopped."""
    import numpy as np

    from . import data, names, packages, short, stand_ins

    random.seed(0)
    np.random.seed(0)
    script = tree / path
    data.choose(repository, path)
    training = short.Training()
    names.install(stand_ins.DISPLAYED, stand_ins.keras_names(), packages.TENSORFLOW)
    beside = [script, *script.parent.rglob("*.py"), *tree.glob("*.py")]
    stand_ins.install(sys.modules, "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in beside))
    short.install(training)
    data.write_beside(str(script.parent))
    for module in script.parent.glob("*.py"):  # which the script may import
        modernize(module)
    os.chdir(script.parent)
    sys.path[:0] = [str(script.parent), str(tree)]
    sys.argv = [script.name, *data.ARGUMENTS.get(f"{repository}/{path}", [])]
    os.environ.update(data.VARIABLES)
    main = types.ModuleType("__main__")
    package = path.rsplit("/", 1)[0].replace("/", ".") if (script.parent / "__init__.py").exists() else None
    vars(main).update(__file__=str(script), __package__=package)
    sys.modules["__main__"] = main

    left = [WAITS]

    def enough(*args: Any) -> None:
        left[0] -= 1
        if training.done or not left[0]:
            raise short.Enough
        signal.setitimer(signal.ITIMER_PROF, seconds)  # it still makes its data

    signal.signal(signal.SIGPROF, enough)  # of the processor: what runs beside does not count
    signal.setitimer(signal.ITIMER_PROF, seconds)
    report: dict[str, Any] = {}
    sources = sources_of(script)
    try:
        for source in sources:
            code = compile(parsed(source, script), str(script), "exec")
            try:
                exec(code, vars(main))
            except NameError as error:  # a cell that shows a line of code, without what it needs
                if len(sources) == 1 or any(SOURCES in f.filename for f in traceback.extract_tb(error.__traceback__)):
                    raise
                report.setdefault("skipped", []).append(str(error))
        report["end"] = True
    except short.Enough:
        report["cut"] = True
    except SystemExit as error:
        report["end"] = not error.code
    except Exception as error:
        report.update(failure(error, tree, names))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    report.update(begun=training.begun, done=training.done, losses=training.losses, used=stand_ins.USED[:20])
    report.update(absent=names.ABSENT)
    return report


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("MPLBACKEND", "Agg")
    target = Path(sys.argv[4])
    written = target.open("w")  # before open is patched
    result = run(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3], float(sys.argv[5]))
    json.dump(result, written)
    written.close()
    os._exit(0)  # whatever threads the script has left
