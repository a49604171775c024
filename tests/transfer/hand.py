"""Optimizers and a linear network in numpy, in float64, after the papers."""

import keras
import numpy as np


def network():
    """y = x A B: the layers "below" (A) and "above" (B) have no bias."""
    x = inputs = keras.Input((3,))
    x = keras.layers.Dense(4, use_bias=False, name="below")(x)
    x = keras.layers.Dense(2, use_bias=False, name="above")(x)
    return keras.Model(inputs, x)


def rows(count=8):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 3)).astype("float32")
    return x, rng.normal(size=(count, 2)).astype("float32")


def kernels(model):
    return {
        x: model.get_layer(x).get_weights()[0].astype("float64")
        for x in ("below", "above")
    }


def gradients(weights, data):
    """Of the mean squared error of y = x W_1 W_2 ..., over all elements."""
    x, y = data
    inputs = [x]
    for kernel in weights.values():
        inputs.append(inputs[-1] @ kernel)
    error, found = 2 * (inputs[-1] - y) / y.size, {}
    for name, x in zip(reversed(weights), reversed(inputs[:-1]), strict=True):
        found[name] = x.T @ error
        error = error @ weights[name].T
    return found


class Momentum:
    """Polyak's heavy ball; with `nesterov`, Keras' form of it."""

    def __init__(self, momentum=0.9, nesterov=False):
        self.momentum, self.nesterov, self.m = momentum, nesterov, 0.0

    def step(self, w, g, rate):
        self.m = self.momentum * self.m - rate * g
        return w + (self.momentum * self.m - rate * g if self.nesterov else self.m)


class Adam:
    """Kingma and Ba 2015, algorithm 1 with epsilon as in section 2; AdamW's decay."""

    def __init__(self, decay=0.0, beta_2=0.999):
        self.m = self.v = 0.0
        self.t, self.decay, self.beta_2 = 0, decay, beta_2

    def step(self, w, g, rate):
        self.t += 1
        w = w - rate * self.decay * w
        self.m = 0.9 * self.m + 0.1 * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g * g
        alpha = rate * np.sqrt(1 - self.beta_2**self.t) / (1 - 0.9**self.t)
        return w - alpha * self.m / (np.sqrt(self.v) + 1e-7)


def run(weights, data, plan, rates):
    """Trains by hand.

    Args:
        weights: dict, layer -> kernel.
        data: `(x, y)`.
        plan: a dict for each step, layer -> its optimizer; the others are frozen.
        rates: function, step -> learning rate (or a dict, layer -> rate).
    """
    weights = dict(weights)
    for step, optimizers in enumerate(plan):
        rate = rates(step)
        found = gradients(weights, data)
        for layer, optimizer in optimizers.items():
            own = rate[layer] if isinstance(rate, dict) else rate
            weights[layer] = optimizer.step(weights[layer], found[layer], own)
    return weights
