"""Topics of sentences with the vectorization inside of the model."""

import numpy as np

import rnnx as keras
from rnnx import layers

keras.utils.set_random_seed(2)
words = [["goal", "team", "match", "ball"], ["cell", "virus", "dna", "protein"], ["bank", "money", "stock", "market"]]
rng = np.random.default_rng(0)
topics = rng.integers(0, 3, 150)
texts = np.array([" ".join(rng.choice(words[k], 3)) + "!" for k in topics])
vectorize = layers.TextVectorization(max_tokens=100, output_mode="int", output_sequence_length=5)
vectorize.adapt(texts)
inputs = keras.Input(shape=(1,), dtype="string")
x = vectorize(inputs)
x = layers.Embedding(len(vectorize.get_vocabulary()), 8, mask_zero=True)(x)
x = layers.Bidirectional(layers.GRU(6))(x)
outputs = layers.Dense(3, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.optimizer.learning_rate = 0.02
model.fit(texts, topics, epochs=6, verbose=0)
assert model.evaluate(texts, topics, verbose=0)[1] > 0.9
assert model.predict(np.array(["the virus and its dna"])).argmax() == 1
model.save("topics.keras")
assert keras.models.load_model("topics.keras").predict(np.array(["bank"])).shape == (1, 3)
