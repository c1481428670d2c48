"""Text character by character: sampled after each epoch by a LambdaCallback."""

import numpy as np

import rnnx as keras
from rnnx import layers
from rnnx.callbacks import LambdaCallback

keras.utils.set_random_seed(6)
text = "the cat sat on the mat. " * 12
chars = sorted(set(text))
char_indices = {c: k for k, c in enumerate(chars)}
maxlen, step = 6, 2
sentences = [text[k : k + maxlen] for k in range(0, len(text) - maxlen, step)]
x = np.zeros((len(sentences), maxlen, len(chars)), dtype="bool")
y = np.zeros((len(sentences), len(chars)), dtype="bool")
for k, sentence in enumerate(sentences):
    for t, char in enumerate(sentence):
        x[k, t, char_indices[char]] = 1
    y[k, char_indices[text[k * step + maxlen]]] = 1
model = keras.Sequential(
    [keras.Input(shape=(maxlen, len(chars))), layers.LSTM(24), layers.Dense(len(chars), activation="softmax")]
)
model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.RMSprop(learning_rate=0.02))
written = []


def sample(predictions, temperature=1.0):
    predictions = np.exp(np.log(np.asarray(predictions).astype("float64") + 1e-12) / temperature)
    return np.argmax(np.random.multinomial(1, predictions / predictions.sum() * 0.999999))


def on_epoch_end(epoch, logs):
    sentence = text[:maxlen]
    for _ in range(8):
        x_pred = np.zeros((1, maxlen, len(chars)))
        for t, char in enumerate(sentence):
            x_pred[0, t, char_indices[char]] = 1.0
        sentence = sentence[1:] + chars[sample(model.predict(x_pred, verbose=0)[0], 0.2)]
    written.append(sentence)


model.fit(x, y, batch_size=32, epochs=6, verbose=0, callbacks=[LambdaCallback(on_epoch_end=on_epoch_end)])
assert len(written) == 6 and len(written[-1]) == maxlen
