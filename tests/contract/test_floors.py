"""Imports go down only, and importing the package stays cheap."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnx

PACKAGE = Path(rnnx.__file__).parent

FLOORS = {
    "_kernels": 1,
    "_config": 2,
    "activations": 2,
    "dropout": 2,
    "reference": 2,
    "functional": 2,
    "initializers": 3,
    "regularizers": 3,
    "constraints": 3,
    "layers": 3,
    "streaming": 3,
    "models": 4,
    "training": 4,
    "optimizers": 4,
    "losses": 4,
    "metrics": 4,
    "callbacks": 4,
    "data": 4,
    "utils": 4,
    "saving": 4,
    "monte_carlo": 4,
    "backpropagation": 4,
    "summary": 4,
    "batching": 4,
    "interrupts": 4,
    "runtime": 2,
    "schedules": 4,
    "threadpools": 5,
    "formats": 5,
    "cli": 5,
    "demo": 5,
    "datasets": 5,
    "bench": 5,
    "_bench": 5,
}


def floor_of(parts):
    name = parts[0]
    private = name if name in FLOORS else name.lstrip("_").split("_")[0]
    return FLOORS[private]


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            yield path, parts


@pytest.mark.parametrize(
    "path, parts", list(modules()), ids=lambda value: "/".join(value) if isinstance(value, tuple) else ""
)
def test_imports_go_down(path, parts):
    """Imports at the top of a module; what a function imports is loaded on demand and may look up a floor."""
    own = floor_of(parts)
    body = ast.parse(path.read_text()).body
    imports = [n for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
    for node in imports:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if isinstance(node, ast.ImportFrom) and node.module == "rnnx":
            names = [f"rnnx.{a.name}" for a in node.names if a.name != "__version__"]
        for name in names:
            if name.startswith("rnnx."):
                assert floor_of(name.split(".")[1:]) <= own, f"{path.name} (floor {own}) imports {name}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")) + sorted(PACKAGE.glob("*.p[yx]*")), ids=lambda p: p.name)
def test_files_stay_short(path):
    limit = 600 if path.name.startswith("_kernels") else 500
    assert len(path.read_text().splitlines()) <= limit


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
    upper = {f"rnnx.{name}" for name, floor in FLOORS.items() if floor >= 4}
    assert not loaded & upper


def test_inference_needs_no_scipy():
    code = """
import sys, numpy as np, rnnx
y = rnnx.layers.LSTM(4)(np.zeros((2, 3, 5), np.float32))
assert y.shape == (2, 4)
assert "scipy" not in sys.modules
"""
    run(code)


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
