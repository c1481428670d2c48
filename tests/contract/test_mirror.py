"""Tests stand where what they test stands: folder by folder as in src/rnnx, or in a folder of a purpose of its own."""

from __future__ import annotations

import re
from pathlib import Path

import rnnx

TESTS = Path(__file__).parents[1]
PACKAGE = Path(rnnx.__file__).parent
PURPOSES = {
    "bad_input", "bench", "contract", "fuzz", "golden", "gradients", "hostile", "oracle", "peers", "scripts", "threads",
}  # fmt: skip


def folders_of(root: Path) -> set[str]:
    found = (path.parent.relative_to(root).as_posix() for path in root.rglob("*.py"))
    return {folder for folder in found if folder != "."}


def test_folders_are_those_of_the_package() -> None:
    own = {folder for folder in folders_of(TESTS) if folder.split("/")[0] not in PURPOSES}
    assert own <= folders_of(PACKAGE)


def test_files_at_the_top_are_of_modules_at_the_top() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    for path in TESTS.glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert any(re.fullmatch(rf"{module}(_\w+)?", name) for module in modules), f"{path.name} is of no module"


def test_every_folder_is_a_package() -> None:
    """Files of the same name in two folders could not be collected otherwise."""
    for folder in folders_of(TESTS):
        assert (TESTS / folder / "__init__.py").exists(), folder
