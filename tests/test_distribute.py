"""The same program on one device, on two, and on two workers."""

import functools
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import mends

SCRIPT = Path(__file__).parent / "distribute_worker.py"


def start(out, how="library", config=None, devices=""):
    environment = {**os.environ, "MMKERAS_TEST_DEVICES": devices}
    environment.pop("TF_CONFIG", None)
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    return subprocess.Popen(
        [sys.executable, SCRIPT, out, how],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process):
    """Waits; gives the exit status and what it said."""
    try:
        said, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    return process.returncode, said


def two_workers(folder, how="library"):
    """Runs two workers over loopback; gives their statuses and what they said."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    workers = [
        start(
            folder / f"{how}{i}",
            how,
            {"cluster": cluster, "task": {"type": "worker", "index": i}},
        )
        for i in range(2)
    ]
    return [end(x) for x in workers]


def weights(path):
    with np.load(f"{path}.npz") as file:
        return [file[name] for name in file.files]


def noted(path):
    return json.loads(Path(f"{path}.json").read_text())


@pytest.mark.slow
def test_two_devices_and_two_workers_equal_one(tmp_path):
    one, two = start(tmp_path / "one"), start(tmp_path / "two", devices="two")
    for process in (one, two):
        status, said = end(process)
        assert status == 0, said[-2000:]
    for status, said in two_workers(tmp_path):
        assert status == 0, said[-2000:]
    wanted, alone = weights(tmp_path / "one"), noted(tmp_path / "one")
    for name in ("two", "library0", "library1"):
        for a, b in zip(wanted, weights(tmp_path / name), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        found = noted(tmp_path / name)
        np.testing.assert_allclose(found["scores"], alone["scores"], atol=1e-5)
        for key, values in alone["history"].items():
            np.testing.assert_allclose(found["history"][key], values, atol=1e-5)
    # 40 rows, 2 epochs: each worker opened half of the files
    assert alone["read"] == 80
    first, second = noted(tmp_path / "library0"), noted(tmp_path / "library1")
    assert first["read"] == second["read"] == 40
    assert (first["chief"], second["chief"]) == (True, False)
    assert (tmp_path / "library0.state/training.state").is_file()
    assert not (tmp_path / "library1.state").exists()


@pytest.mark.slow
def test_keras_still_needs_the_remedy(tmp_path):
    """Fails when Keras' `fit` works with several workers: then take ours out."""
    assert all(status != 0 for status, _ in two_workers(tmp_path, "plain"))


@pytest.mark.slow
def test_a_dead_worker_ends_the_others_with_an_error(tmp_path):
    """In time (`end` waits no longer than its limit), and says what to do."""
    begun = time.monotonic()
    (status, said), (killed, _) = two_workers(tmp_path, "dies")
    assert time.monotonic() - begun < 120
    assert killed == -9
    assert status not in (0, -9), said[-2000:]
    assert "ConnectionError: Another worker is gone" in said
    assert "training.state' holds epoch 1, step 3. Start the same program" in said
    assert (tmp_path / "dies0.state/training.state").is_file()


ALONE, CLUSTER = {"worker": ["a:1"]}, {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    "config, found",
    [
        (None, (0, 1)),
        ({}, (0, 1)),
        (
            {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}},
            (0, 1),
        ),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 1}}, (1, 2)),
        (
            {
                "cluster": {"chief": ["c:0"], **CLUSTER},
                "task": {"type": "worker", "index": 1},
            },
            (2, 3),
        ),
        (
            {
                "cluster": {"chief": ["c:0"], **CLUSTER},
                "task": {"type": "chief", "index": 0},
            },
            (0, 3),
        ),
    ],
)
def test_worker(monkeypatch, config, found):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert mm.distribute.worker() == found
    assert mm.distribute.is_chief() == (found[0] == 0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "TF_CONFIG wants JSON such as"),
        ("[1]", "TF_CONFIG wants JSON such as"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {}}', "KeyError"),
        (
            '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
            "parameter servers are not for Keras 3",
        ),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
            "names 2 workers, this one is worker 2",
        ),
    ],
)
def test_a_wrong_tf_config(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        mm.distribute.worker()


@pytest.fixture
def asked(monkeypatch):
    """Gives a function: the environment -> the strategy chosen, and what was mended."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def choose(gpus, config=None):
        found = []

        def listed(kind):
            assert kind == "GPU"
            return [f"/device:GPU:{i}" for i in range(gpus)]

        monkeypatch.setattr(tf.config, "list_logical_devices", listed)
        for name in ("multi_worker_fit", "optimizers"):
            mend = functools.partial(found.append, name)
            monkeypatch.setattr(mends, name, mend)
        for name in ("MirroredStrategy", "MultiWorkerMirroredStrategy"):
            monkeypatch.setattr(tf.distribute, name, lambda name=name: name)
        if config:
            monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        return mm.distribute.strategy(), found

    mm.distribute.strategy.cache_clear()
    yield choose
    mm.distribute.strategy.cache_clear()


def test_several_gpus(asked):
    assert asked(2) == ("MirroredStrategy", ["optimizers"])
    again = mm.distribute.strategy()
    assert again == "MirroredStrategy"  # of the first call


@pytest.mark.parametrize("gpus", [0, 1])
def test_one_device(asked, gpus):
    assert asked(gpus) == (tf.distribute.get_strategy(), [])


def test_several_workers_come_before_several_gpus(asked):
    config = {"cluster": CLUSTER, "task": {"type": "worker", "index": 1}}
    mended = ["multi_worker_fit", "optimizers"]
    assert asked(2, config) == ("MultiWorkerMirroredStrategy", mended)


def test_one_worker_has_all_of_its_gpus(asked):
    config = {"cluster": ALONE, "task": {"type": "worker", "index": 0}}
    assert asked(2, config) == ("MirroredStrategy", ["optimizers"])


def test_the_rows_of_a_batch_are_shared():
    numbers = mm.data.dataset.row_numbers
    found = [
        list(numbers(10, False, 0, batch_size=4, worker=(i, 2)).as_numpy_iterator())
        for i in (0, 1)
    ]
    assert found[0] == [0, 1, -1, -1, 4, 5, -1, -1, 8, 9]
    assert found[1] == [-1, -1, 2, 3, -1, -1, 6, 7, 8, 9]
    with pytest.raises(ValueError, match="a multiple of the 2 workers"):
        numbers(10, False, 0, batch_size=5, worker=(0, 2))


def test_the_last_batch_may_be_left_out():
    import pandas

    facts = {"size": mm.tabular.Columns(numeric={"size": (0.0, 1.0)})}
    table = pandas.DataFrame({"size": [1.0, 2.0, 3.0]})
    rows = mm.data.from_table(table, facts, batch_size=2, drop_remainder=True)
    assert len(rows) == 1
    assert [x["size"].shape[0] for x in rows] == [2]
