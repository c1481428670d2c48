"""The Python blocks of README.md and of all pages of docs/ run, one page after the other from its top.

What a page takes for granted (a file, an array) is prepared here; what it promises in words is checked here too.
"""

from __future__ import annotations

import doctest
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import datasets

from ..golden import keras_archive, store

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "distributed",
    "in-pytorch",
    "in-sklearn",
    "in-keras",
}  # pages whose blocks need a framework run in the suite of that framework
EVERY_PAGE = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in EVERY_PAGE if page.stem not in ELSEWHERE]
Names = dict[str, Any]


def needs_readme(folder: Path) -> Names:
    random = np.random.default_rng(3)
    (sequences, labels), _ = datasets.load_japanese_vowels()
    x = random.normal(size=(2, 5, 3)).astype("float32")
    kernel, recurrent_kernel, bias = (random.normal(size=shape).astype("float32") for shape in ((3, 16), (4, 16), 16))
    given = {"x": x, "kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias, "n": [5, 2]}
    return {"sequences": sequences[::9], "labels": labels[::9], "doutputs": np.ones((2, 5, 4), "float32"), **given}


def check_readme(names: Names, folder: Path) -> None:
    assert (folder / "vowels.safetensors").exists()
    assert names["grads"].dx.shape == (2, 5, 3)


def check_dropout(names: Names, folder: Path) -> None:
    assert names["masks"].inputs.shape == (3, 2, 1, 3) and names["masks"].recurrent.shape == (3, 2, 1, 64)


def needs_keras(folder: Path) -> Names:
    archive = store.DATA / "keras_files/old.tar.xz"
    keras_archive.unpack(archive, "k1_lstm_version.h5", folder).rename(folder / "model.h5")
    keras_archive.unpack(archive, "k1_lstm_parts.list.h5", folder).rename(folder / "model.list.h5")
    (folder / "k1_lstm_parts.json").rename(folder / "model.json")
    return {}


def check_keras(names: Names, folder: Path) -> None:
    assert names["found"]["profile"] == "keras1" and names["found"]["reason"] == "keras_version is 1.2.2"
    assert names["same"].get_weights()[0].shape == (3, 16)
    assert (folder / "for_keras.keras").exists()


def needs_onnx(folder: Path) -> Names:
    (folder / "network.onnx").write_bytes(store.load("onnx")["torch lstm"]["file"].tobytes())
    return {}


def check_onnx(names: Names, folder: Path) -> None:
    assert names["y"].shape == (2, 5, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["network.onnx", "tagger.onnx"]


def needs_pytorch(folder: Path) -> Names:
    shutil.copy(store.DATA / "torch_files/network.pt", folder / "model.pt")
    return {}


def check_pytorch(names: Names, folder: Path) -> None:
    assert names["scores"].shape == (2, 2) and len(names["states"]) == 8
    assert sorted(path.name for path in folder.iterdir()) == ["model.pt", "out.pt"]


def check_quantization(names: Names, folder: Path) -> None:
    assert names["report"].mode == "int16" and names["y"].shape == (5, 50, 4)
    np.testing.assert_array_equal(names["y"], names["model"].predict(names["x"][:5], verbose=0))


def needs_streaming(folder: Path) -> Names:
    lstm = rnnx.layers.LSTM(4, return_sequences=True, dropout=0.2, input_shape=(None, 3))
    model = rnnx.Sequential([lstm, rnnx.layers.Dense(2)])
    return {"model": model, "x_t": np.ones((1, 3)), "block": np.ones((1, 4, 3)), "rows": np.array([True])}


def needs_services(folder: Path) -> Names:
    rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4)]).save("model.safetensors")
    return {}


def check_services(names: Names, folder: Path) -> None:
    assert np.array_equal(names["again"](np.zeros((2, 5, 3))), names["y"])


def check_streaming(names: Names, folder: Path) -> None:
    assert names["y"].shape == (1, 2) and names["t"].state is not names["s"].state
    assert np.array_equal(np.stack(names["steps"], 1), names["outputs"])


def check_ops(names: Names, folder: Path) -> None:
    """The table names every operation."""
    page = (ROOT / "docs/ops.md").read_text()
    words = " ".join(re.findall(r"^\|[^|`]*\|(.*)\|$", page, re.MULTILINE)).replace("`", " ").split()
    assert sorted(set(words) - {"x[...]"} - {"---"}) == sorted(rnnx.ops.__all__)
    assert names["model"].output_shape == (None, 1)


