"""What trains changes after compile: the optimizer goes on where it was."""

import keras
import numpy as np
import pytest

from mmkeras import load_model, transfer
from tests import tiny
from tests.transfer import hand

optimizers = keras.optimizers


def steps(model, data, count):
    """That many steps on the whole data."""
    model.fit(*data, batch_size=len(data[0]), epochs=count, shuffle=False, verbose=0)


def let_learn(model, **flags):
    for name, flag in flags.items():
        model.get_layer(name).trainable = flag
    return transfer.recompile(model)


def multi():
    """Keras' own MultiOptimizer, the layers by path."""
    return optimizers.MultiOptimizer(
        optimizers.OptimizerMap(
            optimizers.SGD(0.05, momentum=0.9),
            {"below/.*": optimizers.SGD(0.05, momentum=0.9)},
        )
    )


# beta_2 = 0.9, since float32 knows 1 - 0.999 to 6e-5 only
CASES = {
    "momentum": (lambda: optimizers.SGD(0.05, momentum=0.9), hand.Momentum),
    "nesterov": (
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        lambda: hand.Momentum(nesterov=True),
    ),
    "adam": (
        lambda: optimizers.Adam(0.05, beta_2=0.9),
        lambda: hand.Adam(beta_2=0.9),
    ),
    "adamw": (
        lambda: optimizers.AdamW(0.05, weight_decay=0.1, beta_2=0.9),
        lambda: hand.Adam(decay=0.1, beta_2=0.9),
    ),
    "loss scale": (
        lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.05, beta_2=0.9)),
        lambda: hand.Adam(beta_2=0.9),
    ),
    "multi": (multi, hand.Momentum),
}


@pytest.mark.parametrize("case", CASES)
def test_a_weight_that_trains_on_takes_the_steps_of_an_uninterrupted_run(case):
    make, by_hand = CASES[case]
    model, data = hand.network(), hand.rows()
    model.get_layer("below").trainable = False
    model.compile(make(), "mse")
    start = hand.kernels(model)

    steps(model, data, 4)
    let_learn(model, below=True)
    steps(model, data, 3)
    let_learn(model, below=False)
    steps(model, data, 2)

    above, below = by_hand(), by_hand()
    plan = [{"above": above}] * 4
    plan += [{"above": above, "below": below}] * 3 + [{"above": above}] * 2
    expected = hand.run(start, data, plan, lambda step: 0.05)
    for name, kernel in hand.kernels(model).items():
        np.testing.assert_allclose(kernel, expected[name], rtol=2e-5, atol=1e-6)
    assert int(model.optimizer.iterations) == 9


def test_a_schedule_goes_on():
    rate = optimizers.schedules.ExponentialDecay(0.1, 1, 0.7)
    model, data = hand.network(), hand.rows()
    model.get_layer("below").trainable = False
    model.compile(optimizers.SGD(rate, momentum=0.9), "mse")
    start = hand.kernels(model)
    steps(model, data, 3)
    let_learn(model, below=True)
    steps(model, data, 3)
    above, below = hand.Momentum(), hand.Momentum()
    plan = [{"above": above}] * 3 + [{"above": above, "below": below}] * 3
    expected = hand.run(start, data, plan, lambda step: 0.1 * 0.7**step)
    for name, kernel in hand.kernels(model).items():
        np.testing.assert_allclose(kernel, expected[name], rtol=2e-5, atol=1e-6)


def test_a_newcomer_to_adam_begins_with_steps_of_the_learning_rate():
    model, data = hand.network(), hand.rows()
    model.get_layer("below").trainable = False
    model.compile(optimizers.Adam(0.01), "mse")
    steps(model, data, 50)
    let_learn(model, below=True)
    start = hand.kernels(model)["below"]
    steps(model, data, 1)
    step = np.abs(hand.kernels(model)["below"] - start)
    np.testing.assert_allclose(step, 0.01, rtol=1e-3)


def test_a_newcomer_to_adam_survives_the_file(tmp_path):
    model, data = hand.network(), hand.rows()
    model.get_layer("below").trainable = False
    model.compile(optimizers.Adam(0.05), "mse")
    steps(model, data, 20)
    let_learn(model, below=True)
    steps(model, data, 2)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert again.optimizer.joined == [20, 0]
    start = hand.kernels(model)
    steps(model, data, 3)
    steps(again, data, 3)
    for name, kernel in hand.kernels(again).items():
        np.testing.assert_allclose(kernel, hand.kernels(model)[name], rtol=1e-6)
        assert np.abs(kernel - start[name]).max() > 1e-3


