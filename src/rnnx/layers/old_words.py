"""Words of Keras 1, which Keras 2 took with a warning: old scripts and files say so. Those of PyTorch are refused."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

RENAMED = {
    "output_dim": "units", "init": "kernel_initializer", "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation", "forget_bias_init": "unit_forget_bias", "bias": "use_bias",
    "W_regularizer": "kernel_regularizer", "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer", "W_constraint": "kernel_constraint", "U_constraint": "recurrent_constraint",
    "b_constraint": "bias_constraint", "dropout_W": "dropout", "dropout_U": "recurrent_dropout", "p": "rate",
    "nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides", "border_mode": "padding",
    "atrous_rate": "dilation_rate", "pool_length": "pool_size", "stride": "strides", "sigma": "stddev",
    "subsample": "strides",
    "gamma_init": "gamma_initializer", "beta_init": "beta_initializer",
}  # fmt: skip
OF_EMBEDDING = {
    "init": "embeddings_initializer",
    "W_regularizer": "embeddings_regularizer",
    "W_constraint": "embeddings_constraint",
}
OF_MODELS = {"input": "inputs", "output": "outputs", "nb_epoch": "epochs"}
FORMATS = {"th": "channels_first", "tf": "channels_last"}  # values of `dim_ordering`
WITHOUT_EFFECT = ("consume_less",)
OF_PYTORCH = {
    "input_size": "leave `input_size` out, the first input says it",
    "hidden_size": "`hidden_size` is called `units`",
    "num_layers": "write one layer for each, all but the last with return_sequences=True",
    "batch_first": "leave `batch_first` out, inputs are (batch, timesteps, features)",
    "bidirectional": "wrap the layer, layers.Bidirectional(layer)",
    "in_features": "leave `in_features` out, the first input says it",
    "out_features": "`out_features` is called `units`",
    "num_embeddings": "`num_embeddings` is called `input_dim`",
    "embedding_dim": "`embedding_dim` is called `output_dim`",
}  # no old words: what they ask for is not always one argument, so they are refused with the way to write it
DROPPED = {"dropout": "put SpatialDropout1D behind it"}  # of Embedding: what Keras 2 left out, and the way since

F = TypeVar("F", bound=Callable[..., Any])


def takes_old_words(function: F) -> F:
    """A constructor or method that takes words of Keras 1 for arguments that it has, with a warning."""
    known = inspect.signature(function).parameters
    of_embedding = "embeddings_initializer" in known
    words = {old: new for old, new in {**RENAMED, **OF_MODELS}.items() if new in known and old not in known}
    if of_embedding:
        words.update(OF_EMBEDDING)
    if "filters" in known:
        words.update(nb_row="kernel_size", nb_col="kernel_size", dim_ordering="data_format")
    old_words = frozenset({*words, *(WITHOUT_EFFECT if "units" in known else ())})
    of_pytorch = OF_PYTORCH.keys() - known if {"units", "input_dim"} & known.keys() else frozenset[str]()
    dropped = DROPPED if of_embedding else {}

    @functools.wraps(function)
    def taking(self: Any, *given: Any, **arguments: Any) -> Any:
        if not old_words.isdisjoint(arguments):
            arguments = _renamed(type(self).__name__, arguments, words)
        if not of_pytorch.isdisjoint(arguments):
            ways = {word: way for word, way in OF_PYTORCH.items() if word in of_pytorch and word in arguments}
            raise TypeError(f"{type(self).__name__}: unknown argument(s) {', '.join(ways)}; {'; '.join(ways.values())}")
        for old in dropped:
            if arguments.pop(old, None):
                text = f"{type(self).__name__}: `{old}` has no effect since Keras 2; {dropped[old]}"
                warnings.warn(text, UserWarning, stacklevel=2)
        return function(self, *given, **arguments)

    return cast(F, taking)


def old_word(owner: Any, old: str, arguments: dict[str, Any]) -> Any:
    """The value of an old word, which is taken out of the arguments of a constructor, with a warning."""
    warnings.warn(f"{type(owner).__name__}: `{old}` is the old name of `{OF_MODELS[old]}`", UserWarning, stacklevel=3)
    return arguments.pop(old)


def _renamed(who: str, arguments: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """The arguments under the names that they have now."""
    now = {name: value for name, value in arguments.items() if name not in words and name not in WITHOUT_EFFECT}
    for old in arguments:
        if (new := words.get(old)) is None:
            continue
        if new in now and new in arguments:
            raise TypeError(f"{who}: `{old}` is the old name of `{new}`; give one of them")
        warnings.warn(f"{who}: `{old}` is the old name of `{new}`", UserWarning, stacklevel=3)
        value = arguments[old]
        if old in ("nb_row", "nb_col"):
            value = (arguments.get("nb_row"), arguments.get("nb_col"))
        elif old == "dim_ordering":
            value = FORMATS.get(value)
        elif old == "forget_bias_init":
            value = value in ("one", "ones")
        now[new] = value
    return now
