"""Methods of models in Keras 2 that `fit`, `evaluate` and `predict` have replaced."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.callbacks.callback import History
from rnnx.layers.old_words import takes_old_words

WITHOUT_EFFECT = {"max_queue_size", "workers", "use_multiprocessing", "max_q_size", "nb_worker", "pickle_safe"}
COUNTED = {"samples_per_epoch": "steps_per_epoch", "nb_val_samples": "validation_steps", "val_samples": "steps"}


def _heard(old: str, new: str, rest: dict[str, Any], level: int = 3) -> None:
    """Warn of an old method, and refuse arguments that it does not know; ``level`` is as that of a warning."""
    for counted, steps in COUNTED.items():
        if counted in rest:
            raise TypeError(f"{old}: `{counted}` counted samples in Keras 1; give `{steps}`, which counts batches")
    if unknown := rest.keys() - WITHOUT_EFFECT:
        raise TypeError(f"{old}: unknown argument(s) {', '.join(sorted(unknown))}")
    warnings.warn(f"{old} is the old name of {new}", UserWarning, stacklevel=level)


class OldMethods:
    """A base of models: methods of Keras 2."""

    fit: Any
    evaluate: Any
    predict: Any

    @takes_old_words
    def fit_generator(
        self,
        generator: Any,
        steps_per_epoch: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_data: Any = None,
        validation_steps: int | None = None,
        validation_freq: int = 1,
        class_weight: Any = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        **rest: Any,
    ) -> History:
        """The old name of ``fit(generator, ...)``; ``workers`` and ``max_queue_size`` have no effect."""
        _heard("fit_generator", "fit", rest, 4)
        history: History = self.fit(
            generator, steps_per_epoch=steps_per_epoch, epochs=epochs, verbose=verbose, callbacks=callbacks,
            validation_data=validation_data, validation_steps=validation_steps, validation_freq=validation_freq,
            class_weight=class_weight, shuffle=shuffle, initial_epoch=initial_epoch,
        )  # fmt: skip
        return history

    def evaluate_generator(
        self, generator: Any, steps: int | None = None, callbacks: Any = None, verbose: Any = 0, **rest: Any
    ) -> Any:
        """The old name of ``evaluate(generator, steps=...)``."""
        _heard("evaluate_generator", "evaluate", rest)
        return self.evaluate(generator, steps=steps, callbacks=callbacks, verbose=verbose)

    def predict_generator(
        self, generator: Any, steps: int | None = None, callbacks: Any = None, verbose: Any = 0, **rest: Any
    ) -> Any:
        """The old name of ``predict(generator, steps=...)``."""
        _heard("predict_generator", "predict", rest)
        return self.predict(generator, steps=steps, callbacks=callbacks, verbose=verbose)

    def predict_proba(self, x: Any, batch_size: int | None = None, verbose: Any = 0) -> Any:
        """The old name of `predict`."""
        _heard("predict_proba", "predict", {})
        return self.predict(x, batch_size, verbose)

    def predict_classes(self, x: Any, batch_size: int | None = None, verbose: Any = 0) -> Array:
        """The most likely class of each row: the place of the largest output, or whether the only one is over 0.5."""
        text = "predict_classes is of Keras 2; write predict(x).argmax(-1), or (predict(x) > 0.5) for one output"
        warnings.warn(text, UserWarning, stacklevel=2)
        y = np.asarray(self.predict(x, batch_size, verbose))
        return y.argmax(axis=-1) if y.shape[-1] > 1 else (y > 0.5).astype(np.int32)
