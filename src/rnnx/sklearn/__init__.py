"""rnnx as estimators of scikit-learn: of sequences, and of models of one's own."""

try:
    import sklearn as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "rnnx.sklearn works inside scikit-learn: pip install 'rnnx[sklearn]'", name="sklearn"
    ) from error

from rnnx.sklearn.build_functions import KerasClassifier, KerasRegressor
from rnnx.sklearn.estimators import SequenceClassifier, SequenceRegressor
from rnnx.sklearn.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer

__all__ = [
    "KerasClassifier", "KerasRegressor", "SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer",
    "SequenceClassifier", "SequenceRegressor",
]  # fmt: skip
