"""
How sure is the network?
========================

A forecast with Monte Carlo dropout: what its spread is worth against errors on sequences that it has not seen, split
conformal intervals that hold what they promise, curves of pinned masks, and a stream that says at every step how sure
it is. A deep ensemble stands beside it.

``python examples/monte_carlo.py [--tiny]``; the pictures need ``pip install 'rnnx[plot]'``.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np

import rnnx
import rnnx.plot
from rnnx import Sequential, ops
from rnnx.callbacks import EarlyStopping
from rnnx.layers import GRU, Dense, Dropout
from rnnx.optimizers import Adam

tiny = "--tiny" in sys.argv
rnnx.utils.set_random_seed(1)
rng = np.random.default_rng(0)

# %%
# The data: 20 sequences to learn from
# ------------------------------------
# The next value depends on the last one and on the fourth last, and the noise is four times as strong above 0.5. A few
# sequences choose when to stop, 200 measure errors (*held out*), and 300 test what is said in the end.


def sequences(count, steps=60):
    y = rng.normal(size=(count, steps + 21))
    for t in range(4, steps + 21):
        noise = (0.1 + 0.3 * (y[:, t - 1] > 0.5)) * y[:, t]
        y[:, t] = 1.2 * np.sin(2 * y[:, t - 1]) + 0.4 * y[:, t - 4] + noise
    y = y[:, 20:, None].astype(np.float32)
    return y[:, :-1], y[:, 1:]


train, valid, held, test = [sequences(count) for count in ((8, 4, 20, 20) if tiny else (20, 10, 200, 300))]

# %%
# The network says a mean and a deviation
# ---------------------------------------
# Dropout alone knows what the *network* is unsure of, not how noisy the *data* are. So the network has two outputs, the
# mean and the log of a deviation, and learns by the likelihood of a normal distribution.


def nats(y_true, y_pred):
    mean, log_deviation = y_pred[..., :1], y_pred[..., 1:]
    return 0.5 * ((y_true - mean) * ops.exp(-log_deviation)) ** 2 + log_deviation


def trained(rate, seed):
    rnnx.utils.set_random_seed(seed)
    model = Sequential(
        [
            GRU(48, recurrent_dropout=rate, return_sequences=True, input_shape=(None, 1), seed=seed),
            Dropout(rate, noise_shape=(None, 1, None), seed=seed),
            Dense(2),
        ]
    )
    model.compile(Adam(1e-2, clipnorm=1.0), nats)
    stop = EarlyStopping(patience=8, restore_best_weights=True)
    epochs = 1 if tiny else 80
    model.fit(*train, epochs=epochs, batch_size=4, validation_data=valid, callbacks=[stop], verbose=0)
    return model


model = trained(0.05, seed=1)
ensemble = [trained(0.0, seed) for seed in range(2 if tiny else 5)]
samples = 10 if tiny else 50

# %%
# Three ways to be unsure
# -----------------------
# One network without dropout knows the noise only. Monte Carlo dropout adds how far its samples are apart, the ensemble
# how far its members are: variances add up.


def together(passes):
    """Mean and deviation of passes (samples, rows, steps, 2): of each the noise, and between them the doubt."""
    noise = np.exp(2 * passes[..., 1]).mean(axis=0)
    return passes[..., 0].mean(axis=0), np.sqrt(noise + passes[..., 0].var(axis=0))


def alone(x):
    return together(ensemble[0].predict(x, verbose=0)[None])


def monte_carlo(x):
    return together(model.predict_mc(x, samples=samples, return_samples=True)[2])


def members(x):
    return together(np.stack([member.predict(x, verbose=0) for member in ensemble]))


WAYS = {"one network": alone, "Monte Carlo dropout": monte_carlo, "ensemble": members}
said = {name: (way(held[0]), way(test[0])) for name, way in WAYS.items()}

# %%
# Conformal intervals
# -------------------
# Errors on the held-out sequences say by how much to widen or narrow: the interval is the mean ± k deviations, and k is
# the quantile of ``|error| / deviation`` there. Whatever the network is worth, such an interval holds the truth as
# often as asked, as long as new sequences come from where the held-out ones came from; a better network makes it
# narrower. The quantile is a line of NumPy. MAPIE, which has many more methods, takes tables and one number a row.


def quantile_of_scores(mean, deviation, truth, share):
    scores = np.sort((abs(truth[..., 0] - mean) / deviation).ravel())
    return scores[min(len(scores), int(np.ceil((len(scores) + 1) * share))) - 1]


factors = {name: quantile_of_scores(*on_held, held[1], 0.9) for name, (on_held, _) in said.items()}
print("share of test values inside intervals of 90 %, and their mean width")
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, (name, (_, (mean, deviation))) in zip(axes, said.items(), strict=True):
    row, error = f"{name:20}", abs(test[1][..., 0] - mean)
    for way, k in (("as said", 1.645), ("conformal", factors[name])):
        row += f"  {way} {(error <= k * deviation).mean():.1%}, {2 * k * deviation.mean():.2f}"
        rnnx.plot.reliability(test[1], mean, deviation * (k / 1.645), label=way, ax=ax)
    print(f"{row}  root mean square error {np.sqrt((error**2).mean()):.2f}")
    ax.set_title(name, fontsize=10)

# %%
# Below the diagonal a network is surer than it should be, above it less sure; the conformal line meets the diagonal at
# 90 % by construction, and elsewhere if the errors have the shape of a normal distribution.
#
# Pinned masks
# ------------
# What would come next if the last value were another one? ``share_masks=True`` drops the same in every row of a pass:
# each sample is one network, and its answers lie on a curve. With masks of their own the rows jump.

values = np.linspace(-2.5, 2.5, 20 if tiny else 101, dtype=np.float32)
rows = np.repeat(test[0][:1, :40], len(values), axis=0)
rows[:, -1, 0] = values
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for ax, pinned in zip(axes, (False, True), strict=True):
    _, _, drawn = model.predict_mc(rows, samples=20, share_masks=pinned, return_samples=True)
    curves = drawn[:, :, -1, 0]
    rnnx.plot.uncertainty(curves.mean(axis=0), samples=curves, x=values, ax=ax)
    ax.plot(values, curves[:6].T, color=plt.rcParams["axes.edgecolor"], linewidth=0.5)
    ax.set(title=f"share_masks={pinned}", xlabel="last value")

# %%
# One step at a time
# ------------------
# ``stream(mc=50)`` carries the states of 50 networks and says after every step what they agree on; with the factor from
# above that is an interval for the next value.

stream = model.stream(mc=samples)
stream.step(test[0][:1, 0])
stream.reset()
low, high = [], []
start = time.perf_counter()
for x_t in test[0][0]:
    mean, deviation = stream.step(x_t[None])
    width = factors["Monte Carlo dropout"] * np.hypot(deviation[0, 0], np.exp(mean[0, 1]))
    low.append(mean[0, 0] - width)
    high.append(mean[0, 0] + width)
micro = (time.perf_counter() - start) / len(low) * 1e6
truth = test[1][0, :, 0]
inside = np.mean((truth >= low) & (truth <= high))
print(f"streamed: {micro:.0f} µs a step with {samples} samples; {inside:.0%} of the next values inside")
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.fill_between(range(len(low)), low, high, color="#0072B2", alpha=0.4, linewidth=0, label="conformal interval of 90 %")
ax.plot(truth, color="#D55E00", linestyle="--", label="what came")
ax.set_xlabel("time →")
ax.legend(fontsize=8, frameon=False)
if plt.get_backend().lower() != "agg":
    plt.show()
