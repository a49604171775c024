"""RoBERTa with a WordPiece vocabulary, against the numbers of transformers' torch.

tests/reference/roberta_tiny is what `RobertaModel(config).save_pretrained` wrote for a
random network of two layers (seed 0, initializer_range 0.3), with its answers for four
padded rows in expected.npz.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmkeras.text import bert

FOLDER = Path(__file__).parent.parent / "reference" / "roberta_tiny"
LENGTH = 12


@pytest.fixture
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def test_tokens_and_pooler_are_the_originals(expected):
    found = bert(str(FOLDER), length=LENGTH, pooling=None)(expected["ids"])
    there = expected["ids"] != 1
    np.testing.assert_array_equal(found["mask"], there)
    tokens = np.asarray(found["tokens"])
    np.testing.assert_allclose(tokens[there], expected["tokens"][there], atol=1e-5)
    pooled = bert(str(FOLDER), length=LENGTH, pooling="pooler")(expected["ids"])
    np.testing.assert_allclose(pooled, expected["pooled"], atol=1e-5)


def test_positions_start_behind_the_padding_id(expected):
    with pytest.raises(ValueError, match="at most 12.*length=13"):
        bert(str(FOLDER), length=13)


def test_byte_pairs_are_refused(tmp_path):
    folder = tmp_path / "roberta"
    shutil.copytree(FOLDER, folder)
    (folder / "vocab.txt").unlink()
    (folder / "vocab.json").write_text(json.dumps({"a": 0}))
    (folder / "merges.txt").write_text("a b")
    with pytest.raises(ValueError, match="vocab.txt"):
        bert(str(folder), length=LENGTH)
