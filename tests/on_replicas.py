"""Script: small trainings on one device and on two replicas, into FOLDER/found.json.

python -m tests.on_replicas FOLDER

First as Keras does it, then with what `mmkeras.distribute.strategy` mends. Each number
is the largest difference between two trainings' weights.
"""

import contextlib
import json
import sys
from pathlib import Path

ROWS = 16


def main(folder):
    from mmkeras import mends
    from mmkeras.testing.replicas import two_cpus

    strategy = two_cpus()
    one = {
        make: _trained(contextlib.nullcontext(), make) for make in (_clipped, _scaled)
    }
    found = {f"{x}, Keras": y for x, y in _differences(one, strategy).items()}
    found["overflow, Keras"] = _overflow(strategy.scope())
    found["outside, Keras"] = _said(lambda: _outside(strategy))
    mends.optimizers()
    found |= _differences(one, strategy)
    found["overflow"] = _overflow(strategy.scope())
    found["outside"] = _said(lambda: _outside(strategy))
    found["accumulated"] = _said(lambda: _accumulated(strategy.scope()))
    found |= _batch_norm(strategy)
    found |= _resumed(strategy, Path(folder))
    (Path(folder) / "found.json").write_text(json.dumps(found))


def _rows():
    import numpy as np

    rng = np.random.default_rng(0)
    words = rng.integers(0, 5, (ROWS, 3))
    numbers = rng.normal(size=(ROWS, 3)).astype("float32")
    return [words, numbers], 5 * rng.normal(size=(ROWS, 2)).astype("float32")


def _model(*layers):
    """An embedding, whose gradients are sparse, and numbers; more layers behind."""
    import keras

    inputs = [keras.Input((3,), dtype="int32"), keras.Input((3,))]
    x = keras.layers.Embedding(5, 4)(inputs[0])
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Concatenate()([x, keras.layers.Dense(3)(inputs[1])])
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def _trained(scope, make_optimizer, make_layers=list, synchronized=False):
    import keras

    from mmkeras import distribute

    keras.utils.set_random_seed(0)
    with scope:
        model = _model(*make_layers())
        model.compile(make_optimizer(), "mse")
    if synchronized:
        distribute.synchronize_batch_norm(model)
    model.fit(*_rows(), batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


def _difference(a, b):
    import numpy as np

    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def _clipped():
    import keras

    return keras.optimizers.AdamW(0.1, global_clipnorm=0.5)


def _scaled():
    import keras

    inner = keras.optimizers.SGD(0.1, clipnorm=0.1)
    return keras.optimizers.LossScaleOptimizer(inner)


def _differences(one, strategy):
    return {
        make.__name__: _difference(weights, _trained(strategy.scope(), make))
        for make, weights in one.items()
    }


def _overflow(scope):
    """The scale after a step in which the second replica alone overflows."""
    import keras
    import numpy as np

    with scope:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        model.compile(optimizer, "mse")
    x = np.ones((8, 3), "float32")
    x[6] = np.inf
    model.fit(x, np.ones((8, 2)), batch_size=8, shuffle=False, verbose=0)
    finite = bool(np.isfinite(model.get_weights()[0]).all())
    return finite, float(optimizer.dynamic_scale.numpy())


def _outside(strategy):
    with strategy.scope():
        model = _model()
    model.compile("sgd", "mse")
    model.fit(*_rows(), batch_size=8, verbose=0)
    return int(model.optimizer.iterations)


def _accumulated(scope):
    import keras

    optimizer = keras.optimizers.SGD
    _trained(scope, lambda: optimizer(0.1, gradient_accumulation_steps=2))


def _said(call):
    try:
        return call()
    except ValueError as error:
        return str(error)


def _batch_norm(strategy):
    import keras

    def layers():
        norm = keras.layers.BatchNormalization
        resting = norm(momentum=0.5)
        resting.trainable = False
        return [norm(momentum=0.5), resting]

    def sgd():
        return keras.optimizers.SGD(0.01)

    one = _trained(contextlib.nullcontext(), sgd, layers)
    return {
        "batch norm": _difference(one, _trained(strategy.scope(), sgd, layers)),
        "synchronized": _difference(
            one, _trained(strategy.scope(), sgd, layers, synchronized=True)
        ),
    }


def _resumed(strategy, folder):
    """A run that fails after the third of four steps, and goes on, against a whole."""
    import keras

    import mmkeras as mm

    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 7:
                raise InterruptedError

    def run(name, *callbacks):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            norm, dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)
            model = _model(norm, dropout)
            model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
        resume = mm.Resume(folder / name, every=2)
        history = model.fit(
            *_rows(),
            batch_size=4,
            epochs=3,
            shuffle=False,
            verbose=0,
            callbacks=[resume, *callbacks],
        )
        return model.get_weights(), history.history

    whole, history = run("whole")
    with contextlib.suppress(InterruptedError):
        run("broken", Fail())
    held = mm.Resume(folder / "broken")._file.read()[0]
    broken, again = run("broken")
    return {
        "held": (held["epoch"], held["step"]),
        "resumed": _difference(whole, broken),
        "the same history": again == history,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
