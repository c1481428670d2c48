"""rnnx as estimators of scikit-learn: `SequenceClassifier` and `SequenceRegressor`."""

try:
    import sklearn as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "rnnx.sklearn works inside scikit-learn: pip install 'rnnx[sklearn]'", name="sklearn"
    ) from error

from rnnx.sklearn.estimators import SequenceClassifier, SequenceRegressor

__all__ = ["SequenceClassifier", "SequenceRegressor"]
