"""The monitor's numbers, by hand on a linear model."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras.balance import Monitor
from tests.balance import linear
from tests.balance.linear import NAMES

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def fitted():
    made = linear.model()
    made.compile(keras.optimizers.SGD(0.1), LOSS)
    monitor = Monitor(made, linear.rows(), LOSS)
    inputs, labels = linear.rows(seed=1)
    history = made.fit(inputs, labels, epochs=2, verbose=0, callbacks=[monitor])
    return made, monitor, history.history


def row_losses(z, labels):
    return -linear.log_softmax(z)[np.arange(len(labels)), labels]


def test_losses_of_each_modality_alone_and_without_it(fitted):
    made, monitor, history = fitted
    inputs, labels = linear.rows()
    shares = linear.shares(made, inputs)
    for name, other in (NAMES, NAMES[::-1]):
        there = inputs[f"{name}_present"] > 0
        alone = row_losses(shares[name], labels)[there].mean()
        without = row_losses(shares[other], labels)[there].mean()
        found = history[f"{name}_alone_loss"][-1]
        np.testing.assert_allclose(found, alone, rtol=1e-5)
        np.testing.assert_allclose(
            history[f"{name}_without_loss"][-1], without, rtol=1e-5
        )


def test_gradient_norms(fitted):
    made, monitor, history = fitted
    inputs, labels = linear.rows()
    own, head = linear.weights(made)
    z = sum(linear.shares(made, inputs).values())
    dz = np.exp(linear.log_softmax(z))
    dz[np.arange(len(labels)), labels] -= 1
    dz /= len(labels)
    trunk = 0
    for name in NAMES:
        x = inputs[name] * inputs[f"{name}_present"][:, None].astype("float64")
        norm = np.linalg.norm(x.T @ dz @ head[name].T)
        found = history[f"{name}_gradient_norm"][-1]
        np.testing.assert_allclose(found, norm, rtol=1e-5)
        trunk += np.square((x @ own[name]).T @ dz).sum()
    found = history["trunk_gradient_norm"][-1]
    np.testing.assert_allclose(found, np.sqrt(trunk), rtol=1e-5)


def test_table(fitted):
    _, monitor, history = fitted
    table = monitor.table()
    assert table.index.tolist() == [0, 1]
    assert sorted([*table.columns, "loss"]) == sorted(history)
    np.testing.assert_allclose(table["photo_alone_loss"], history["photo_alone_loss"])


def test_a_frozen_encoder_has_norm_0(fitted):
    made, _, _ = fitted
    encoder = mm.model.encoder(made, "photo")
    encoder.trainable = False
    monitor = Monitor(made, iter([linear.rows()]), LOSS)
    logs = {}
    monitor.on_epoch_end(0, logs)
    encoder.trainable = True
    assert logs["photo_gradient_norm"] == 0
    assert logs["title_gradient_norm"] > 0


def test_on_a_trunk(fitted):
    made, _, _ = fitted
    inputs, labels = linear.rows()
    trunk = mm.transfer.trunk(made, cached=NAMES)
    own, _ = linear.weights(made)
    features = {n: (inputs[n] @ own[n]).astype("float32") for n in NAMES}
    monitor = Monitor(trunk, ({**inputs, **features}, labels), LOSS)
    logs = {}
    monitor.on_epoch_end(0, logs)
    wanted = fitted[1].table().iloc[-1]
    np.testing.assert_allclose(
        logs["photo_alone_loss"], wanted["photo_alone_loss"], rtol=1e-5
    )
    assert "photo_gradient_norm" not in logs and logs["trunk_gradient_norm"] > 0
