"""Files of Keras that are damaged or mean harm: one clear error, nothing run, little memory."""

import io
import json
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.cli import main
from rnnx.formats import keras
from rnnx.saving import FormatError


@pytest.fixture
def archive(tmp_path):
    """A good file, and a function that writes it again with changes."""
    path = tmp_path / "good.keras"
    rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2, name="lstm"), layers.Dense(2, name="head")]).save(path)
    with zipfile.ZipFile(path) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()}

    def changed(config=None, weights=None, compression=zipfile.ZIP_STORED, **members):
        own = dict(parts)
        if config is not None:
            table = json.loads(own["config.json"])
            config(table)
            own["config.json"] = json.dumps(table).encode()
        if weights is not None:
            with io.BytesIO(own["model.weights.h5"]) as file:
                with h5py.File(file, "r+") as opened:
                    weights(opened)
                own["model.weights.h5"] = file.getvalue()
        for name, data in members.items():
            own.pop(name, None) if data is None else own.update({name: data})
        target = tmp_path / "bad.keras"
        with zipfile.ZipFile(target, "w", compression) as made:
            for name, data in own.items():
                made.writestr(name, data)
        return target

    return changed


def refused(path, words):
    with pytest.raises(FormatError, match=words) as caught:
        rnnx.load_model(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 1200
    return text


def of_layer(number, **values):
    def change(table):
        entry = table["config"]["layers"][number]
        entry.update({word: value for word, value in values.items() if word != "config"})
        entry["config"].update(values.get("config", {}))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_layer(1, class_name="Lambda"), "'lstm' .Lambda.*no code"),
        (of_layer(1, class_name="MyLayer"), "'lstm' .MyLayer.*not supported"),
        (of_layer(1, class_name="ConvLSTM2D"), "ConvLSTM2D"),
        (of_layer(1, class_name="os.system"), "not supported"),
        (of_layer(1, class_name=None), "no class name"),
        (of_layer(1, config={"units": 10**9}), "no numbers"),
        (of_layer(1, config={"units": -1}), "units"),
        (of_layer(1, config={"units": "2"}), "units"),
        (of_layer(1, config={"units": 3}), "shape"),
        (of_layer(1, config={"activation": "evil"}), "activation 'evil'"),
        (of_layer(1, config={"activation": {"class_name": "function", "config": "os.system"}}), "os.system"),
        (of_layer(1, config={"activation": {"class_name": "__lambda__", "config": {"value": "4wA"}}}), "__lambda__"),
        (of_layer(1, config={"dropout": float("nan")}), "dropout"),
        (of_layer(1, config={"time_major": True}), "time_major"),
        (of_layer(1, config={"unheard": 3}), "unheard"),
        (of_layer(1, config={"dtype": "int8"}), "int8"),
        (of_layer(1, config={"name": "head"}), "head"),
        (of_layer(0, config={"batch_shape": [None, 10**12, 10**12]}), "lstm"),
        (of_layer(0, config={"batch_shape": "all"}), "shape"),
        (lambda table: table.update(class_name="Doubled"), "Doubled"),
        (lambda table: table["config"].update(layers=None), "list of layers"),
        (lambda table: table["config"].update(layers=[]), "no layers"),
        (lambda table: table.update(config=7), "list of layers"),
    ],
)
def test_configurations(archive, change, words):
    refused(archive(change), words)


def test_models_inside_each_other(archive):
    def nest(table):
        inner = table["config"]
        for _ in range(50):
            inner = {"name": "m", "layers": [{"class_name": "Sequential", "config": inner}]}
        table["config"] = inner

    refused(archive(nest), "inside each other")
    refused(archive(**{"config.json": b'{"a":' * 5000 + b"1" + b"}" * 5000}), "damaged|inside each other")


