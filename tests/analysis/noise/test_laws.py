"""Laws of every corruption: level 0 is the identity bit for bit, seeded, in range."""

import numpy as np
import pytest

import mmkeras as mm
from mmkeras.analysis import noise
from mmkeras.analysis.noise.level import generator, lacking
from mmkeras.audio import Waveform
from mmkeras.image import Pixels
from mmkeras.text import TokenIds

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "##s", "##t", "red", "cup"]
TEXT = "a red  cups, b c  d e f gst h"
CONTRACTS = {
    "image": Pixels((24, 40)),
    "audio": Waveform(sampling_rate=4000, seconds=0.5),
    "text": TokenIds(WORDS, length=20),
}


def value(kind, strings=False):
    rng = np.random.default_rng(4)
    if kind == "image":
        return rng.uniform(0, 255, (24, 40, 3)).astype("float32")
    if kind == "audio":
        wave = np.zeros(2000, "float32")
        wave[:1500] = rng.normal(0, 0.3, 1500).clip(-1, 1)
        wave[7] = -0.0
        return wave
    return TEXT if strings else CONTRACTS["text"].read_cell(TEXT)


def every():
    for kind, contract in CONTRACTS.items():
        for strings in (False, True) if kind == "text" else (False,):
            for name, found in noise.corruptions(contract, strings).items():
                if name != noise.MISSING:
                    key = f"{kind}-{name}{'-string' * strings}"
                    yield pytest.param(found.apply, value(kind, strings), id=key)


def same(a, b):
    if isinstance(a, str):
        return a == b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("apply", "clean"), list(every()))
def test_laws(apply, clean):
    before = clean if isinstance(clean, str) else clean.copy()
    assert same(apply(clean, 0.0, np.random.default_rng(1)), before)
    seeds = (1, 1, 2)
    first, again, other = (apply(clean, 0.7, np.random.default_rng(x)) for x in seeds)
    assert same(first, again)
    assert not same(first, before)
    assert same(clean, before)  # what was given is left alone
    assert type(first) is type(clean)
    if not isinstance(clean, str):
        assert (first.dtype, first.shape) == (clean.dtype, clean.shape)
    with pytest.raises(ValueError, match=r"`level` wants .*\[0, 1\]. Received: 1.5"):
        apply(clean, 1.5, np.random.default_rng(1))
    with pytest.raises(ValueError, match="Received: nan"):
        apply(clean, float("nan"), np.random.default_rng(1))
    random = not any(x in str(apply) for x in ("blur", "jpeg", "clipping"))
    assert random != same(first, other)


def test_names_by_contract():
    def names(contract, **kwargs):
        return list(noise.corruptions(contract, **kwargs))

    assert names(CONTRACTS["audio"])[-1] == "missing"
    assert "typos" not in names(CONTRACTS["text"])
    assert "typos" in names(CONTRACTS["text"], strings=True)
    assert names(mm.tabular.Columns({"age": (0, 1)})) == ["missing"]


def test_generators_differ():
    draws = {
        generator(seed, modality, name, row).random()
        for seed in (0, 1)
        for modality in ("photo", "title")
        for name in ("noise", "blur")
        for row in range(3)
    }
    assert len(draws) == 24


def test_missing_rows_are_nested():
    rates = (0.0, 0.2, 0.4, 1.0)
    gone = [lacking(rate, 3, "photo", range(2000)) for rate in rates]
    assert not gone[0].any() and gone[-1].all()
    for few, more in zip(gone, gone[1:], strict=False):
        assert not (few & ~more).any()
    for rate, x in zip(rates, gone, strict=True):
        assert abs(x.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / 2000)
    # a part of the rows gives that part of the answer
    np.testing.assert_array_equal(lacking(0.4, 3, "photo", range(9, 50)), gone[2][9:50])
