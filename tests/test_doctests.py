"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import mmkeras

MODULES = sorted(x.name for x in pkgutil.walk_packages(mmkeras.__path__, "mmkeras."))


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    names = {"mmkeras": mmkeras, "mm": mmkeras, "np": np, "keras": keras}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testmod(module, extraglobs=names, optionflags=flags)
    assert found.failed == 0


def test_the_public_parts_have_examples():
    finder = doctest.DocTestFinder()
    tried = sum(
        bool(x.examples)
        for name in MODULES
        for x in finder.find(importlib.import_module(name), name)
    )
    assert tried >= 20