def test_graphs_that_do_not_connect(tmp_path):
    text = {"class_name": "Functional", "module": "keras", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [None, 3], "name": "x"}},
        {"class_name": "Dense", "name": "a", "config": {"units": 2, "name": "a"}, "inbound_nodes": [[["b", 0, 0, {}]]]},
        {"class_name": "Dense", "name": "b", "config": {"units": 2, "name": "b"}, "inbound_nodes": [[["a", 0, 0, {}]]]},
    ], "input_layers": [["x", 0, 0]], "output_layers": [["b", 0, 0]]}}  # fmt: skip
    with pytest.raises(FormatError, match="no output 0 of call 0 of layer 'b'"):
        keras.from_json(json.dumps(text))
    text["config"]["layers"][1]["inbound_nodes"] = [[["x", 0, 7, {}]]]
    with pytest.raises(FormatError, match="output 7"):
        keras.from_json(json.dumps(text))
    text["config"]["layers"][1]["inbound_nodes"] = [[["x", -1, 0, {}]]]
    with pytest.raises(FormatError, match="place of a tensor"):
        keras.from_json(json.dumps(text))


@pytest.mark.parametrize(
    "args, words",
    [
        (None, "without arguments"),
        ([1], "without a tensor"),
        (["x", "x", "x"], r"too many positional arguments; it takes \(x1"),
        ([1, 2], "without a tensor"),
        (["x", float("nan"), {}], "the argument {} of an operation is not supported"),
        (["x", [1.0, 2.0]], "do not fit together"),
        (["x", [[1.0], [2.0, 3.0]]], "inhomogeneous"),
        (["x", "1"], "array of real numbers"),
        (["x", 10**400], "too large"),
        (["x", {"class_name": "__numpy__"}], "no array of numbers"),
        (["x", {"class_name": "__numpy__", "config": {"value": ["1"], "dtype": "str"}}], "no array of numbers"),
        (["x", {"class_name": "__numpy__", "config": {"value": [[1], [2, 3]], "dtype": "int32"}}], "no array of"),
        (["x", {"class_name": "__lambda__", "config": {"value": "YQ=="}}], "__lambda__.* is not supported"),
        (["x", {"place": "x"}], "'place': 'x'.* is not supported"),
    ],
)
def test_arithmetic(args, words, tmp_path):
    x = rnnx.Input((3,), name="x")
    rnnx.Model(x, x + x).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    table = json.loads(members["config.json"])
    node = table["config"]["layers"][1]["inbound_nodes"][0]
    tensor = node["args"][0]
    if args is None:
        del node["args"]
    else:
        node["args"] = [tensor if part == "x" else "text" if part == "1" else part for part in args]
    members["config.json"] = json.dumps(table).encode()
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as changed:
        for name, data in members.items():
            changed.writestr(name, data)
    refused(tmp_path / "m.keras", words)


def link(made):
    def change(file):
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = made

    return change


@pytest.mark.parametrize("made", [h5py.ExternalLink("/etc/passwd", "x"), h5py.SoftLink("/layers/lstm/cell/vars/0")])
def test_links(archive, made):
    refused(archive(weights=link(made)), "link|outside|missing|no array|indexed")


def test_data_elsewhere(archive, tmp_path):
    def external(file):
        del file["layers/dense/vars/1"]
        file.create_dataset("layers/dense/vars/1", (2,), "f4", external=[("/etc/passwd", 0, 8)])

    refused(archive(weights=external), "outside of the file")

    def virtual(file):
        del file["layers/dense/vars/1"]
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(2,))
        file.create_virtual_dataset("layers/dense/vars/1", layout)

    refused(archive(weights=virtual), "outside of the file|damaged")


