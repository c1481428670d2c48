"""PyTorch's files: everything real PyTorch wrote gives its outputs, and what rnnx writes is what PyTorch has."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats import torch
from rnnx.saving import FormatError
from tests.golden import store

CASES = store.load("torch_files")
FILES = store.DATA / "torch_files"
RNG = np.random.default_rng(1)
WHOLE = [name for name, case in CASES.items() if case.config["modules"] == [""]]


def read(name: str, **options: Any) -> dict[str, Any]:
    return torch.load(FILES / name, nonlinearity=CASES[name].config["nonlinearity"], **options)


def filled(layer: Any, *shape: int) -> Any:
    """The layer with random weights."""
    layer.build((None, *shape))
    layer.set_weights([RNG.normal(size=w.shape) * 0.5 for w in layer.weights])
    return layer


def stack(*parts: Any) -> Any:
    model = rnnx.Sequential([rnnx.Input((None, 3)), *parts])
    model.set_weights([RNG.normal(size=w.shape) * 0.5 for w in model.weights])
    return model


# ---- What PyTorch wrote ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_layers_give_what_torch_gives(name: str) -> None:
    case, made = CASES[name], read(name)
    for module in case.config["modules"]:
        layer, x, wish = made[module], case[f"x/{module}"], case[f"y/{module}"]
        if isinstance(layer, layers.GRUCell):
            y = layer(x, [np.zeros((len(x), layer.units))])[0]
        else:
            y = layer(x)
        np.testing.assert_allclose(y, wish, rtol=1e-6, atol=1e-6)
        assert y.dtype == ("float64" if "double" in name else "float32")


@pytest.mark.parametrize("name", CASES)
def test_names_and_numbers_come_back(name: str, tmp_path: Any) -> None:
    """Through rnnx layers and both kinds of files; the biases of LSTM and RNN come back as their sum."""
    made = read(name)
    state = torch.state_dict(made)
    original = torch._state.read_state(FILES / name).arrays
    assert state.keys() == original.keys()
    assert {n: a.shape for n, a in state.items()} == {n: a.shape for n, a in original.items()}
    for suffix in (".pt", ".safetensors"):
        torch.save(made, tmp_path / f"back{suffix}")
        again = torch.state_dict(torch.load(tmp_path / f"back{suffix}"))
        for key, array in state.items():
            if "weight_hh" in key and "projected" in name:
                np.testing.assert_allclose(again[key], array, rtol=0, atol=1e-5)
            else:
                np.testing.assert_array_equal(again[key], array, err_msg=key)


def test_a_stack_takes_lengths_and_streams() -> None:
    layer = read("lstm.pt")[""]
    x = RNG.normal(size=(3, 6, 3))
    y = layer(x, lengths=[6, 2, 4])
    assert not y[1, 2:].any() and y[1, 1].any()
    np.testing.assert_allclose(y[2, :4], layer(x[2:, :4])[0], rtol=0, atol=1e-6)
    deep = read("whole_module.pt")[""]
    stream = deep.stream(3)
    steps = np.stack([stream.step(x[:, t].astype(np.float32)) for t in range(6)], axis=1)
    np.testing.assert_allclose(steps, deep(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name, count", [("lstm.pt", 3), ("gru_stack.pth", 7), ("lstm_projected.pt", 9)])
def test_final_states(name: str, count: int) -> None:
    x = RNG.normal(size=(2, 5, 3))
    y, *states = read(name, return_state=True)[""](x)
    np.testing.assert_allclose(y, read(name)[""](x), rtol=0, atol=1e-6)
    assert len(states) == count - 1 and {s.shape for s in states} == {(2, 4)}


def test_a_state_dict_in_memory() -> None:
    state = torch.state_dict(read("network.pt"))
    made = torch.load(state, modules=["encoder", "head"])
    assert list(made) == ["encoder.0", "head"]
    assert list(torch.load({"net": state, "epoch": 3}, modules="head")) == ["head"]


def test_what_the_file_does_not_say_is_an_option() -> None:
    options = {
        "conv": {"padding": "same", "strides": 2},
        "embedding": {"kind": "Linear"},
        "layer_norm": {"epsilon": 0.5},
        "batch_norm": {"momentum": 0.5},
        "decoder": {},
    }
    made = read("network.pt", options=options)
    assert made["conv"].padding == "same" and made["conv"].strides == 2
    assert isinstance(made["embedding"], layers.Dense)
    assert made["layer_norm"].epsilon == 0.5 and made["batch_norm"].epsilon == 1e-5
    assert made["batch_norm"].momentum == 0.5
    for wrong in ({"conv": {"stride": 2}}, {"nowhere": {}}, {"embedding": {"kind": "Table"}}):
        with pytest.raises(FormatError, match="network.pt.*(conv|nowhere|embedding)"):
            read("network.pt", options=wrong)


def test_checkpoints_with_several_state_dicts() -> None:
    one = {"weight": np.ones((2, 3)), "bias": np.ones(2)}
    with pytest.raises(FormatError, match="'generator', 'critic'"):
        torch.load({"generator": one, "critic": one})
    assert torch.load({"generator": one, "critic": one}, key="critic")[""].units == 2
    with pytest.raises(FormatError, match="no entry 'nothing'"):
        torch.load({"generator": one, "critic": one}, key="nothing")


def test_describe() -> None:
    found = torch.describe(FILES / "checkpoint.pt")
    kinds = {row["name"]: row["class"] for row in found["layers"]}
    assert kinds["encoder.0"] == "LSTM, 2 layers, bidirectional" and kinds["decoder"] == "GRUCell"
    assert kinds["embedding"] == "Embedding" and kinds["conv"] == "Conv1d" and kinds["head"] == "Linear"
    assert found["framework"] == "PyTorch" and "'model_state_dict'" in found["warnings"][0]


# ---- Writing --------------------------------------------------------------------------------------------------------


def test_layers_of_ones_own() -> None:
    model = stack(
        layers.Dense(4, name="first"),
        layers.LSTM(5, return_sequences=True, name="one"),
        layers.Dropout(0.5),
        layers.GRU(6, return_sequences=True, use_bias=False, name="two"),
        layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True), name="three"),
        layers.TimeDistributed(layers.Dense(3, use_bias=False), name="last"),
    )
    state = torch.state_dict(model, prefix="net.")
    assert list(state) == [
        "net.first.weight", "net.first.bias",
        "net.one.weight_ih_l0", "net.one.weight_hh_l0", "net.one.bias_ih_l0", "net.one.bias_hh_l0",
        "net.two.weight_ih_l0", "net.two.weight_hh_l0",
        *(f"net.three.{stem}_l0{end}" for end in ("", "_reverse") for stem in
          ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        "net.last.weight",
    ]  # fmt: skip
    assert state["net.one.weight_ih_l0"].shape == (20, 4) and not state["net.one.bias_hh_l0"].any()
    made, x = torch.load(state), RNG.normal(size=(2, 5, 3))
    y = x
    for name in ("first", "one", "two", "three", "last"):
        y = made[f"net.{name}"](y)
    np.testing.assert_allclose(y, model(x), rtol=0, atol=1e-6)


def test_a_chain_of_like_layers_is_one_module() -> None:
    alike = stack(
        layers.GRU(4, return_sequences=True), layers.Dropout(0.1), layers.GRU(4, return_sequences=True), layers.GRU(4)
    )
    state = torch.state_dict({"encoder": alike})
    assert {name.split("_l")[-1] for name in state} == {"0", "1", "2"}
    assert all(name.startswith("encoder.weight") or name.startswith("encoder.bias") for name in state)
    differing = stack(layers.GRU(4, return_sequences=True, name="a"), layers.GRU(5, name="b"))
    assert {name.split(".")[0] for name in torch.state_dict(differing)} == {"a", "b"}
    x = rnnx.Input((None, 3))
    side = rnnx.Model(x, rnnx.layers.add([layers.GRU(4, name="a")(x), layers.GRU(4, name="b")(x)]))
    assert {name.split(".")[0] for name in torch.state_dict(side)} == {"a", "b"}


REFUSED = {
    "dropout=0.2": lambda: layers.LSTM(4, dropout=0.2),
    "recurrent_dropout=0.1": lambda: layers.GRU(4, recurrent_dropout=0.1),
    "zoneout=": lambda: layers.LSTM(4, zoneout=(0.0, 0.3)),
    "reset_after=False": lambda: layers.GRU(4, reset_after=False),
    "activation='relu'": lambda: layers.LSTM(4, activation="relu"),
    "activation='elu'": lambda: layers.SimpleRNN(4, activation="elu"),
    "recurrent_activation='hard_sigmoid'": lambda: layers.GRU(4, recurrent_activation="hard_sigmoid"),
    "go_backwards": lambda: layers.LSTM(4, go_backwards=True),
    "'sum'": lambda: layers.Bidirectional(layers.LSTM(4), merge_mode="sum"),
    "directions that differ": lambda: layers.Bidirectional(
        layers.LSTM(4), backward_layer=layers.GRU(4, go_backwards=True)
    ),
    "StackedRNNCells|RNN has no": lambda: layers.RNN([layers.GRUCell(4), layers.GRUCell(4)]),
    "`scale` and `center` of BatchNorm": lambda: layers.BatchNormalization(scale=False),
    "`scale` and `center` of a LayerNorm": lambda: layers.LayerNormalization(center=False),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_torch_does_not_have_is_refused_by_name(words: str, tmp_path: Any) -> None:
    layer = filled(REFUSED[words](), 5, 3)
    with pytest.raises(FormatError, match=words) as error:
        torch.save(layer, tmp_path / "m.pt")
    assert any(name in str(error.value) for name in (layer.name, f"forward_{layer.name}"))
    assert ("set them to 0 on the layer" in str(error.value)) == ("dropout=" in words)
    assert not list(tmp_path.iterdir())


def test_without_its_dropout_a_layer_is_written(tmp_path: Any) -> None:
    layer = filled(layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1), 5, 3)
    layer.dropout = layer.recurrent_dropout = 0.0
    torch.save(layer, tmp_path / "m.pt")
    np.testing.assert_array_equal(torch.load(tmp_path / "m.pt")[""].get_weights()[0], layer.get_weights()[0])


def test_a_projected_layer_that_was_trained_cannot_be_written() -> None:
    model = read("lstm_projected.pt")[""]
    model.layers[0].forward_layer.recurrent_kernel = RNG.normal(size=(4, 16))
    with pytest.raises(FormatError, match="proj_size"):
        torch.state_dict(model)


def test_not_built_and_named_alike() -> None:
    with pytest.raises(FormatError, match="not built"):
        torch.state_dict(layers.LSTM(4, name="new"))
    layer = filled(layers.Dense(2, name="x"), 3)
    with pytest.raises(FormatError, match="'x.weight' is there twice"):
        torch.state_dict({"x": layer, "": rnnx.Sequential([rnnx.Input((3,)), layer])})


def test_the_archive_is_plain_and_the_same_each_time(tmp_path: Any) -> None:
    layer = filled(layers.LSTM(4), 5, 3)
    torch.save(layer, tmp_path / "a.pt")
    first = (tmp_path / "a.pt").read_bytes()
    torch.save(layer, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert [name.split("/")[1] for name in archive.namelist()][:2] == ["data.pkl", "byteorder"]
    with pytest.raises(FormatError, match="end in .pt"):
        torch.save(layer, tmp_path / "a.bin")
    with pytest.raises(FileExistsError):
        torch.save(layer, tmp_path / "a.pt", overwrite=False)


# ---- Models ---------------------------------------------------------------------------------------------------------


def test_weights_of_a_model(tmp_path: Any) -> None:
    """``model.save_weights`` and ``model.load_weights`` go by the suffix."""
    model = stack(layers.GRU(4, return_sequences=True, name="gru"), layers.Dense(2, name="head"))
    model.save_weights(tmp_path / "m.pt")
    other = stack(layers.GRU(4, return_sequences=True, name="gru"), layers.Dense(2, name="head"))
    other.load_weights(tmp_path / "m.pt")
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FormatError, match="save_weights"):
        model.save(tmp_path / "n.pt")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("gru.bias_hh_l0"), "'gru.bias_hh_l0'"),
        (lambda s: s.update({"more.weight": np.ones((2, 2))}), "more.weight"),
        (lambda s: s.update({"head.weight": np.ones((2, 5))}), "'head.weight' must have shape"),
        (lambda s: s.update({"head.weight": np.ones((2, 4), int)}), "floating-point"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change: Any, words: str) -> None:
    model = stack(layers.GRU(4, return_sequences=True, name="gru"), layers.Dense(2, name="head"))
    before, state = model.get_weights(), torch.state_dict(model)
    state = {name: array + 1 for name, array in state.items()}
    change(state)
    with pytest.raises(FormatError, match=words):
        torch.load_weights(model, state)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_of_one_module_is_a_model() -> None:
    x = RNG.normal(size=(2, 5, 3))
    for name in ("lstm.pt", "gru_stack.pth"):
        np.testing.assert_array_equal(rnnx.load_model(FILES / name)(x), read(name)[""](x))


def test_a_chain_must_be_named() -> None:
    with pytest.raises(FormatError, match="7 modules.*how they are connected"):
        rnnx.load_model(FILES / "network.pt")
    model = torch.load_model(FILES / "network.pt", modules=["embedding", "encoder.0", "conv"])
    made = read("network.pt")
    ids = np.array([[1, 2, 3, 4]])
    np.testing.assert_allclose(model(ids), made["conv"](made["encoder.0"](made["embedding"](ids))), rtol=0, atol=1e-6)
    with pytest.raises(FormatError, match="do not make a chain"):
        torch.load_model(FILES / "network.pt", modules=["embedding", "head"])
    with pytest.raises(FormatError, match="'encoder'.*must be modules"):
        torch.load_model(FILES / "network.pt", modules=["encoder"])


# ---- A trained network of the world ---------------------------------------------------------------------------------


def test_g2pm_reads_chinese() -> None:
    """Of the package g2pM (Apache-2.0): embedding, bidirectional LSTM and two Linear, sentences of any length."""
    case = store.load("g2pm")["g2pM"]
    prefix = "weights/"
    made = torch.load({k.removeprefix(prefix): a for k, a in case.arrays.items() if k.startswith(prefix)})
    ids = case.listed("ids")
    lengths = np.array([len(row) for row in ids])
    padded = np.zeros((len(ids), lengths.max()), int)
    for place, row in zip(padded, ids, strict=True):
        place[: len(row)] = row
    hidden = made["lstm"](made["embedding"](padded), lengths=lengths)
    logits = made["logit_layer.2"](np.maximum(made["logit_layer.0"](hidden), 0))
    for k, wish in enumerate(case.listed("hidden")):
        np.testing.assert_allclose(hidden[k, : lengths[k]], wish, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(logits[k, : lengths[k]].argmax(axis=-1), case[f"read/{k}"])
