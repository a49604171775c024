"""Shards that are killed while they are written, or written by two at once."""

import os
import platform
import signal
import subprocess
import sys
import time

import pytest

import mmkeras as mm
from mmkeras.data.sharding import manifest

KILLED = """
import os, signal, sys
import pandas
import mmkeras as mm
done = []
def kill(rows):
    done.append(rows)
    if sum(done) >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
mm.data.write_shards(sys.argv[1], sys.argv[2], rows_per_shard=2, progress=kill)
"""


@pytest.mark.slow
def test_killed_writing_goes_on(tmp_path, folder):
    out, whole = tmp_path / "broken", tmp_path / "whole"
    source = str(folder / "table.csv")
    mm.data.write_shards(source, whole, rows_per_shard=2)
    for rows in (3, 7):
        arguments = [sys.executable, "-c", KILLED, source, str(out), str(rows)]
        done = subprocess.run(arguments, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(list(out.glob("shard-*.json"))) == rows // 2
        assert not (out / "shards.json").exists()
    mm.data.write_shards(source, out, rows_per_shard=2)
    assert {x.name for x in out.iterdir()} == {x.name for x in whole.iterdir()}
    for path in whole.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_one_that_writes_the_same_does_not_disturb(tmp_path, monkeypatch):
    path = str(tmp_path / "shard-00000.json")
    with manifest.whole(path) as mine:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with manifest.whole(path) as other:
            for temporary, text in ((mine, "mine"), (other, "other")):
                with open(temporary, "w") as file:
                    file.write(text)
        monkeypatch.undo()
        with open(path) as file:
            assert file.read() == "other"
    with open(path) as file:
        assert file.read() == "mine"
    assert [x.name for x in tmp_path.iterdir()] == ["shard-00000.json"]


SAME = """
import sys
import mmkeras as mm
mm.data.write_shards(sys.argv[1], sys.argv[2], rows_per_shard=2)
"""


@pytest.mark.slow
def test_two_that_write_one_folder(tmp_path, folder):
    """The other one writes all of it while this one is at its first row."""
    both, whole = tmp_path / "both", tmp_path / "whole"
    source = str(folder / "table.csv")
    arguments = [sys.executable, "-c", SAME, source, str(both)]
    started = []

    def progress(_):
        if not started:
            started.append(subprocess.run(arguments, capture_output=True))

    mm.data.write_shards(source, both, rows_per_shard=2, progress=progress)
    assert started[0].returncode == 0, started[0].stderr
    mm.data.write_shards(source, whole, rows_per_shard=2)
    assert {x.name for x in both.iterdir()} == {x.name for x in whole.iterdir()}
    for path in whole.iterdir():
        assert path.read_bytes() == (both / path.name).read_bytes()


def test_what_killed_runs_left_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, mine = platform.node(), os.getpid()
    stays = [f"shard-00000.json.{here}-{mine}.tmp", "shard-1.json.else-7.tmp", "a.tmp"]
    goes = [f"shards.json.{here}-{ended.pid}.tmp", "shard-2.tfrecord.else-7.tmp"]
    for name in (*stays, *goes):
        (tmp_path / name).write_text("half")
    old = time.time() - 7200
    for name in ("shard-2.tfrecord.else-7.tmp", "a.tmp"):
        os.utime(tmp_path / name, (old, old))
    manifest.remove_dead(str(tmp_path))
    assert {x.name for x in tmp_path.iterdir()} == set(stays)
