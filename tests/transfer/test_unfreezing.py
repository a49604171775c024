"""Gradual unfreezing: in every epoch exactly the released blocks move."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import transfer
from mmkeras.model import encoder
from mmkeras.testing import process
from tests import tiny


class Watch(keras.callbacks.Callback):
    """Which blocks of an encoder moved in each epoch; put it behind the callback."""

    def __init__(self, name="left"):
        super().__init__()
        self.name, self.moved, self.iterations = name, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = [np.array(w) for w in encoder(self.model, self.name).weights]

    def on_epoch_end(self, epoch, logs=None):
        weights = encoder(self.model, self.name).weights
        self.moved.append(
            {
                w.path.split("_")[0]
                for w, old in zip(weights, self.before, strict=True)
                if not np.array_equal(w, old)
            }
        )
        self.iterations.append(int(self.model.optimizer.iterations))


def small(*names):
    """Tiny encoders, a linear head and no metrics: quick to trace."""
    encoders = {name: tiny.encoder(6, 3) for name in names or ("left",)}
    head = keras.layers.Dense(1, name="head")
    model = mm.multimodal(encoders, mm.fusion.Concat(), head)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def fit(*callbacks, epochs=4, model=None, **kwargs):
    model = model or small()
    rng = np.random.default_rng(0)
    rows = {
        x.name: rng.normal(size=(12, *x.shape[1:])).astype("float32")
        for x in model.inputs
    }
    model.fit(
        rows,
        rng.normal(size=12),
        batch_size=4,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )
    return callbacks[-1]


def test_a_block_an_epoch_from_the_top():
    watch = fit(transfer.GradualUnfreezing(), Watch())
    both = {"block1", "block2"}
    assert watch.moved == [set(), {"block2"}, both, both]
    assert watch.iterations == [3, 6, 9, 12]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"every": 2}, [set(), set(), {"block2"}]),
        ({"blocks_per_step": 2}, [set(), *[{"block1", "block2"}] * 2]),
        ({"most": 1}, [set(), *[{"block2"}] * 2]),
    ],
)
def test_how_fast_and_how_far(arguments, expected):
    watch = fit(transfer.GradualUnfreezing("left", **arguments), Watch(), epochs=3)
    assert watch.moved == expected


def test_other_encoders_stay_as_they_are():
    model = transfer.freeze(small("left", "right"), "right", until="block1")
    watch = fit(
        transfer.GradualUnfreezing("left"), Watch("right"), epochs=2, model=model
    )
    assert watch.moved == [{"block2"}] * 2


def test_a_fit_resumed_at_an_epoch_is_at_its_step():
    watch = fit(transfer.GradualUnfreezing(), Watch(), epochs=2, initial_epoch=1)
    assert watch.moved == [{"block2"}]


class Scores(keras.callbacks.Callback):
    """Puts given scores into the logs, before the callback under test sees them."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def on_epoch_end(self, epoch, logs=None):
        logs["val_f1"] = self.scores[epoch]


def test_when_the_score_stalls():
    callback = transfer.GradualUnfreezing(patience=2, monitor="val_f1", mode="max")
    scores = [0.1, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3, 0.4]  # stalls after epochs 3 and 6
    watch = fit(Scores(scores), callback, Watch(), epochs=8)
    assert watch.moved == [*[set()] * 4, *[{"block2"}] * 3, {"block1", "block2"}]
    assert callback.released == {"left": ["block2", "block1"]}


def test_a_score_that_is_not_there():
    with pytest.raises(ValueError, match="Reported: .*'loss'"):
        fit(transfer.GradualUnfreezing(patience=1), epochs=1)


def test_momentum_of_the_head_lives_through_a_release():
    kept = []

    class Slots(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch:
                self.on_epoch_end(epoch)

        def on_epoch_end(self, epoch, logs=None):
            kernel = self.model.get_layer("head").kernel
            at = self.model.optimizer._get_variable_index(kernel)
            kept.append(np.array(self.model.optimizer.momentums[at]))

    fit(transfer.GradualUnfreezing(), Slots(), epochs=2)
    np.testing.assert_array_equal(kept[0], kept[1])  # before and after the release
    assert np.abs(kept[0]).max() > 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"every": 1, "patience": 1}, "not both"),
        ({"every": 0}, "`every` wants an integer of 1 or more"),
        ({"mode": "up"}, "'min' or 'max'"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        transfer.GradualUnfreezing(**arguments)


def test_an_unknown_modality():
    with pytest.raises(ValueError, match=r"Valid names: \['left'\]"):
        fit(transfer.GradualUnfreezing("photo"), epochs=1)


@pytest.mark.slow
def test_two_replicas_give_the_weights_of_one_device(tmp_path):
    process.run("tests.transfer.release_on_replicas", tmp_path)
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        for name in one:
            np.testing.assert_allclose(two[name], one[name], atol=1e-6)
