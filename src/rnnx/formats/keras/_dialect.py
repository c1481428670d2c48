"""Which Keras wrote a file, and what its words mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """A generation of Keras.

    Attributes
    ----------
    generation : int
        Of the words of configurations: 1, 2 (tf.keras too) or 3.
    framework : str
    version : str or None
    profile : str
        The ``compat`` of its layers: rules of dropout and masks, ``hard_sigmoid``; see `rnnx.dropout.PROFILES`.
    reason : str
        Why this one.
    """

    generation: int
    framework: str
    version: str | None
    profile: str
    reason: str

    def layer_profile(self, config: dict[str, Any]) -> str:
        """The profile of one recurrent layer: Keras 2's own depends on ``implementation``."""
        if self.profile in ("keras2.2", "keras2.3") and config.get("implementation") in (0, 1, 2):
            return "keras2.3" if config["implementation"] == 2 else "keras2.2"
        return self.profile


def dialect_of(version: str | None, config: dict[str, Any] | None) -> Dialect:
    """The generation that a version and a configuration speak of.

    Parameters
    ----------
    version : str or None
        ``keras_version`` of the file.
    config : dict or None
        Of the whole model.
    """
    configs = list(_layer_configs(config or {}))
    if version is None:
        return _guess(config or {}, configs)
    numbers = [int(n.group()) for n in islice(re.finditer(r"\d{1,6}", version), 2)]
    major, minor = (*numbers, 0, 0)[:2]
    said = f"keras_version is {version}"
    if major >= 3:
        if (major, minor) >= (3, 8):
            return Dialect(3, "Keras", version, "keras3", said)
        return Dialect(3, "Keras", version, "keras3.2", f"{said}: recurrent dropout as before Keras 3.8")
    if major == 2 and "tf" in version and minor < 3:
        fused = any(own.get("implementation") == 2 for own in configs if "implementation" in own)
        if fused:
            why = f"{said} and layers have implementation=2: tf.keras of TensorFlow 2.0 or 2.1"
            return Dialect(2, "tf.keras", version, "tf_keras2.0", why)
        why = f"{said} and no layer has implementation=2: tf.keras of TensorFlow 1"
        return Dialect(2, "tf.keras", version, "keras2.2", why)
    if major == 2 and ("tf" in version or minor >= 4):
        return Dialect(2, "tf.keras", version, "tf_keras2", f"{said}: tf.keras of TensorFlow 2.2 or later")
    if major == 2:
        profile = "keras2.3" if minor == 3 else "keras2.2"
        return Dialect(2, "Keras", version, profile, f"{said}: Keras with several backends")
    return Dialect(1, "Keras", version, "keras1", said)


def _guess(config: dict[str, Any], configs: list[dict[str, Any]]) -> Dialect:
    """The generation of a file that does not say it."""
    if "module" in config or "build_config" in config:
        return Dialect(3, "Keras", None, "keras3", "no version, but the words of Keras 3 (module, build_config)")
    words = {word for own in configs for word in own}
    if words & {"output_dim", "inner_activation", "nb_filter", "p", "border_mode"} - _embedding_words(configs):
        return Dialect(
            1, "Keras", None, "keras1", "no version, but the words of Keras 1 (output_dim, inner_activation)"
        )
    if "time_major" in words:
        return Dialect(2, "tf.keras", None, "tf_keras2", "no version, but the words of tf.keras (time_major)")
    if configs:
        return Dialect(2, "Keras", None, "keras2.2", "no version, but the words of Keras 2")
    return Dialect(3, "Keras", None, "keras3", "no version and no configuration")


def _embedding_words(configs: list[dict[str, Any]]) -> set[str]:
    """``output_dim`` is a word of Embedding in every generation."""
    without = {word for own in configs if "mask_zero" not in own for word in own}
    return set() if "output_dim" in without else {"output_dim"}


def _layer_configs(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Configurations of all layers, those inside of others too."""
    waiting: list[Any] = [config]
    while waiting:
        entry = waiting.pop()
        if not isinstance(entry, dict):
            continue
        own = entry.get("config")
        if isinstance(own, dict):
            yield own
            waiting += [own.get(name) for name in ("layer", "backward_layer", "cell")]
        inner = own.get("layers", own.get("cells")) if isinstance(own, dict) else own
        waiting += inner if isinstance(inner, list) else []
