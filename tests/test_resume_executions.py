"""Where several steps run as one, and where a signal comes after the last of them."""

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.resume import StateFile

STEPS, EACH, EPOCHS = 12, 8, 3  # the second execution of an epoch is a short one
RNG = np.random.default_rng(0)
X = RNG.normal(size=(STEPS, 2)).astype("float32")
Y = X @ np.array([[1.0], [2.0]], "float32")


def arrays():
    """As many steps as Keras thinks."""
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(1)


def nobody_knows():
    """The same rows, in a number that Keras cannot know."""
    return arrays().filter(tf.function(lambda x, y: tf.constant(True)))


def fit(folder, data, *others, each=EACH, every=None, epochs=EPOCHS, **options):
    """A training from its beginning, as a program of its own would do it."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dropout(0.3, seed=1), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    adam = keras.optimizers.Adam(0.01)
    model.compile(adam, "mse", metrics=["mae"], steps_per_execution=each)
    callbacks = [mm.Resume(folder, every=every), *others]
    options |= {"validation_data": (X, Y), "verbose": 0, "shuffle": False}
    history = model.fit(data, epochs=epochs, callbacks=callbacks, **options)
    state = [x.numpy() for x in [*model.variables, *model.optimizer.variables]]
    return state, history.epoch, history.history


def same(found, wanted):
    for a, b in zip(found[0], wanted[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1:] == wanted[1:]


def place(folder):
    about, _ = StateFile(folder / "training.state").read()
    return about["epoch"], about["step"]


class At(keras.callbacks.Callback):
    """Raises a signal, or an error where there is none, at one place."""

    def __init__(self, epoch, batch=None, number=signal.SIGTERM):
        super().__init__()
        self.place, self.number = (epoch, batch), number

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            self.end()

    def on_test_begin(self, logs=None):
        if (self.epoch, None) == self.place:
            self.end()

    def end(self):
        if self.number is None:
            raise InterruptedError
        signal.raise_signal(self.number)


ENDS = "ignore:.*ran out of data:UserWarning"  # Keras', of each epoch it cannot count


@pytest.mark.filterwarnings(ENDS)
@pytest.mark.parametrize("data", [arrays, nobody_knows])
def test_a_short_execution_is_neither_lost_nor_repeated(tmp_path, data):
    wanted = fit(tmp_path / "whole", data())
    assert wanted[0][-1].shape == (1,)  # Adam's last moment: the optimizer is compared
    for epoch, batch in [(0, 8), (1, 0), (2, 8)]:
        folder = tmp_path / f"{epoch}-{batch}"
        with pytest.raises(SystemExit):
            fit(folder, data(), At(epoch, batch))
        if data is arrays:
            assert place(folder) == (epoch, min(batch + EACH, STEPS))
        same(fit(folder, data()), wanted)


def test_what_was_saved_before_validation_goes_on_with_it(tmp_path):
    wanted = fit(tmp_path / "whole", arrays())
    with pytest.raises(InterruptedError):
        fit(tmp_path / "broken", arrays(), At(1, number=None), every=1)
    assert place(tmp_path / "broken") == (1, STEPS)
    same(fit(tmp_path / "broken", arrays()), wanted)


def test_shuffled_rows_come_in_the_same_order(tmp_path):
    """From a table, whose rows of done steps are not read."""
    import pandas

    table = pandas.DataFrame({"size": X[:, 0], "y": Y[:, 0]})
    sizes = mm.tabular.Columns(numeric={"size": (0.0, 1.0)})

    def run(folder, *others):
        keras.utils.set_random_seed(0)
        encoders = {"size": mm.tabular.mlp(sizes, units=(4,))}
        model = mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(1))
        model.compile("adam", "mse", steps_per_execution=EACH)
        resume = mm.Resume(folder)
        rows = mm.data.from_table(
            table, model, "y", batch_size=1, shuffle=True, resume=resume
        )
        options = {"epochs": 2, "callbacks": [resume, *others], "verbose": 0}
        history = model.fit(rows, shuffle=False, **options)
        return model.get_weights(), history.epoch, history.history

    wanted = run(tmp_path / "whole")
    with pytest.raises(SystemExit):
        run(tmp_path / "broken", At(0, 8))
    same(run(tmp_path / "broken"), wanted)


def test_endless_data_fill_the_last_execution(tmp_path):
    """Keras takes 16 steps where `steps_per_epoch` says 12: they are passed over."""
    options = {"steps_per_epoch": STEPS, "epochs": 2}
    wanted = fit(tmp_path / "whole", arrays().repeat(), **options)
    with pytest.raises(SystemExit):
        fit(tmp_path / "broken", arrays().repeat(), At(0, 8), **options)
    same(fit(tmp_path / "broken", arrays().repeat(), **options), wanted)


@pytest.mark.filterwarnings(ENDS)
def test_steps_that_cannot_be_passed_over_are_an_error(tmp_path):
    with pytest.raises(SystemExit):
        fit(tmp_path / "a", arrays(), At(0, 0))
    with pytest.raises(ValueError, match="a divisor of 8, the step .* Received: 3"):
        fit(tmp_path / "a", arrays(), each=3)
    fit(tmp_path / "a", arrays(), each=4)
    with pytest.raises(SystemExit):
        fit(tmp_path / "b", nobody_knows(), At(0, 8))
    with pytest.raises(ValueError, match="epoch 1 ended 4 steps before"):
        fit(tmp_path / "b", nobody_knows(), each=1)


@pytest.mark.parametrize(
    "number, raised", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_in_the_last_validation_stops_the_program(tmp_path, number, raised):
    before = signal.getsignal(number)
    wanted = fit(tmp_path / "whole", arrays())
    with pytest.raises(raised) as found:
        fit(tmp_path / "broken", arrays(), At(EPOCHS - 1, number=number))
    told = [str(found.value), *getattr(found.value, "__notes__", [])]
    assert f"training.state' holds epoch {EPOCHS + 1}, step 0." in told[-1]
    assert signal.getsignal(number) is before
    assert place(tmp_path / "broken") == (EPOCHS, 0)
    steps = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda i, _: steps.append(i)
    )
    same(fit(tmp_path / "broken", arrays(), watch), wanted)
    assert not steps  # complete: the program goes on behind `fit`


def test_the_command_line_says_what_is_left_and_how_to_go_on(
    tmp_path, monkeypatch, capsys
):
    import pandas

    from mmkeras import cli
    from mmkeras.run import stage

    table = pandas.DataFrame({"x": np.arange(40) % 7, "y": ["a", "b"] * 20})
    table["split"] = (["train"] * 6 + ["val", "test"] * 2) * 4
    table.to_csv(tmp_path / "t.csv", index=False)
    command = ["train", f"{tmp_path}/t.csv", "--tabular", "x=x", "--label", "y"]
    command += ["--out", f"{tmp_path}/out", "--epochs", "2", "--no-export"]
    made = stage.callbacks
    monkeypatch.setattr(stage, "callbacks", lambda *x: [At(0, 0), *made(*x)])
    assert cli.main(command) == 143
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mmkeras: terminated. Training stopped: '")
    assert "head/training.state' holds epoch 1, step 1. Go on with the same" in last
    assert last.endswith("command and --resume.")
    monkeypatch.setattr(stage, "callbacks", made)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("mmkeras.aside.os.replace", full)
        assert cli.main([*command, "--resume"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "recipe.json' could not be written" in last and "No space left" in last
    assert last.endswith("Go on with the same command and --resume.")
    assert cli.main([*command, "--resume"]) == 0
    assert "Going on with the run that was stopped" in capsys.readouterr().err
