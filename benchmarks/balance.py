"""Balance: what each method changes where one modality is easy and another is better.

Command: python benchmarks/balance.py [--optimizer adam] [--seeds 5] [--epochs 12]

Generated: four classes. "easy" is a class mean in noise, learnt in an epoch, right in
about 3 of 4 rows at best; "hard" hides both bits of the class in products of signs, and
is right in 9 of 10 rows once learnt. Prints test accuracy with both shown, with each
alone, and the share of its gradient that the easy encoder kept on the last batch: means
over the seeds, with the standard deviation over seeds for the first. "hard only" is a
model without the easy modality. All with the same optimizer, epochs and rows; nothing
is tuned to this task.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import mmkeras as mm
from mmkeras import balance

NAMES, WIDTH, CLASSES = ("easy", "hard"), 8, 4


@keras.saving.register_keras_serializable("benchmarks")
class Vector(mm.ModalityInput):
    """A vector that a table would hold as numbers; the benchmark feeds arrays."""

    kind = "table"
    cell = "value"
    tensor_shape = (WIDTH,)

    def call(self, inputs):
        return inputs


def rows(count, rng):
    """Inputs and labels of both modalities."""
    labels = rng.integers(0, CLASSES, count)
    bits = np.stack([labels // 2, labels % 2], axis=1) * 2 - 1
    flipped = bits * np.where(rng.random((count, 2)) < 0.05, -1, 1)
    hard = rng.normal(size=(count, WIDTH))
    # coordinate 0 * coordinate 1 has the sign of one bit, 2 * 3 that of the other
    for i in range(2):
        wrong = np.sign(hard[:, 2 * i] * hard[:, 2 * i + 1]) != flipped[:, i]
        hard[wrong, 2 * i] *= -1
    easy = rng.normal(size=(count, WIDTH))
    easy[:, :2] += 1.1 * bits
    inputs = {"easy": easy.astype("float32"), "hard": hard.astype("float32")}
    inputs |= {f"{n}_present": np.ones(count, "float32") for n in NAMES}
    return inputs, labels.astype("int32")


def network():
    """Two perceptrons, side by side under one linear head."""
    encoders = {}
    for name in NAMES:
        vector = Vector(name="vector")
        x = inputs = mm.modality.tensor_input(vector, "in")
        x = keras.layers.Dense(64, activation="relu")(vector(x))
        x = keras.layers.Dense(32, activation="relu")(x)
        encoders[name] = keras.Model(inputs, x, name=name)
    head = mm.heads.classification(CLASSES)
    return mm.multimodal(encoders, mm.fusion.Concat(), head.layer), head


def optimizer(name):
    if name == "adam":
        return keras.optimizers.Adam(2e-3)
    return keras.optimizers.SGD(0.05, momentum=0.9)


def fit(training, x, y, arguments, options, weight=None):
    training.compile(optimizer(options.optimizer), steps_per_execution=8, **arguments)
    training.fit(x, y, 32, options.epochs, sample_weight=weight, verbose=0)


def train(method, data, val, options):
    """A model trained by one method, and the share that `easy` kept, or NaN."""
    model, head = network()
    loss, kept = {"loss": head.loss}, float("nan")
    if method in ("supervised", "gradient_blending"):
        training, weights = balance.supervised(model), None
        if method == "gradient_blending":
            weights = balance.gradient_blending(
                training, data, val, head.loss, optimizer(options.optimizer), epochs=3
            )
        arguments = balance.losses(training, head._replace(metrics=[]), weights)
        x, y, weight = balance.with_targets(data, training)
        fit(training, x, y, arguments, options, weight)
    elif method in ("plain", "hard only"):
        x, y = data
        if method == "hard only":
            x = {**x, "easy_present": np.zeros(len(y), "float32")}
        fit(model, x, y, loss, options)
    else:
        make = {
            "ogm": lambda: balance.ogm_ge(model, alpha=0.3, noise=False),
            "ogm_ge": lambda: balance.ogm_ge(model, alpha=0.3),
            "agm": lambda: balance.agm(model),
        }
        training = make[method]()
        fit(training, *balance.with_label(data), loss, options)
        kept = balance.scales(training)["easy"]
    return model, kept


def accuracies(model, test):
    """Test accuracy with both, with "easy" alone and with "hard" alone."""
    inputs, labels = test
    found = []
    for hidden in (None, "hard", "easy"):
        shown = dict(inputs)
        if hidden:
            shown[f"{hidden}_present"] = np.zeros(len(labels), "float32")
        outputs = keras.ops.convert_to_numpy(model(shown, training=False))
        found.append((outputs.argmax(axis=1) == labels).mean())
    return found


METHODS = ("plain", "supervised", "gradient_blending", "ogm", "ogm_ge", "agm")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rows", type=int, default=1500)
    every = (*METHODS, "hard only")
    parser.add_argument("--methods", nargs="+", choices=every, default=every)
    options = parser.parse_args()
    print("| method | both | sd | easy alone | hard alone | easy kept | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for method in options.methods:
        results, start = [], time.perf_counter()
        for seed in range(options.seeds):
            keras.utils.set_random_seed(seed)
            rng = np.random.default_rng(seed)
            data, val, test = (rows(n, rng) for n in (options.rows, 500, 4000))
            model, kept = train(method, data, val, options)
            results.append([*accuracies(model, test), kept])
            keras.backend.clear_session()
        seconds = (time.perf_counter() - start) / options.seeds
        both, easy, hard, kept = np.mean(results, axis=0)
        deviation = np.std(results, axis=0)[0]
        print(
            f"| {method} | {both:.3f} | {deviation:.3f} | {easy:.3f} | {hard:.3f} | "
            f"{kept:.2f} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
