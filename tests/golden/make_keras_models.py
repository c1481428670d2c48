"""Make ``keras_models.npz``: small stacked models of Keras 3, their losses and some steps of training.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_models``.

The models are built by `golden.models` from Keras and from rnnx alike. Plain gradient descent with a learning
rate of 1 makes each step show the gradient of every weight, regularisation included.
"""

from __future__ import annotations

import numpy as np

from .keras_torch import keras
from .models import MODELS, batch
from .store import Case, random_like, save


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(20268)
    cases = {}
    for name, (build, loss, metric) in MODELS.items():
        model = build(keras, "float64")
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss, weighted_metrics=[metric])
        weights = random_like(rng, [tuple(weight.shape) for weight in model.weights], scale=0.4)
        model.set_weights([weight.astype(np.float64) for weight in weights])
        x, y = batch(name, rng)
        sample_weight = (rng.uniform(size=y.shape[:2] if y.ndim == 3 else y.shape[:1]) + 0.5).astype(np.float32)
        case = Case({})
        case.put("x", x)
        case.put("y", y)
        case.put("sample_weight", sample_weight)
        case.put("weights", weights)
        case.put("prediction", np.asarray(model.predict(x, verbose=0)))
        if name == "tagger":
            case.put("valid", x.any(axis=-1))
        history = []
        for weighted in (False, True):
            arguments = {"sample_weight": sample_weight} if weighted else {}
            logs = model.fit(x, y, batch_size=len(x), epochs=2, shuffle=False, verbose=0, **arguments)
            history += logs.history["loss"]
            case.put(f"weights_after/{int(weighted)}", model.get_weights())
        case.put("losses", np.array(history))
        case.put("evaluation", np.array(model.evaluate(x, y, batch_size=2, verbose=0)))
        cases[name] = case
    save("keras_models", cases)


if __name__ == "__main__":
    main()
