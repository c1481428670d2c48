"""Layers from their configurations in the words of Keras 1, 2 and 3."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rnnx import layers
from rnnx._assigned import is_of_user
from rnnx._config import custom_objects
from rnnx.formats._limits import is_foreign
from rnnx.formats.keras import _values
from rnnx.formats.keras._dialect import Dialect
from rnnx.layers import constructor, old_words
from rnnx.layers.checks import DATA_FORMATS, check_dtype
from rnnx.layers.layer import Layer
from rnnx.saving import FormatError

MODELS = ("Sequential", "Functional", "Model")
ENCODERS = (
    "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup",
    "TextVectorization",
)  # fmt: skip
SAME = (
    "LSTM GRU SimpleRNN RNN LSTMCell GRUCell SimpleRNNCell StackedRNNCells Bidirectional TimeDistributed Masking "
    "Embedding Dense Activation Dropout SpatialDropout1D GaussianDropout AlphaDropout Flatten Reshape Permute "
    "RepeatVector Concatenate Add Multiply Average Conv1D MaxPooling1D AveragePooling1D GlobalMaxPooling1D "
    "GlobalAveragePooling1D BatchNormalization LayerNormalization ReLU Softmax InputLayer PReLU ELU Identity "
    "ActivityRegularization GaussianNoise SpatialDropout2D Subtract Maximum Minimum Dot ZeroPadding1D ZeroPadding2D "
    "Cropping1D Cropping2D UpSampling1D UpSampling2D GroupNormalization UnitNormalization RMSNormalization Conv2D "
    "DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D Conv1DTranspose Conv2DTranspose MaxPooling2D "
    "AveragePooling2D GlobalMaxPooling2D GlobalAveragePooling2D Attention AdditiveAttention MultiHeadAttention "
    "EinsumDense ConvLSTM1D ConvLSTM2D ConvLSTM3D AdaptiveAveragePooling1D AdaptiveAveragePooling2D "
    "AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Conv3D Conv3DTranspose "
    "MaxPooling3D AveragePooling3D GlobalMaxPooling3D GlobalAveragePooling3D ZeroPadding3D Cropping3D UpSampling3D "
    "SpatialDropout3D Wrapper GroupedQueryAttention SpectralNormalization ReversibleEmbedding"
).split()
CLASSES: dict[str, str] = {
    **{name: name for name in (*SAME, *ENCODERS, "Normalization", "Rescaling")},
    "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU", "Convolution1D": "Conv1D", "AtrousConvolution1D": "Conv1D",
    "MaxPool1D": "MaxPooling1D", "AvgPool1D": "AveragePooling1D", "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D", "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization", "LSTMV2": "LSTM", "GRUV2": "GRU", "LSTMCellV2": "LSTMCell",
    "GRUCellV2": "GRUCell", "Convolution2D": "Conv2D", "AtrousConvolution2D": "Conv2D", "MaxPool2D": "MaxPooling2D",
    "AvgPool2D": "AveragePooling2D", "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D", "Convolution1DTranspose": "Conv1DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose", "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution1D": "SeparableConv1D", "SeparableConvolution2D": "SeparableConv2D",
    "Convolution3D": "Conv3D", "Convolution3DTranspose": "Conv3DTranspose", "Deconvolution3D": "Conv3DTranspose",
    "MaxPool3D": "MaxPooling3D", "AvgPool3D": "AveragePooling3D", "GlobalMaxPool3D": "GlobalMaxPooling3D",
    "GlobalAvgPool3D": "GlobalAveragePooling3D", "GroupQueryAttention": "GroupedQueryAttention",
}  # fmt: skip
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell")
WINDOWED = (
    "Conv1D", "MaxPooling1D", "AveragePooling1D", "Conv2D", "Conv2DTranspose", "SeparableConv2D", "MaxPooling2D",
    "AveragePooling2D",
)  # fmt: skip
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
WITHOUT_EFFECT = {  # on the numbers: how Keras computes, or what is only there to be saved
    "implementation", "input_spec", "consume_less", "input_dim", "input_dtype", "input_length", "data_format",
    "dim_ordering", "fused", "virtual_batch_size", "synchronized", "renorm_clipping", "renorm_momentum",
    "quantization_config", "autocast", "use_cudnn", "dynamic", "batch_shape", "batch_input_shape", "input_shape",
    "stateful", "unroll",
}  # fmt: skip
REFUSED = {
    "time_major": "time-major input",
    "renorm": "batch renormalization",
    "num_constants": "constants",
    "reverse_state_order": "a reversed order of states",
}


@dataclass
class Layers:
    """Makes layers of one file.

    Attributes
    ----------
    path : path
        For messages.
    dialect : Dialect
    model : callable
        Makes a model from its class, configuration and name.
    custom : dict
        Layer classes of the user by their names in the file.
    warnings : dict of str
        In the order of the file: what was changed, and in which layer.
    sources : dict
        The name of the class in the file, by the id of the layer.
    """

    path: Any
    dialect: Dialect
    model: Callable[[str, Any, str | None], Any]
    custom: dict[str, Any] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    made: list[Any] = field(default_factory=list)

    def make(self, entry: Any, name: str | None = None) -> Any:
        """The layer of an entry with ``class_name`` and ``config``.

        Raises
        ------
        FormatError
            If it is of a class that rnnx does not have, or says what rnnx does not know.
        """
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            raise FormatError(f"{self.path}: a layer has no class name")
        source, config = entry["class_name"].split(">")[-1], entry.get("config")
        if name is None and isinstance(config, dict):
            name = config.get("name")
        where = f"{self.path}: layer {str(name)[:200]!r} ({source[:200]})"
        kind = self.own(entry)
        if kind is not None and (source not in self.custom or kind.built_by_call or _makes_itself(kind)):
            layer = self._registered(kind, entry, where)
        elif source in MODELS:
            layer = self.model(source, config, name)
        else:
            if not isinstance(config, dict):
                raise FormatError(f"{where}: it has no configuration")
            if source in SPECIAL and source not in self.custom:
                layer = SPECIAL[source](self, dict(config), where)
            elif source in self.custom:
                layer = self._known(self._base(source, where), dict(config), where, self.custom[source])
            elif source == "Lambda":
                raise FormatError(
                    f"{where}: it is Python code, and rnnx runs no code from files; give custom_objects="
                    "{'Lambda': ...} with a Layer whose `call` computes the same, put layers in its place in Keras, or "
                    "export the model to ONNX, which rnnx.formats.onnx.Session runs"
                )
            elif source not in CLASSES or source == "Wrapper":  # which is a base and computes nothing
                raise FormatError(
                    f"{where}: this class of layers is not supported; for one of your own give custom_objects, "
                    "for one of Keras export the model to ONNX, which rnnx.formats.onnx.Session runs"
                )
            else:
                layer = self._known(source, dict(config), where)
        self.sources[id(layer)] = source
        self.made.append(layer)
        return layer

    def own(self, entry: dict[str, Any]) -> Any:
        """The user's class of an entry, given or registered; None if it is none."""
        names = entry.get("registered_name"), entry.get("class_name")
        for name in names:
            if isinstance(name, str):
                kind = self.custom.get(name.split(">")[-1]) or (custom_objects().get(name) if ">" in name else None)
                if isinstance(kind, type) and issubclass(kind, Layer):
                    return kind
        return None

    def _registered(self, kind: Any, entry: dict[str, Any], where: str) -> Any:
        """A layer or model of a class that the user has registered."""
        config = entry.get("config")
        if not isinstance(config, dict):
            raise FormatError(f"{where}: it has no configuration")
        source = next((base.__name__ for base in kind.__mro__ if base.__name__ in CLASSES), None)
        if source is not None:
            return self._known(source, dict(config), where, kind)
        config = {word: value for word, value in config.items() if word not in ("build_config", "compile_config")}
        if isinstance(config.get("dtype"), dict):
            config["dtype"], changed = _values.dtype(config["dtype"], where)
            if changed:
                self.warn(where, "computes in float32")
        try:
            layer = kind.from_config(config)
            if layer.built_by_call and entry.get("built_for") is not None:
                layer.build_again(entry["built_for"])
            elif layer.built_by_call and not layer.built:
                shape = (entry.get("build_config") or {}).get("input_shape")
                if isinstance(shape, list):
                    layer.build(tuple(shape))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if is_foreign(error) or isinstance(error, FormatError):
                raise
            raise FormatError(f"{where}: {error}") from error
        return layer

    def warn(self, where: str, what: str) -> None:
        """Remember what was changed."""
        self.warnings[f"{where.removeprefix(f'{self.path}: ')}: {what}"] = None

    # ---- One layer ---------------------------------------------------------------------------------------------------

    def _base(self, source: str, where: str) -> str:
        """The layer of rnnx that a class of the user is derived from; its own name if from none."""
        kind = self.custom[source]
        if not isinstance(kind, type) or not issubclass(kind, Layer):
            raise FormatError(f"{where}: custom_objects must hold subclasses of rnnx.layers.Layer")
        return next((base.__name__ for base in kind.__mro__ if base.__name__ in CLASSES), source)

    def _known(self, source: str, config: dict[str, Any], where: str, kind: Any = None) -> Any:
        """A layer of a class that rnnx has, or that the user derived from one."""
        name = CLASSES.get(source, source)
        if self.dialect.generation == 1:
            config = _renamed(config, name)
        kind = kind or getattr(layers, name)
        arguments = self._shared(name, config, where)
        if name in RECURRENT:
            self._recurrent(source, name, config, arguments, where)
        known = _arguments_of(kind) | getattr(kind, "file_arguments", frozenset())
        for word, value in config.items():
            if word in arguments or word in ("name", "trainable", "dtype"):
                continue
            if word in known:
                arguments[word] = self._value(word, value, where)
            elif word not in WITHOUT_EFFECT and not _is_nothing(value):
                raise FormatError(f"{where}: the argument {word[:100]}={str(value)[:100]} is not supported")
        try:
            if name == "Discretization":  # what was adapted has both, bins and boundaries
                return kind.from_config(arguments)
            return kind(**arguments)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if is_foreign(error):
                raise
            raise FormatError(f"{where}: {error}") from error

    def _shared(self, name: str, config: dict[str, Any], where: str) -> dict[str, Any]:
        """Arguments that all layers have, and the layers inside."""
        arguments: dict[str, Any] = {}
        if isinstance(config.get("name"), str) and config["name"]:
            arguments["name"] = config["name"]
        if name == "InputLayer":
            return self._input(config, arguments, where)
        self._refuse(name, config, where)
        arguments["trainable"] = bool(config.get("trainable", True))
        for word in ("batch_input_shape", "batch_shape"):
            if config.get(word) is not None:
                arguments["batch_input_shape"] = config[word]
        inner = self._inner(name, config, where)
        if not inner:
            given = config.get("dtype")
            if self.dialect.generation < 3 and given in INTEGERS:  # of the input: Embedding in Keras 2.0 always says so
                given = None
            if name in ENCODERS and (type_name(given) in INTEGERS or type_name(given) == "string"):  # of ids or texts
                given = None
            arguments["dtype"], changed = _values.dtype(given, where)
            if changed:
                self.warn(where, f"computes in float32 instead of {config['dtype']!s:.100}")
        if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
            config["axis"] = config["axis"][0]
        return {**arguments, **inner}

    def _inner(self, name: str, config: dict[str, Any], where: str) -> dict[str, Any]:
        """Layers and cells inside of a layer."""
        made: dict[str, Any] = {}
        if name in ("Bidirectional", "TimeDistributed", "Wrapper", "SpectralNormalization"):
            given = {word: config.pop(word, None) for word in ("layer", "backward_layer")}
            made = {word: self.make(part) for word, part in given.items() if part is not None}
        elif name == "RNN":
            cell = config.get("cell")
            made["cell"] = [self.make(part) for part in cell] if isinstance(cell, list) else self.make(cell)
        elif name == "StackedRNNCells":
            if not isinstance(config.get("cells"), list):
                raise FormatError(f"{where}: `cells` must be a list")
            made["cells"] = [self.make(part) for part in config["cells"]]
        if name == "Bidirectional" and getattr(made.get("layer"), "go_backwards", False):
            raise FormatError(f"{where}: its layer goes backwards itself; that is not supported")
        return made

    def _refuse(self, name: str, config: dict[str, Any], where: str) -> None:
        """Refuse what a layer says and rnnx does not do."""
        for word, what in REFUSED.items():
            if value := config.pop(word, None):
                raise FormatError(f"{where}: {what} ({word}={str(value)[:100]}) is not supported")
        if config.get("data_format") not in (None, *DATA_FORMATS):
            raise FormatError(f"{where}: data_format {str(config['data_format'])[:100]!r} is not supported")
        if name == "BatchNormalization" and config.pop("mode", 0) not in (0, 2):
            raise FormatError(f"{where}: mode=1 (averages over features) is not supported")
        if name == "Embedding" and self.dialect.generation == 1 and config.get("dropout"):
            self.warn(where, f"drops no words in training (dropout={config.pop('dropout')!s:.20})")

    def _input(self, config: dict[str, Any], arguments: dict[str, Any], where: str) -> dict[str, Any]:
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if not isinstance(shape, (list, tuple)) or not shape:
            raise FormatError(f"{where}: it does not say the shape of the input")
        dtype = config.get("dtype", config.get("input_dtype")) or "float32"
        if dtype in _values.HALF_TYPES:
            dtype = "float32"
        return {**arguments, "shape": list(shape[1:]), "batch_size": shape[0], "dtype": dtype}

    def _recurrent(self, source: str, name: str, config: dict[str, Any], arguments: dict[str, Any], where: str) -> None:
        """What recurrent layers of older generations mean without saying it."""
        generation = self.dialect.generation
        profile = self.dialect.layer_profile(config)
        if profile != "keras3":
            arguments["compat"] = profile
        if "recurrent_activation" not in config and not name.startswith("Simple"):
            old = profile in ("keras1", "keras2.2") and not source.startswith("CuDNN")
            arguments["recurrent_activation"] = "hard_sigmoid_keras2" if old else "sigmoid"
        if name.startswith("GRU") and (generation < 3 or source.startswith("CuDNN")):
            arguments["reset_after"] = bool(config.get("reset_after", source.startswith("CuDNN")))
        if generation == 1:
            arguments["unit_forget_bias"] = config.pop("unit_forget_bias", "one") in ("one", "ones", True)
            if not name.startswith("LSTM"):
                del arguments["unit_forget_bias"]
        self._warn_of_masks(where, config)

    def _warn_of_masks(self, where: str, config: dict[str, Any]) -> None:
        """Say where training will draw other masks than the version that wrote the file."""
        version = self.dialect.version or ""
        rates = [config.get("dropout") or 0.0, config.get("recurrent_dropout") or 0.0]
        if version.startswith(("3.0.", "3.1.")) and rates[1] and rates[0] != rates[1]:
            self.warn(
                where,
                f"Keras {version} used the rate of `dropout` ({rates[0]}) for the recurrent masks too; "
                f"here recurrent_dropout={rates[1]} means what it says",
            )

    def _value(self, word: str, value: Any, where: str) -> Any:
        """A value in the words of rnnx."""
        if word.endswith("activation"):
            return _values.activation(value, self.dialect, where)
        if word.endswith("_initializer"):
            return _values.initializer(value)
        for ending, look_up in (("_regularizer", _values.regularizer), ("_constraint", _values.constraint)):
            if word.endswith(ending):
                found = look_up(value)
                if found is None and value is not None and _says_something(value):
                    self.warn(where, f"its {word} {str(_values.name_of(value)[0])[:100]!r} is not known and left out")
                return found
        if word in ("standardize", "split") and isinstance(value, dict):
            function, _ = _values.name_of(value)
            return self.custom.get(function, value) if isinstance(function, str) else value
        if word == "seed":
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        return value


