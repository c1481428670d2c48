"""Imports go down only, and importing the package stays cheap."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rnnx

PACKAGE = Path(rnnx.__file__).parent

ROOT = Path(__file__).parents[2]


def drawn_floors() -> dict[str, int]:
    """Files and folders of the package by the floor that CONTRIBUTING.md draws them on."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    drawing = page.split("## Where things live")[1].split("```")[1]
    found: dict[str, int] = {}
    floor = None
    for line in drawing.splitlines():
        words = line.split()
        if words and words[0].isdigit():
            floor = int(words[0])
        for name in re.findall(r"([\w]+)(?:/|\.py\b|\.pyx\b)", line):
            found[name] = floor
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__main__.py"}


def imports_of(name: str) -> set[str]:
    """Modules of the package that a module imports, anywhere in it, also inside functions."""
    path, found = FILES[name], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "rnnx"}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*parent[: len(parent) - node.level + 1], *([base] if base else [])])
            if base.split(".")[0] == "rnnx":
                found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in FILES else base for a in node.names}
    return found - {name, "rnnx"}


MODULES = sorted(set(FILES) - {"rnnx"})


def test_the_drawing_has_every_room():
    floors = drawn_floors()
    rooms = {name.split(".")[1] for name in MODULES} | {"_kernels", "engine", "csrc"}
    assert rooms == set(floors)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    floors = drawn_floors()
    own = floors[name.split(".")[1]]
    for other in imports_of(name):
        assert floors[other.split(".")[1]] <= own, f"{name} (floor {own}) imports {other}"


def test_no_circle_between_files():
    waiting = {name: imports_of(name) & set(MODULES) for name in MODULES}
    while True:
        free = {name for name, needs in waiting.items() if not needs & waiting.keys()}
        if not free:
            break
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    circle = {name: sorted(needs & waiting.keys()) for name, needs in waiting.items()}
    assert not circle, circle


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ, **environment),
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_loads_neither_scipy_nor_the_upper_floors():
    loaded = set(run("import sys, rnnx; print(*sys.modules)").split())
    assert not {m for m in loaded if m.split(".")[0] in ("scipy", "safetensors", "tqdm", "h5py")}
    upper = {f"rnnx.{name}" for name, floor in drawn_floors().items() if floor >= 4}
    assert not loaded & upper


def test_inference_needs_no_scipy():
    code = """
import sys, numpy as np, rnnx
y = rnnx.layers.LSTM(4)(np.zeros((2, 3, 5), np.float32))
assert y.shape == (2, 4)
assert "scipy" not in sys.modules
"""
    run(code)


def test_a_first_prediction_loads_nothing_for_files_and_callbacks():
    code = """
import sys, numpy as np
before = set(sys.modules)
import rnnx
rnnx.Sequential([rnnx.Input((None, 8)), rnnx.layers.LSTM(16)]).predict(np.zeros((1, 20, 8), np.float32))
print(*set(sys.modules) - before)
"""
    loaded = set(run(code).split())
    assert not loaded & {"csv", "pathlib", "tempfile", "importlib.abc", "rnnx.saving", "rnnx.callbacks.monitors"}


def test_import_time():
    """At most 60 ms over numpy, as the least of several tries on a machine that may be busy."""
    code = "import time, numpy; t = time.perf_counter(); import rnnx; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(7)) < 0.060


def test_public_names_exist():
    for name in rnnx.__all__:
        assert getattr(rnnx, name) is not None, name
    assert set(rnnx.__all__) <= set(dir(rnnx))
    with pytest.raises(AttributeError, match="rnnx"):
        getattr(rnnx, "no_such_" + "name")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GRU", "it is rnnx.layers.GRU"),
        ("Adam", "it is rnnx.optimizers.Adam"),
        ("EarlyStopping", "it is rnnx.callbacks.EarlyStopping"),
        ("torch", "write `import rnnx.torch` first"),
        ("serve", "write `import rnnx.serve` first"),
    ],
)
def test_names_that_are_elsewhere(name, said):
    code = f"import rnnx\ntry: rnnx.{name}\nexcept AttributeError as error: print(error)"
    assert run(code).strip() == f"module 'rnnx' has no attribute {name!r}; {said}"