def test_bombs(archive, tmp_path):
    def huge(file):
        del file["layers/dense/vars/1"]
        file.create_dataset("layers/dense/vars/1", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")

    def strings(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = np.array([b"not", b"numbers"])

    tracemalloc.start()
    refused(archive(weights=huge), "more than such a file can hold")
    refused(archive(weights=strings), "does not hold numbers")
    path = archive(compression=zipfile.ZIP_DEFLATED, **{"model.weights.h5": bytes(200 << 20)})
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    refused(path, "more than such a file can hold|not an HDF5 file")
    assert tracemalloc.get_traced_memory()[1] - before < 100 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_members(archive, name):
    refused(archive(**{name: None}), name)
    refused(archive(**{name: b""}), "damaged|not an HDF5")
    refused(archive(**{name: b"[1, 2"}), "damaged|not an HDF5")


def test_archives(tmp_path, archive):
    good = archive()
    data = good.read_bytes()
    for broken in (b"", b"PK\x03\x04", data[: len(data) // 2], data[:-30], b"hello" * 100):
        good.write_bytes(broken)
        refused(good, "damaged|cut off|not a file of Keras")
    with zipfile.ZipFile(good, "w") as twice, pytest.warns(UserWarning):
        twice.writestr("config.json", "{}")
        twice.writestr("config.json", "{}")
    refused(good, "twice")


def test_no_model_in_the_file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1, 2]
    refused(tmp_path / "other.h5", "not of Keras")
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2)])
    model.save_weights(tmp_path / "m.weights.h5")
    refused(tmp_path / "m.weights.h5", "load_weights")
    (tmp_path / "m.json").write_text(model.to_json())
    refused(tmp_path / "m.json", "from_json")
    with pytest.raises(FileNotFoundError):
        rnnx.load_model(tmp_path / "none.keras")


def test_new_hdf5_is_refused_clearly(tmp_path):
    with h5py.File(tmp_path / "new.h5", "w", libver="latest") as file:
        for k in range(100):
            file[f"layers/dense_{k}/vars/0"] = np.zeros(2)
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.Dense(2)])
    with pytest.raises(FormatError, match="libver"):
        model.load_weights(tmp_path / "new.h5")


@pytest.mark.parametrize("command", ["info", "convert"])
def test_commands_say_one_line(command, archive, tmp_path, capsys):
    bad = archive(of_layer(1, class_name="Lambda"))
    given = [command, str(bad)] + ([str(tmp_path / "out.onnx")] if command == "convert" else [])
    code = main(given)
    text = capsys.readouterr()
    if command == "convert":
        assert code == 2 and text.err.count("\n") == 1 and "Lambda" in text.err
        assert not (tmp_path / "out.onnx").exists()
    else:
        assert code == 0 and "cannot be loaded" in text.out and "profile: keras3" in text.out


def test_info_of_a_model_and_of_weights(archive, tmp_path, capsys):
    assert main(["info", str(archive())]) == 0
    text = capsys.readouterr().out
    assert "framework: Keras" in text and "profile: keras3" in text and "lstm (LSTM) units=2" in text
    rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2)]).save_weights(tmp_path / "m.weights.h5")
    assert main(["info", str(tmp_path / "m.weights.h5")]) == 0
    assert "layers/lstm/cell/vars/0" in capsys.readouterr().out


def test_many_names_of_variable_length(tmp_path):
    """Texts in one collection are looked up once: a model of many layers is no hostile file."""
    path, count = tmp_path / "model.h5", 3000
    own = [{"class_name": "Activation", "config": {"name": f"a{k}", "activation": "linear"}} for k in range(count)]
    own.append({"class_name": "Dense", "config": {"name": "d", "units": 2, "use_bias": False}})
    own[0]["config"]["batch_input_shape"] = [None, 2]
    with h5py.File(path, "w") as root:
        root.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": own}})
        group = root.create_group("model_weights")
        group.attrs.create("layer_names", [entry["config"]["name"] for entry in own], dtype=h5py.string_dtype())
        for entry in own:
            group.create_group(entry["config"]["name"])
        group["d"].attrs["weight_names"] = ["kernel"]
        group["d/kernel"] = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(rnnx.load_model(path)(np.eye(2, dtype=np.float32)), [[1, 2], [3, 4]])


def test_weights_take_no_memory_before_they_are_read(archive):
    """What a description asks for is compared with the file before anything is made."""
    tracemalloc.start()
    refused(archive(of_layer(1, config={"units": 1900})), "shape")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # the weights would have 58 MB


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_ask_for_any_memory(archive, kind):
    refused(archive(compression=kind), "compressed in a way that Keras does not use")
