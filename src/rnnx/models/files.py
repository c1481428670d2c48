"""What a model does with files: its configuration as text, the whole of it, its weights."""

from __future__ import annotations

import json
from typing import Any

from rnnx._config import given_path, path_of
from rnnx.layers.registry import layer_config


class ModelFiles:
    """The methods of a model that write and read files; a base of `Model`."""

    def to_json(self, **kwargs: Any) -> str:
        """The configuration as JSON text; `model_from_json` makes the model again, without its weights."""
        return json.dumps(layer_config(self), **kwargs)

    def save(
        self,
        path: Any = None,
        overwrite: bool = True,
        zipped: bool | None = None,
        *,
        include_optimizer: bool | None = None,
        save_format: str | None = None,
        filepath: Any = None,
    ) -> None:
        """Write the model to a file; the suffix says in which format. See `rnnx.saving.save_model`.

        ``filepath`` is Keras' name for ``path``, here and in `save_weights` and `load_weights`.
        """
        from rnnx import saving

        if path is None or filepath is not None:
            path = given_path("save", path, filepath)
        path = path_of("save", path)
        saving.save_model(self, path, overwrite, zipped, include_optimizer=include_optimizer, save_format=save_format)

    def export(self, path: Any, format: str = "tf_saved_model") -> None:
        """Write the model for inference elsewhere: ``format="onnx"``. See `rnnx.saving.export`."""
        from rnnx import saving

        saving.export(self, path, format)

    def get_compile_config(self) -> dict[str, Any]:
        """How the model is compiled, in plain data; empty if it is not."""
        from rnnx import saving

        return saving.compile_config(self)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile the model as a `get_compile_config` says."""
        from rnnx import saving

        saving.compile_from_config(self, config)

    def save_weights(self, path: Any = None, overwrite: bool = True, *, filepath: Any = None) -> None:
        """Write the weights alone. See `rnnx.saving`."""
        from rnnx import saving

        if path is None or filepath is not None:
            path = given_path("save_weights", path, filepath)
        path = path_of("save_weights", path)
        saving.save_weights(self, path, overwrite=overwrite)

    def load_weights(
        self,
        path: Any = None,
        skip_mismatch: bool = False,
        *,
        by_name: bool = False,
        compat: str | None = None,
        filepath: Any = None,
    ) -> None:
        """Read weights that were saved for a model of the same structure. See `rnnx.saving`.

        Files of Keras up to 2.2 were made with other defaults: ``compat="auto"`` takes them over, without it a warning
        names the arguments, and ``"keep"`` is silent. With ``skip_mismatch`` layers that do not fit keep their weights
        and a warning names them; with ``by_name`` only those whose names are in a ``.h5`` file get any.
        """
        from rnnx import saving

        if path is None or filepath is not None:
            path = given_path("load_weights", path, filepath)
        path = path_of("load_weights", path)
        saving.load_weights(self, path, skip_mismatch=skip_mismatch, by_name=by_name, compat=compat)
