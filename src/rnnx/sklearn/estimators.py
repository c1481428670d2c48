"""A recurrent network as a classifier and as a regressor of scikit-learn."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

import rnnx
from rnnx import callbacks, initializers, layers, optimizers
from rnnx._typing import Array
from rnnx.sklearn._sequences import sequences_of

CELLS = {"lstm": layers.LSTM, "gru": layers.GRU, "simple_rnn": layers.SimpleRNN}


class _Estimator(BaseEstimator):
    """What both estimators share: arguments, the forms of X, and training."""

    features_: int
    _is_table: bool

    def __init__(
        self,
        units: Any = 32,
        cell: str = "gru",
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        optimizer: Any = "adam",
        learning_rate: float = 0.01,
        batch_size: int = 32,
        epochs: int = 30,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        standardize: bool = True,
        channels_first: bool = False,
        samples: int = 50,
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.units = units
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.channels_first = channels_first
        self.samples = samples
        self.random_state = random_state
        self.verbose = verbose

    # ---- The forms of X ----------------------------------------------------------------------------------------------

    def _sequences(self, X: Any, y: Any = None, *, reset: bool) -> tuple[Any, Any]:
        """X as sequences, checked against those of ``fit``, and y."""
        who = type(self).__name__
        found = sequences_of(who, X, self.channels_first)
        if not reset and (found is None) != self._is_table:
            kind = "rows of a table" if self._is_table else f"sequences of {self.features_} feature(s)"
            raise ValueError(f"{who}: fit has seen {kind}, got {'a table' if found is None else 'sequences'}")
        if found is None:  # a table: every row is a sequence of numbers
            options: dict[str, Any] = {"dtype": np.float32, "reset": reset}
            if y is None:
                table = validate_data(self, X, **options)
            else:
                table, y = validate_data(self, X, y, y_numeric=self._numeric, multi_output=self._numeric, **options)
            found = table[:, :, None]
            features, table_width = 1, table.shape[1]
        else:
            features, table_width = found[0].shape[-1], None
        if reset:
            self.features_ = features
            if table_width is None:
                self.n_features_in_ = features
            self._is_table = table_width is not None
        elif features != self.features_:
            raise ValueError(f"{who}: fit has seen sequences of {self.features_} feature(s), got {features} feature(s)")
        if y is not None and len(y) != len(found):
            raise ValueError(f"{who}: X has {len(found)} samples and y {len(y)}; both need the same number")
        if reset:
            steps = np.concatenate(list(found)) if isinstance(found, list) else found.reshape(-1, features)
            self._center = steps.mean(0, dtype=np.float64) if self.standardize else np.zeros(features)
            spread = steps.std(0, dtype=np.float64) if self.standardize else np.ones(features)
            self._scale = np.where(spread > 0, spread, 1.0)
        if isinstance(found, list):
            return [self._scaled(part) for part in found], y
        return self._scaled(found), y

    def _scaled(self, x: Array) -> Array:
        scaled: Array = ((x - self._center) / self._scale).astype(np.float32)
        return scaled

    # ---- Training ----------------------------------------------------------------------------------------------------

    def _check_arguments(self) -> None:
        who = type(self).__name__
        if self.cell not in CELLS:
            raise ValueError(f"{who}: `cell` must be one of {', '.join(map(repr, CELLS))}, got {self.cell!r}")
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("samples", 2)):
            number = getattr(self, name)
            if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
                raise ValueError(f"{who}: `{name}` must be an integer of at least {least}, got {number!r}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"{who}: `validation_fraction` must lie between 0 and 1, got {self.validation_fraction!r}")

    def _train(self, x: Any, targets: Array, outputs: int, activation: str | None, loss: str) -> None:
        self._check_arguments()
        random = check_random_state(self.random_state)

        def seed() -> int:
            return int(random.randint(2**31 - 1))

        def glorot() -> Any:
            return initializers.GlorotUniform(seed=seed())

        sizes = list(self.units) if isinstance(self.units, (list, tuple)) else [self.units]
        model = rnnx.Sequential([rnnx.Input((None, self.features_))])
        for k, units in enumerate(sizes):
            layer = CELLS[self.cell](
                units,
                dropout=self.dropout,
                recurrent_dropout=self.recurrent_dropout,
                return_sequences=k + 1 < len(sizes),
                kernel_initializer=glorot(),
                recurrent_initializer=initializers.Orthogonal(seed=seed()),
                seed=seed(),
            )
            model.add(layers.Bidirectional(layer) if self.bidirectional else layer)
        model.add(layers.Dense(outputs, activation=activation, kernel_initializer=glorot()))
        optimizer = optimizers.get(self.optimizer)
        if isinstance(self.optimizer, str):
            optimizer.learning_rate = self.learning_rate
        model.compile(optimizer, loss)
        options: dict[str, Any] = {}
        if self.early_stopping:
            held = max(1, round(len(targets) * self.validation_fraction))
            if held >= len(targets):
                raise ValueError(
                    f"{type(self).__name__}: early_stopping holds back {held} of {len(targets)} sample(s); give more"
                )
            order = random.permutation(len(targets))
            rows, others = order[held:], order[:held]
            options["validation_data"] = (_rows(x, others), targets[others])
            options["callbacks"] = [callbacks.EarlyStopping(patience=self.patience, restore_best_weights=True)]
            x, targets = _rows(x, rows), targets[rows]
        history = model.fit(
            x, targets, batch_size=self.batch_size, epochs=self.epochs, verbose=self.verbose, seed=seed(), **options
        )
        self.model_ = model
        self.loss_curve_ = list(history.history["loss"])
        self.n_iter_ = len(self.loss_curve_)

    def _outputs(self, X: Any, return_std: bool) -> tuple[Array, Array | None]:
        check_is_fitted(self)
        x, _ = self._sequences(X, reset=False)
        if not return_std:
            return np.asarray(self.model_.predict(x)), None
        if not (self.dropout or self.recurrent_dropout):
            raise ValueError(
                f"{type(self).__name__}: return_std=True draws dropout masks, and this estimator has none: give "
                "`dropout` or `recurrent_dropout` and fit again"
            )
        mean, deviation = self.model_.predict_mc(x, samples=self.samples)
        return np.asarray(mean), np.asarray(deviation)


def _rows(x: Any, rows: Array) -> Any:
    return [x[k] for k in rows] if isinstance(x, list) else x[rows]


class SequenceClassifier(ClassifierMixin, _Estimator):
    """A recurrent network that says to which class a sequence belongs.

    Parameters
    ----------
    units : int or tuple of int
        Width of the recurrent layer, or of several.
    cell : {"gru", "lstm", "simple_rnn"}
    bidirectional : bool
    dropout, recurrent_dropout : float
        Of the recurrent layers; see docs/dropout.md.
    optimizer : str or rnnx optimizer
    learning_rate : float
        Of an optimizer given by its name.
    batch_size, epochs : int
    early_stopping : bool
        Hold back ``validation_fraction`` of the samples, stop when their loss has not fallen for ``patience`` epochs,
        and keep the best weights.
    standardize : bool
        Shift and scale every feature by its mean and deviation over all steps that ``fit`` sees.
    channels_first : bool
        Whether arrays have the features before the timesteps, as in sktime and aeon.
    samples : int
        Passes with dropout for ``return_std``.
    random_state : int, RandomState or None
    verbose : {0, 1, 2}

    Attributes
    ----------
    classes_ : array
    model_ : rnnx.Sequential
    n_features_in_ : int
        Features of a step; of a table its columns.
    loss_curve_ : list of float
    n_iter_ : int
        Epochs that were run.

    Notes
    -----
    ``X`` is an array (samples, timesteps, features); a list or object array of arrays (timesteps, features) or
    (timesteps,) of any lengths; a DataFrame whose cells are series or whose index has two levels (sample, timestep);
    or a table, whose rows are sequences of one feature.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.sklearn import SequenceClassifier
    >>> X = [np.full(n, k % 2, "float32") for k, n in enumerate([3, 5, 4, 6] * 10)]
    >>> y = ["low", "high"] * 20
    >>> SequenceClassifier(units=8, random_state=0).fit(X, y).predict([np.ones(7), np.zeros(2)])
    array(['high', 'low'], dtype='<U4')
    """

    _numeric = False

    def fit(self, X: Any, y: Any) -> SequenceClassifier:
        """Train on sequences and their classes.

        Raises
        ------
        ValueError
            If X or y do not have one of their forms.
        """
        if y is None:
            raise ValueError("SequenceClassifier requires y to be passed, but the target y is None")
        x, y = self._sequences(X, y, reset=True)
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"SequenceClassifier: y must have at least two classes, got 1 class: {self.classes_[0]}")
        self._train(x, targets, len(self.classes_), "softmax", "sparse_categorical_crossentropy")
        return self

    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """Probability of every class, of shape (samples, classes); with ``return_std`` also its deviation.

        The deviation is that of the outputs with dropout on (Monte Carlo dropout); the probabilities are their mean.
        """
        mean, deviation = self._outputs(X, return_std)
        return mean if deviation is None else (mean, deviation)

    def predict(self, X: Any) -> Array:
        """The class of every sequence."""
        best = self._outputs(X, False)[0].argmax(axis=1)
        chosen: Array = self.classes_[best]
        return chosen


class SequenceRegressor(RegressorMixin, _Estimator):
    """A recurrent network that gives every sequence a number, or several.

    Parameters and attributes as for `SequenceClassifier`. Targets are scaled for training and scaled back.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.sklearn import SequenceRegressor
    >>> X = np.linspace(-1, 1, 40)[:, None, None] * np.ones((1, 5, 1))
    >>> found = SequenceRegressor(units=8, epochs=60, random_state=0).fit(X, X[:, 0, 0])
    >>> bool(found.score(X, X[:, 0, 0]) > 0.95)
    True
    """

    _numeric = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> SequenceRegressor:
        """Train on sequences and their targets, of shape (samples,) or (samples, outputs).

        Raises
        ------
        ValueError
            If X or y do not have one of their forms.
        """
        if y is None:
            raise ValueError("SequenceRegressor requires y to be passed, but the target y is None")
        x, y = self._sequences(X, y, reset=True)
        targets = np.asarray(y, np.float64)
        self._flat = targets.ndim == 1
        targets = targets[:, None] if self._flat else targets
        if not np.isfinite(targets).all():
            raise ValueError("SequenceRegressor: y contains NaN or infinity")
        spread = targets.std(0)
        self._y_center, self._y_scale = targets.mean(0), np.where(spread > 0, spread, 1.0)
        self._train(x, ((targets - self._y_center) / self._y_scale).astype(np.float32), targets.shape[1], None, "mse")
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The target of every sequence; with ``return_std`` also its deviation by Monte Carlo dropout."""
        mean, deviation = self._outputs(X, return_std)
        values = mean * self._y_scale + self._y_center
        values = values[:, 0] if self._flat else values
        if deviation is None:
            return values
        deviation = deviation * self._y_scale
        return values, deviation[:, 0] if self._flat else deviation