def test_the_learning_rate_set_by_hand_and_what_does_not_decay_stay():
    model = hand.network()
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    model.get_layer("below").trainable = False
    model.compile(optimizer, "mse")
    steps(model, hand.rows(), 1)
    model.optimizer.learning_rate = 0.01
    let_learn(model, below=True)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    start = hand.kernels(model)["below"]
    x, _ = hand.rows()
    steps(model, (x, model.predict(x, verbose=0)), 1)  # no error, no gradient
    np.testing.assert_array_equal(hand.kernels(model)["below"], start)


def test_the_moving_average_of_a_newcomer_begins_at_its_weight():
    model, data = hand.network(), hand.rows()
    model.get_layer("below").trainable = False
    model.compile(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9), "mse")
    steps(model, data, 3)
    let_learn(model, below=True)
    start = hand.kernels(model)
    steps(model, data, 1)  # fit puts the averages into the weights at its end
    expected = start["below"] - 0.1 * 0.1 * hand.gradients(start, data)["below"]
    np.testing.assert_allclose(hand.kernels(model)["below"], expected, rtol=1e-5)


def test_loss_metrics_and_options_of_compile_stay():
    model = hand.network()
    model.compile("adam", "mse", metrics=["mae"], steps_per_execution=2)
    steps(model, hand.rows(), 1)
    let_learn(model, below=False)
    history = model.fit(*hand.rows(), verbose=0, validation_data=hand.rows())
    assert {"loss", "mae", "val_loss", "val_mae"} == set(history.history)
    assert model.steps_per_execution == 2
    assert "mae" in str(model.get_compile_config())


def test_an_optimizer_that_has_not_begun_is_kept():
    model = hand.network()
    model.compile(optimizers.Adam(0.1), "mse")
    before = model.optimizer
    let_learn(model, below=False)
    assert model.optimizer is before
    start = hand.kernels(model)
    steps(model, hand.rows(), 1)
    np.testing.assert_array_equal(hand.kernels(model)["below"], start["below"])
    assert np.abs(hand.kernels(model)["above"] - start["above"]).max() > 0.05


def test_a_model_that_is_not_compiled_is_left_alone():
    assert not let_learn(hand.network(), below=False).compiled


def test_freeze_and_unfreeze_notice_the_change():
    model, data = tiny.model(), tiny.rows()
    model.compile("adam", model.loss, metrics=[])
    tiny.moved(model, data)
    transfer.freeze(model, "left")
    assert not any(x.split(":")[1] == "block1_dense" for x in tiny.moved(model, data))
    kept = _momentums(model)
    transfer.unfreeze(model, "left")
    assert int(model.optimizer.iterations) == 6
    for weight, momentum in _momentums(model).items():
        np.testing.assert_array_equal(momentum, kept.get(weight, 0 * momentum))
    assert max(np.abs(x).max() for x in kept.values()) > 0
    assert len(tiny.moved(model, data)) == len(tiny.values(model))


def _momentums(model):
    """Id of each weight that trains -> Adam's mean of its gradients."""
    slots = zip(model.trainable_variables, model.optimizer._momentums, strict=True)
    return {id(x): keras.ops.convert_to_numpy(m) for x, m in slots}


def test_freezing_dropout_alone_is_noticed():
    model, (x, y) = tiny.model(), tiny.rows()
    model.compile("adam", model.loss, metrics=[])
    model.fit(x, y, verbose=0)
    layer = model.get_layer("left_encoder").get_layer("block1_dropout")
    before = model.optimizer
    transfer.freeze(model, "left", layers=["block1_dropout"])
    assert not layer.trainable and model.optimizer is before
    model.fit(x, y, verbose=0)


def test_what_cannot_be_carried_says_so():
    chosen = {x: optimizers.SGD(0.1) for x in ("below/kernel", "above/kernel")}

    def by_function(variable):
        return chosen[variable.path]

    model = hand.network()
    model.compile(optimizers.MultiOptimizer(by_function), "mse")
    steps(model, hand.rows(), 1)
    with pytest.raises(ValueError, match="OptimizerMap. Received"):
        let_learn(model, below=False)


@keras.saving.register_keras_serializable("tests")
class Whole(optimizers.SGD):
    """Keeps something that belongs to no weight."""

    def build(self, variables):
        super().build(variables)
        self.whole = self.add_variable((len(variables),), name="whole")


def test_unknown_state_is_not_carried_by_guess():
    model = hand.network()
    model.compile(Whole(0.1), "mse")
    steps(model, hand.rows(), 1)
    with pytest.raises(ValueError, match="belong to no trained weight"):
        let_learn(model, below=False)


def test_newcomers_to_nadam_are_refused_and_leavers_are_not():
    model = hand.network()
    model.compile(optimizers.Nadam(0.1), "mse")
    steps(model, hand.rows(), 2)
    let_learn(model, below=False)
    with pytest.raises(ValueError, match="Nadam takes steps of many times"):
        let_learn(model, below=True)
