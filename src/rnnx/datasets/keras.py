"""The data sets that Keras downloads: rnnx downloads nothing, and says where they are."""

from __future__ import annotations

from typing import Any, NoReturn

SOURCE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
FILES = {
    "boston_housing": "boston_housing.npz", "california_housing": "california_housing.npz",
    "fashion_mnist": "train-images-idx3-ubyte.gz", "imdb": "imdb.npz", "mnist": "mnist.npz", "reuters": "reuters.npz",
    "cifar10": "", "cifar100": "",
}  # fmt: skip


class Elsewhere:
    """A data set that is not part of the package.

    Parameters
    ----------
    name : str
        As in ``keras.datasets``.
    """

    def __init__(self, name: str):
        self.name = name

    def load_data(self, *given: Any, **options: Any) -> NoReturn:
        """Say how to get the data.

        Raises
        ------
        NotImplementedError
            Always.
        """
        where = f"{SOURCE}/{FILES[self.name]}" if FILES[self.name] else "https://www.cs.toronto.edu/~kriz/cifar.html"
        pickled = ", allow_pickle=True" if self.name in ("imdb", "reuters") else ""
        raise NotImplementedError(
            f"{self.name}.load_data: rnnx downloads nothing; fetch {where} by other means "
            f"(urllib.request.urlretrieve) and read it with numpy.load(path{pickled}). "
            "rnnx.datasets.load_japanese_vowels() is inside the package"
        )

    get_word_index = load_data
