"""Products of matrices in NumPy go through `rnnx.functional._products`, or are named here with the reason why not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rnnx

PACKAGE = Path(rnnx.__file__).parent
NAMES = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum", "norm", "multi_dot", "matvec", "vecmat", "vecdot"}
APART = ("functional/_products.py", "_bench/numpy_loop.py")  # the one place, and the bench's NumPy side
ELSEWHERE = {
    "layers/embedding.py": {
        "one_hot @ np.asarray(dy, self.dtype).reshape(-1, self.output_dim)"
    },  # a sparse matrix of scipy
    "optimizers/clipping.py": {"np.dot(flat, flat)"},  # flags are ignored: what overflows is computed otherwise
    "utils/arrays.py": {"np.linalg.norm(array, ord=order, axis=axis, keepdims=True)"},  # flags are ignored
}
UNDER_ERRSTATE = "formats/onnx/"  # `Session.run` and what computes constants ignore all flags


def products(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.MatMult):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NAMES:
            found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_products_are_in_one_place(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    if name in APART or name.startswith(UNDER_ERRSTATE):
        return
    assert products(ast.parse(path.read_text())) == ELSEWHERE.get(name, set())
