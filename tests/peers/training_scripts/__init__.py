"""Public training scripts of Keras, fetched at run time and run on rnnx with nothing but the import swapped."""