def type_name(value: Any) -> Any:
    """The name of a type from that or a dtype policy."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value = value["config"].get("name")
    return value if isinstance(value, str) else None


def _makes_itself(kind: Any) -> bool:
    """Whether a user's class that is derived from no layer of Keras says how it is made of its configuration."""
    if any(base.__name__ in CLASSES for base in kind.__mro__):
        return False
    return any("from_config" in vars(base) for base in kind.__mro__ if is_of_user(base)) and (
        getattr(kind.from_config, "__func__", None) is not constructor.from_config  # of those that say nothing of it
    )


def _says_something(value: Any) -> bool:
    """Whether a penalty is more than the zero that Keras 1 wrote."""
    _, arguments = _values.name_of(value)
    return not arguments or any(own for own in arguments.values())


def _is_nothing(value: Any) -> bool:
    """Whether an argument has a value that changes nothing."""
    return value is None or value is False or value in (0, "", [], {}, "auto")


def _renamed(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration of a layer of Keras 1 in the words of Keras 2."""
    words = old_words.OF_EMBEDDING if name == "Embedding" else old_words.RENAMED
    renamed = {words.get(word, word): value for word, value in config.items()}
    if name in WINDOWED and renamed.get("padding") is None:
        renamed["padding"] = "valid"
    if "nb_row" in renamed and "nb_col" in renamed:
        renamed["kernel_size"] = [renamed.pop("nb_row"), renamed.pop("nb_col")]
    if "2D" in name and renamed.get("dim_ordering") in old_words.FORMATS:
        renamed["data_format"] = old_words.FORMATS[renamed["dim_ordering"]]
    return renamed


@lru_cache(maxsize=1000)
def _arguments_of(kind: Any) -> frozenset[str]:
    """Names of the arguments of a class of layers."""
    found: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base) and base not in (Layer, object):
            found |= set(inspect.signature(base.__init__).parameters)
    return frozenset(found - {"self", "kwargs", "compat", "noise_generator"})


# ---- Layers that rnnx has under another name -------------------------------------------------------------------------


def _shape_of(config: dict[str, Any]) -> dict[str, Any]:
    """Name and input shape, for a layer that is made from others."""
    found = {word: config[word] for word in ("name", "batch_input_shape") if config.get(word) is not None}
    if isinstance(config.get("dtype"), str) and config["dtype"] == "float64":
        found["dtype"] = check_dtype("", "float64")
    return found


def _leaky_relu(maker: Layers, config: dict[str, Any], where: str) -> Any:
    slope = config.get("negative_slope", config.get("alpha", 0.3))
    if isinstance(slope, dict):  # an array, as some versions of tf.keras wrote it
        slope = _values.name_of(slope)[1].get("value", slope.get("value"))
    if not isinstance(slope, (int, float)):
        raise FormatError(f"{where}: its slope is not a number")
    try:
        return layers.LeakyReLU(float(slope), **_shape_of(config))
    except ValueError as error:
        raise FormatError(f"{where}: {error}") from error


def _thresholded_relu(maker: Layers, config: dict[str, Any], where: str) -> Any:
    return layers.ReLU(threshold=float(config.get("theta", 1.0)), **_shape_of(config))


def _time_distributed_dense(maker: Layers, config: dict[str, Any], where: str) -> Any:
    inner = {word: value for word, value in config.items() if word not in ("name", "batch_input_shape")}
    dense = maker.make({"class_name": "Dense", "config": {**inner, "name": f"{config.get('name')}_dense"}})
    return layers.TimeDistributed(dense, **_shape_of(config))


def _merge(maker: Layers, config: dict[str, Any], where: str) -> Any:
    """The layer of Keras 1 that joins several."""
    mode = config.get("mode", "sum")
    kinds = {"sum": layers.Add, "mul": layers.Multiply, "ave": layers.Average, "max": layers.Maximum}
    if mode == "concat":
        return layers.Concatenate(axis=config.get("concat_axis", -1), **_shape_of(config))
    if mode not in kinds:
        raise FormatError(f"{where}: mode {str(mode)[:100]!r} is not supported, only sum, mul, ave, max and concat")
    return kinds[mode](**_shape_of(config))


SPECIAL: dict[str, Callable[[Layers, dict[str, Any], str], Any]] = {
    "LeakyReLU": _leaky_relu,
    "ThresholdedReLU": _thresholded_relu,
    "TimeDistributedDense": _time_distributed_dense,
    "Merge": _merge,
}
