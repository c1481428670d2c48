"""Layers that make numbers of raw data: scaled, as classes, as ids of words. None of them is trained."""

from rnnx.layers.preprocessing.categories import CategoryEncoding, Discretization, Hashing
from rnnx.layers.preprocessing.crossing import HashedCrossing
from rnnx.layers.preprocessing.lookup import IntegerLookup, StringLookup
from rnnx.layers.preprocessing.scaling import Normalization, Rescaling
from rnnx.layers.preprocessing.text import TextVectorization

__all__ = [
    "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "Normalization", "Rescaling",
    "StringLookup", "TextVectorization",
]  # fmt: skip
