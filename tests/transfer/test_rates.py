"""Rates by layer: each block's step is that of a lone optimizer with its rate."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import load_model, transfer
from tests import tiny
from tests.transfer import hand

optimizers = keras.optimizers


def network():
    """y = x A B C: an encoder of two blocks, "block1" and "block2", and a head."""
    numbers = tiny.Numbers(3, name="numbers")
    x = inputs = mm.modality.tensor_input(numbers, "in")
    x = keras.layers.Dense(4, use_bias=False, name="block1_dense")(numbers(x))
    x = keras.layers.Dense(3, use_bias=False, name="block2_dense")(x)
    head = keras.layers.Dense(2, use_bias=False, name="head")
    return mm.multimodal({"left": keras.Model(inputs, x)}, mm.fusion.Concat(), head)


def kernels(model):
    encoder = model.get_layer("left_encoder")
    layers = {x: encoder.get_layer(f"{x}_dense") for x in ("block1", "block2")}
    layers["head"] = model.get_layer("head")
    return {x: y.get_weights()[0].astype("float64") for x, y in layers.items()}


def steps(model, count):
    x, y = hand.rows()
    inputs = {"left": x, "left_present": np.ones(len(x))}
    model.fit(inputs, y, batch_size=len(x), epochs=count, shuffle=False, verbose=0)


def compare(model, expected):
    for name, kernel in kernels(model).items():
        np.testing.assert_allclose(kernel, expected[name], rtol=2e-5, atol=1e-6)


def test_each_block_steps_as_a_lone_adamw_with_its_rate_and_decay():
    model = network()
    pattern = optimizers.AdamW(0.04, weight_decay=0.2, beta_2=0.9)
    made = transfer.layerwise_rates(model, pattern, decay=0.5)
    model.compile(made, "mse")
    start = kernels(model)
    steps(model, 5)
    lone = {name: hand.Adam(decay=0.2, beta_2=0.9) for name in start}
    rates = {"head": 0.04, "block2": 0.02, "block1": 0.01}
    compare(model, hand.run(start, hand.rows(), [lone] * 5, lambda step: rates))


def test_a_schedule_is_scaled_and_an_encoder_has_its_own():
    model = network()
    schedule = optimizers.schedules.ExponentialDecay(0.1, 1, 0.7)
    given = {"left": optimizers.schedules.InverseTimeDecay(0.2, 1, 1.0)}
    pattern = optimizers.SGD(schedule, momentum=0.9)
    made = transfer.layerwise_rates(model, pattern, decay=0.5, rates=given)
    model.compile(made, "mse")
    start = kernels(model)
    steps(model, 4)

    def rates(step):
        top = 0.2 / (1 + step)
        return {"head": 0.1 * 0.7**step, "block2": top, "block1": top / 2}

    lone = {name: hand.Momentum() for name in start}
    compare(model, hand.run(start, hand.rows(), [lone] * 4, rates))


@pytest.mark.parametrize("reload", [False, True])
def test_a_release_keeps_rates_and_state_after_a_reload_too(tmp_path, reload):
    model = transfer.freeze(network(), "left", until="block1")
    pattern = optimizers.Adam(0.04, beta_2=0.9)
    model.compile(transfer.layerwise_rates(model, pattern, decay=0.5), "mse")
    start = kernels(model)
    steps(model, 3)
    if reload:
        model.save(tmp_path / "m.keras")
        model = load_model(tmp_path / "m.keras")
    steps(model, 1)
    transfer.unfreeze(model, "left")
    steps(model, 4)
    lone = {name: hand.Adam(beta_2=0.9) for name in start}
    upper = {name: lone[name] for name in ("block2", "head")}
    rates = {"head": 0.04, "block2": 0.02, "block1": 0.01}
    plan = [upper] * 4 + [lone] * 4
    compare(model, hand.run(start, hand.rows(), plan, lambda step: rates))


def test_a_released_block_follows_the_common_schedule():
    model = transfer.freeze(network(), "left")
    schedule = optimizers.schedules.ExponentialDecay(0.1, 1, 0.7)
    pattern = optimizers.SGD(schedule)
    model.compile(transfer.layerwise_rates(model, pattern, decay=1.0), "mse")
    start = kernels(model)
    steps(model, 3)
    transfer.unfreeze(model, "left")
    steps(model, 2)
    lone = {name: hand.Momentum(0.0) for name in start}
    plan = [{"head": lone["head"]}] * 3 + [lone] * 2
    compare(model, hand.run(start, hand.rows(), plan, lambda step: 0.1 * 0.7**step))


def test_two_encoders_of_the_same_layer_names_are_told_apart():
    encoders = {"left": tiny.encoder(6, 3), "right": tiny.encoder(6, 3)}
    model = mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(1))
    made = transfer.layerwise_rates(
        model, optimizers.SGD(0.1), decay=0.5, rates={"left": 0.0}
    )
    model.compile(made, "mse")
    rows = {name: np.ones((4, *x.shape[1:])) for name, x in model.input.items()}
    before = [np.array(w) for w in model.get_layer("left_encoder").trainable_weights]
    other = [np.array(w) for w in model.get_layer("right_encoder").trainable_weights]
    model.fit(rows, np.ones(4), verbose=0)
    for old, new in zip(
        before, model.get_layer("left_encoder").trainable_weights, strict=True
    ):
        np.testing.assert_array_equal(old, new)
    assert any(
        not np.array_equal(old, new)
        for old, new in zip(
            other, model.get_layer("right_encoder").trainable_weights, strict=True
        )
    )


def test_what_does_not_decay():
    model = network()
    pattern = optimizers.AdamW(0.1, weight_decay=0.5)
    pattern.exclude_from_weight_decay(var_names=["kernel"])
    model.compile(transfer.layerwise_rates(model, pattern), "mse")
    start = kernels(model)
    x, y = hand.rows()
    inputs = {"left": x, "left_present": np.ones(len(x))}
    model.fit(inputs, model.predict(inputs, verbose=0), batch_size=8, verbose=0)
    for name, kernel in kernels(model).items():
        np.testing.assert_array_equal(kernel, start[name])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda m: transfer.layerwise_rates(m, "adam"), "wants a Keras optimizer"),
        (
            lambda m: transfer.layerwise_rates(m, optimizers.SGD(global_clipnorm=1.0)),
            "clip every block by itself",
        ),
        (
            lambda m: transfer.layerwise_rates(m, optimizers.SGD(), decay=1.5),
            r"`decay` wants a float in \(0, 1\]",
        ),
        (
            lambda m: transfer.layerwise_rates(m, optimizers.SGD(), rates={"up": 1.0}),
            r"Valid names: \['left'\]",
        ),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make(network())


@pytest.mark.parametrize("jit", [False, True])
def test_adam_is_adam_for_words_that_repeat(jit):
    """Against numpy in float64: the gradients of one word are summed, then squared."""
    words = np.array([[3, 3, 1]])
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 2)]
    )
    start = model.get_weights()[0].astype("float64")
    model.compile(transfer.Adam(0.01), "mse", jit_compile=jit)
    target = np.random.default_rng(0).normal(size=(1, 3, 2))
    table, m, v = start.copy(), np.zeros((5, 2)), np.zeros((5, 2))
    for step in range(1, 6):
        model.train_on_batch(words, target)
        gradient = np.zeros((5, 2))
        np.add.at(gradient, words[0], (table[words[0]] - target[0]) / 3)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        mean, variance = m / (1 - 0.9**step), v / (1 - 0.999**step)
        table = table - 0.01 * mean / (np.sqrt(variance) + 1e-7)
    np.testing.assert_allclose(model.get_weights()[0], table, atol=1e-5)
