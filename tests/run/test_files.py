"""Files of a run on a full disk."""

import os
from pathlib import Path

import pytest

from mmkeras.run.logs import HistoryFile


def test_a_full_disk_is_told_by_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    history = HistoryFile(tmp_path / "head/history.csv")
    history.on_epoch_end(0, {"loss": 0.5})

    def full(self, text, encoding):
        with open(self, "w", encoding=encoding) as file:
            file.write(text[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"history\.csv' could not .*No space left.*room"):
        history.on_epoch_end(1, {"loss": 0.4})
    assert os.listdir(tmp_path / "head") == ["history.csv"]
    assert (tmp_path / "head/history.csv").read_text().split() == [
        "epoch,loss",
        "0,0.5",
    ]
