"""The law table's command: what it prints, and that it fails where a law is broken."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from mmkeras.fusion import Add
from mmkeras.run.build import fusions
from mmkeras.testing import LAWS, every_fusion, table
from mmkeras.testing.__main__ import main

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--modalities", "2", "--no-export"]


class Noisy(Add):
    """Draws at inference."""

    def fuse(self, features, presence):
        y = super().fuse(features, presence)
        return y + keras.random.normal(keras.ops.shape(y))


def test_every_fusion_is_in_the_table():
    assert {type(x) for x in every_fusion().values()} == set(fusions().values())


@pytest.mark.parametrize("rich", [True, False])
def test_prints_a_table(capsys, monkeypatch, rich):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["Add", "Concat", *QUICK]) == 0
    out = capsys.readouterr().out
    (header,) = [line for line in out.splitlines() if "fusion " in line]
    assert all(law in header for law in LAWS)
    assert "XLA" not in header
    rows = [x for x in out.splitlines() if x.strip("│ ").startswith(("Add", "Concat"))]
    assert [x.count(" ok") for x in rows] == [len(LAWS)] * 2
    assert f"2 fusions, {len(LAWS)} laws, 0 broken" in out


def test_fails_where_a_law_is_broken(capsys, monkeypatch):
    monkeypatch.setattr(table, "every_fusion", lambda: {"Noisy": Noisy(4)})
    assert main(QUICK) == 1
    said = capsys.readouterr()
    assert "BROKEN" in said.out
    assert "`Noisy` of 2 modalities breaks the law 'deterministic'" in said.err


def test_unknown_names(capsys):
    assert main(["Sum"]) == 2
    assert "Unknown names ['Sum']. Valid names: ['Add'" in capsys.readouterr().err


@pytest.mark.slow
def test_all_laws_hold_on_jax():
    """One form of each fusion, tokens beside vectors where it takes them.

    Without SavedModel and TFLite, which are TensorFlow's; see laws_on_jax.py.
    """
    # the last form of a class stands, so that Concat has its learned tokens
    forms = {type(x): name for name, x in every_fusion().items() if "norm" not in name}
    names = list(forms.values())
    halves = [start_on_jax(names[i::2]) for i in (0, 1)]  # side by side: a core each
    for process in halves:
        out, err = process.communicate()
        assert process.returncode == 0, out[-3000:] + err[-3000:]
        assert "\n0 broken" in out and " XLA ok" in out


def start_on_jax(names):
    return subprocess.Popen(
        [sys.executable, ROOT / "tests/testing/laws_on_jax.py", *names],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
