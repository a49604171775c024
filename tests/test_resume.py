"""Training that was stopped goes on as if it never had been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import mmkeras as mm
import mmkeras.resume

SCRIPT = Path(__file__).parent / "resume_run.py"


def run(folder, out, *kills):
    """Runs the script in a process of its own; gives its exit status."""
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, out, *kills],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode


@pytest.mark.slow
def test_five_kills_change_nothing(tmp_path):
    """9 steps an epoch, 4 epochs; the places are drawn, two lie inside of a write.

    `benchmarks/kills.py` has ten, and a bigger network.
    """
    assert run(tmp_path / "whole", tmp_path / "whole") == 0
    rng = np.random.default_rng(0)
    places = sorted(rng.choice(36, 3, replace=False))
    kills = [f"{x // 9}:{x % 9}" for x in places]
    kills = ["write:1", *kills, "write:3"]
    killed = [run(tmp_path / "broken", tmp_path / "broken", x) for x in kills]
    killed = sum(x == -signal.SIGKILL for x in killed)
    assert killed >= 4  # one place may lie before what another run had saved
    assert run(tmp_path / "broken", tmp_path / "broken") == 0
    with np.load(tmp_path / "whole.npz") as whole:
        with np.load(tmp_path / "broken.npz") as broken:
            assert set(whole) == set(broken)
            for name in whole:
                np.testing.assert_array_equal(whole[name], broken[name])
    whole = json.loads((tmp_path / "whole.json").read_text())
    assert whole == json.loads((tmp_path / "broken.json").read_text())
    assert whole[2] == 36  # no step was repeated
    assert os.listdir(tmp_path / "broken") == ["training.state"]


def network(units=2):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    model.compile("sgd", "mse")
    return model


X, Y = np.ones((8, 2), "float32"), np.ones((8, 2), "float32")


class Signal(keras.callbacks.Callback):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    "number, raised", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_ends_after_the_step_and_saves(tmp_path, number, raised):
    before = signal.getsignal(number)
    model = network()
    callbacks = [mm.Resume(tmp_path), Signal(number)]
    with pytest.raises(raised):
        model.fit(X, Y, batch_size=2, epochs=2, callbacks=callbacks, verbose=0)
    assert signal.getsignal(number) is before
    about, arrays = mm.Resume(tmp_path)._file.read()
    assert (about["epoch"], about["step"]) == (0, 3)
    np.testing.assert_array_equal(arrays["model/0"], model.get_weights()[0])


class Fail(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise InterruptedError


def test_after_an_error_in_fit_signals_do_as_before(tmp_path):
    noted = []
    before = signal.signal(signal.SIGTERM, lambda number, _: noted.append(number))
    try:
        with pytest.raises(InterruptedError):
            network().fit(X, Y, callbacks=[mm.Resume(tmp_path), Fail()], verbose=0)
        signal.raise_signal(signal.SIGTERM)
        assert noted == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert len(noted) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_full_disk_ends_training_and_says_what_is_kept(tmp_path):
    """The limit on a file's size refuses the bytes themselves, as a full disk does."""
    resource = pytest.importorskip("resource")
    model = network()
    rest = {"batch_size": 2, "epochs": 2, "verbose": 0}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Full(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))

    try:
        with pytest.raises(OSError, match="epoch 1, step 4 could not.*epoch 1, step 2"):
            model.fit(X, Y, callbacks=[mm.Resume(tmp_path, every=2), Full()], **rest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path) == ["training.state"]
    about, _ = mm.Resume(tmp_path)._file.read()
    assert (about["epoch"], about["step"]) == (0, 2)


def test_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`every` wants 1 step or more"):
        mm.Resume(tmp_path, every=0)
    kept = {"batch_size": 2, "verbose": 0}
    network().fit(X, Y, callbacks=[mm.Resume(tmp_path)], **kept)
    with pytest.raises(ValueError, match=r"another model: variable .*kernel.*\(2, 3\)"):
        network(3).fit(X, Y[:, :1], callbacks=[mm.Resume(tmp_path)], **kept)
    model = network()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="another optimizer: it holds 2"):
        model.fit(X, Y, callbacks=[mm.Resume(tmp_path)], **kept)
    remember = [keras.callbacks.EarlyStopping("loss")]
    with pytest.raises(ValueError, match="`remember` wants the 0 callbacks"):
        resume = mm.Resume(tmp_path, remember=remember)
        network().fit(X, Y, callbacks=[resume], **kept)
    with pytest.raises(ValueError, match="`resume` wants `batch_size`"):
        mm.data.dataset.row_numbers(3, True, 0, resume=mm.Resume(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    before = (tmp_path / "training.state").read_bytes()
    monkeypatch.setattr("mmkeras.aside.os.replace", full)
    with pytest.raises(OSError, match="No space left.*still holds epoch 2, step 0"):
        network().fit(X, Y, epochs=3, callbacks=[mm.Resume(tmp_path)], **kept)
    assert (tmp_path / "training.state").read_bytes() == before
    assert os.listdir(tmp_path) == ["training.state"]
    (tmp_path / "training.state").write_bytes(b"\x00" * 20)
    with pytest.raises(ValueError, match="is not a training state"):
        network().fit(X, Y, callbacks=[mm.Resume(tmp_path)], **kept)


def test_steps_that_come_by_several_are_saved_too(tmp_path, monkeypatch):
    places = []
    write = mm.resume.StateFile.write

    def noted(self, about, arrays):
        places.append((about["epoch"], about["step"]))
        write(self, about, arrays)

    monkeypatch.setattr("mmkeras.resume.StateFile.write", noted)
    model = network()
    model.compile("sgd", "mse", steps_per_execution=2)
    model.fit(X, Y, batch_size=1, verbose=0, callbacks=[mm.Resume(tmp_path, every=3)])
    assert places == [(0, 4), (0, 6), (1, 0)]  # after 2, 4, 6 and 8 steps


def test_steps_that_are_done_are_not_read(tmp_path):
    resume = mm.Resume(tmp_path)
    resume.epoch, resume.skipped_steps = 5, 2
    rows = mm.data.dataset.row_numbers(7, True, 3, resume=resume, batch_size=2)
    found = list(rows.as_numpy_iterator())
    assert found == [-1] * 4 + list(mm.data.order(7, 3, 5)[4:])


def test_files_of_done_steps_are_not_opened(tmp_path):
    import pandas

    table = pandas.DataFrame({"clip": [b"broken", b"broken too"], "y": [1.0, 2.0]})
    resume = mm.Resume(tmp_path)
    resume.skipped_steps = 2
    clip = {"clip": mm.audio.Waveform(8000, 0.1)}
    rows = mm.data.from_table(table, clip, "y", batch_size=1, resume=resume)
    assert [float(x["clip_present"][0]) for x, _ in rows] == [0.0, 0.0]
