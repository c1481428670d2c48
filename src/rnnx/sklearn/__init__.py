"""rnnx as estimators of scikit-learn: `SequenceClassifier` and `SequenceRegressor`."""

from rnnx.sklearn.estimators import SequenceClassifier, SequenceRegressor

__all__ = ["SequenceClassifier", "SequenceRegressor"]
