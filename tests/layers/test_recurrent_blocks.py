"""`recurrent_blocks` of the recurrent layers and their cells: shapes, first values, configurations, files."""

import numpy as np
import pytest

import rnnx
from rnnx import Input, Sequential, layers
from rnnx.functional import dense_kernel
from rnnx.saving import FormatError

LAYERS = [(layers.LSTM, {}), (layers.GRU, {}), (layers.GRU, {"reset_after": False}), (layers.SimpleRNN, {})]
X = np.random.default_rng(4).normal(size=(3, 5, 4)).astype(np.float32)


def made(cls, options, blocks=3, units=6, **more):
    model = Sequential([Input((None, 4)), cls(units, recurrent_blocks=blocks, **options, **more)])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape, scale=0.5).astype(np.float32) for w in model.get_weights()])
    return model


def twin(model, cls, options, units=6, **more):
    """The same function with a dense kernel."""
    other = Sequential([Input((None, 4)), cls(units, **options, **more)])
    kernel, recurrent, *bias = model.get_weights()
    other.set_weights([kernel, dense_kernel(recurrent, model.layers[-1].recurrent_blocks), *bias])
    return other


@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_it_is_the_layer_with_the_dense_kernel(cls, options):
    model = made(cls, options, return_sequences=True)
    layer = model.layers[-1]
    assert layer.recurrent_kernel.shape == (2, layer.gates * 6)
    other = twin(model, cls, options, return_sequences=True)
    np.testing.assert_allclose(model.predict(X, verbose=0), other.predict(X, verbose=0), atol=1e-6)
    stream = model.stream(batch_size=3)
    np.testing.assert_array_equal(stream.run(X), model.predict(X, verbose=0))


@pytest.mark.parametrize("blocks", [0, 4, 1.5, True, None])
def test_blocks_must_divide_the_units(blocks):
    with pytest.raises(ValueError, match="LSTM: `recurrent_blocks` must be a positive integer that divides units=6"):
        layers.LSTM(6, recurrent_blocks=blocks)


def test_each_block_starts_as_a_layer_of_its_own():
    layer = layers.GRU(6, recurrent_blocks=2)
    layer.build((None, None, 4))
    whole = dense_kernel(layer.recurrent_kernel, 2)
    for block in range(2):
        rows = whole[3 * block : 3 * block + 3]
        np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-6)
    assert abs(whole[:3] - np.roll(whole[3:], -3, axis=1)).max() > 0.01  # not twice the same


@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_configurations_and_safetensors(cls, options, tmp_path):
    model = made(cls, options)
    again = Sequential.from_config(model.get_config())
    assert again.layers[-1].recurrent_blocks == 3
    model.save(tmp_path / "model.safetensors")
    found = rnnx.load_model(tmp_path / "model.safetensors")
    assert found.layers[-1].recurrent_blocks == 3
    np.testing.assert_array_equal(found.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize(("cls", "options"), LAYERS)
def test_onnx_has_the_dense_matrix(cls, options, tmp_path):
    pytest.importorskip("onnx")
    model = made(cls, options)
    model.save(tmp_path / "model.onnx")
    found = rnnx.load_model(tmp_path / "model.onnx")
    np.testing.assert_allclose(found.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)


def test_files_that_cannot_say_it_refuse_by_name(tmp_path):
    model = made(layers.LSTM, {})
    with pytest.raises(FormatError, match="recurrent_blocks=3"):
        model.save(tmp_path / "model.keras")
    with pytest.raises(FormatError, match="PyTorch's LSTM has no recurrent_blocks=3"):
        rnnx.formats.torch.state_dict(model.layers[-1])


@pytest.mark.parametrize("mode", ["bf16", "int8", "int8x16", "int16"])
def test_quantized(mode):
    model = made(layers.LSTM, {}, units=64, blocks=4)
    before = model.predict(X, verbose=0)
    with pytest.raises(ValueError, match="has recurrent_blocks=4; `calibration_data` is for whole kernels"):
        model.quantize(mode, calibration_data=X)
    model.quantize(mode)
    np.testing.assert_allclose(model.predict(X, verbose=0), before, atol=0.1)


@pytest.mark.parametrize("mode", ["state", "update", "cell", "weights"])
def test_every_mode_of_dropout_trains(mode):
    model = made(layers.LSTM, {}, recurrent_dropout=0.4, recurrent_dropout_mode=mode, dropout=0.2, zoneout=0.1, seed=1)
    layer = model.layers[-1]
    if mode == "weights":
        assert layer.sample_masks(3, 5).recurrent.shape == layer.recurrent_kernel.shape
    model.compile("adam", "mse")
    before = layer.recurrent_kernel.copy()
    model.fit(X, np.zeros((3, 6), np.float32), epochs=2, verbose=0)
    assert np.isfinite(layer.recurrent_kernel).all()
    assert (layer.recurrent_kernel != before).any()


def test_cells_and_both_directions():
    cell = layers.GRUCell(6, recurrent_blocks=2)
    y, _ = cell(X[:, 0])
    assert y.shape == (3, 6)
    assert cell.recurrent_kernel.shape == (3, 18)
    both = layers.Bidirectional(layers.LSTM(6, recurrent_blocks=3))
    assert both(X).shape == (3, 12)
    assert both.forward_layer.recurrent_kernel.shape == both.backward_layer.recurrent_kernel.shape == (2, 24)
    assert layers.Bidirectional.from_config(both.get_config()).backward_layer.recurrent_blocks == 3
