"""What a comparison has finished: a line a run in runs.jsonl, its answers beside it.

<folder>/settings.json           what all runs share; others are refused
<folder>/runs.jsonl              a line a run, whole or not at all
<folder>/answers/<run>.npz       labels and outputs on the val and test rows
"""

import json
import os
import re
from pathlib import Path

import numpy as np

from mmkeras.aside import aside
from mmkeras.run import files


class Store:
    """The finished runs of a folder, by (method, seed, fold).

    Args:
        folder: path; made if it is not there.
        settings: dict of plain values.

    Raises:
        ValueError: the folder holds runs of other settings.
    """

    def __init__(self, folder, settings):
        self.folder = Path(folder)
        self._check(json.loads(json.dumps(settings, default=str)))
        self.runs, self.costs = {}, {}
        self._lines = self.folder / "runs.jsonl"
        for line in self._whole_lines():
            self._take(json.loads(line))

    def __contains__(self, key):
        return key in self.runs

    def add(self, key, answers, **facts):
        """Keeps a finished run.

        Args:
            key: (method, seed, fold).
            answers: dict, name -> array.
            **facts: plain values.
        """
        method, seed, fold = key
        word = re.sub(r"\W+", "_", method).strip("_")
        name = f"{len(self.runs):04d}_{word}_{seed}_{fold}.npz"
        with aside(self.folder / "answers" / name) as temporary:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **answers)
        self._append(
            {"method": method, "seed": seed, "fold": fold, "answers": name, **facts}
        )

    def add_cost(self, method, latency):
        """Keeps a method's median time for one row, in ms."""
        self._append({"cost": method, "latency": latency})

    def answers(self, key):
        """The arrays of a run."""
        with np.load(self.folder / "answers" / self.runs[key]["answers"]) as file:
            return dict(file)

    def _append(self, record):
        with open(self._lines, "ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(record)

    def _take(self, record):
        if "cost" in record:
            self.costs[record["cost"]] = record["latency"]
        else:
            self.runs[record["method"], record["seed"], record["fold"]] = record

    def _whole_lines(self):
        """The lines; what a kill left without its end is cut off."""
        if not self._lines.is_file():
            return []
        text = self._lines.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            with aside(self._lines) as temporary:
                temporary.write_bytes(whole)
        return whole.splitlines()

    def _check(self, settings):
        path = self.folder / "settings.json"
        if not path.is_file():
            files.write_json(path, settings)
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(x for x in {*settings, *kept} if settings.get(x) != kept.get(x))
        if other:
            shown = ", ".join(
                f"{x}={kept.get(x)!r}, now {settings.get(x)!r}" for x in other
            )
            raise ValueError(
                f"The comparison in '{self.folder}' has other settings: {shown}. Give "
                f"the same to go on with it, or another --out."
            )