def check_subclasses(names: Names, folder: Path) -> None:
    assert names["optimizer"].iterations == 1 and len(names["grads"].dweights) == len(names["model"].weights)


def check_start(names: Names, folder: Path) -> None:
    assert names["probabilities"].shape == (1, 9) and 0 <= names["accuracy"] <= 1
    whole = names["model"].predict([names["x_test"][0]], verbose=0)
    np.testing.assert_allclose(names["probabilities"], whole, atol=1e-6)


def check_masks(names: Names, folder: Path) -> None:
    assert names["y"].shape == (2, 4) and names["layer"].stateful


def check_blocks(names: Names, folder: Path) -> None:
    kernel, whole = names["layer"].recurrent_kernel, names["dense_kernel"](names["layer"].recurrent_kernel, 4)
    assert kernel.shape == (16, 256) and whole.shape == (64, 256)
    assert np.count_nonzero(whole) == np.count_nonzero(kernel)


def check_serving(names: Names, folder: Path) -> None:
    """The requests of the page fit its model."""
    model = rnnx.load_model(folder / "model.safetensors")
    assert (model.inputs[0].name, model.outputs[0].node.layer.name) == ("x", "y")
    text = (ROOT / "docs/serving.md").read_text()
    assert '{"name": "x", "shape": [1, 2, 3]' in text and model.predict(np.zeros((1, 2, 3)), verbose=0).shape == (1, 2)


def check_many(names: Names, folder: Path) -> None:
    assert names["fits"].failed == [] and names["deviation"].shape == (64, 1)


NEEDS: dict[str, Callable[[Path], Names]] = {
    "README": needs_readme, "blocks": lambda folder: {}, "dropout": lambda folder: {}, "keras": needs_keras,
    "onnx": needs_onnx,
    "many": lambda folder: {}, "masks": lambda folder: {}, "ops": lambda folder: {}, "pytorch": needs_pytorch,
    "quantization": lambda folder: {}, "serving": lambda folder: {}, "start": lambda folder: {},
    "services": needs_services, "streaming": needs_streaming, "subclasses": lambda folder: {},
}  # fmt: skip
CHECKS: dict[str, Callable[[Names, Path], None]] = {
    "README": check_readme, "blocks": check_blocks, "dropout": check_dropout, "keras": check_keras, "onnx": check_onnx,
    "many": check_many, "masks": check_masks, "ops": check_ops, "pytorch": check_pytorch,
    "quantization": check_quantization, "serving": check_serving, "start": check_start, "streaming": check_streaming,
    "services": check_services, "subclasses": check_subclasses,
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks(page: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names = NEEDS.get(page.stem, lambda folder: {})(tmp_path)
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines_above = text[: found.start(1)].count("\n")
        exec(compile("\n" * lines_above + found[1], str(page), "exec"), names)
    if page.stem in CHECKS:
        CHECKS[page.stem](names, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_with_prompts(page: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"rnnx": rnnx, "np": np, **NEEDS.get(page.stem, lambda folder: {})(tmp_path)}
    test = doctest.DocTestParser().get_doctest(page.read_text(encoding="utf-8"), names, page.name, str(page), 0)
    complaints: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=complaints.append)
    assert not complaints, "".join(complaints)


def test_every_page_with_blocks_is_prepared() -> None:
    with_blocks = {page.stem for page in PAGES if "```python" in page.read_text(encoding="utf-8")}
    assert with_blocks == set(NEEDS) == set(CHECKS)


@pytest.mark.parametrize(
    "page",
    [*EVERY_PAGE, ROOT / "CONTRIBUTING.md"],
    ids=lambda page: page.stem,
)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Links to files, and paths of the tree that stand in the text."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for target in re.findall(r"(?<![\w/.])(?:tests|scripts|bench|examples|src|docs)/[\w/.*-]*[\w*]", text):
        assert list(ROOT.glob(target)), target


def test_the_picture_of_the_speed_says_what_the_page_says() -> None:
    script = runpy.run_path(str(ROOT / "scripts/make_speed_picture.py"))
    drawn = (ROOT / "docs/img/speed.svg").read_text(encoding="utf-8")
    assert script["picture"](script["summary"]()) == drawn, "python scripts/make_speed_picture.py docs/img/speed.svg"
