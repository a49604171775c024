"""The device's tokenizer gives the ids of our layer, the library and BERT itself."""

import importlib.util
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tokenizers

import mmkeras as mm
from mmkeras.export import companions
from tests.text import hard

OPTIONS = [(True, None), (False, None), (True, False), (False, True)]
LENGTH = 24
SAMPLE = [x for x in hard.HARD if x] + hard.fuzzed(700)


def layer(lowercase, strip_accents, length=LENGTH):
    words = mm.text.wordpiece_vocabulary(
        [x for x in hard.HARD if x.strip()], 900, lowercase, strip_accents
    )
    # tokens that Python's splitlines would cut, and one with a line break
    words += ["\u2028x", "a\nb", "\x1cz"]
    return mm.text.TokenIds(words, length, lowercase, strip_accents, max_word_chars=40)


def beside(folder, contract):
    """The module that an export puts beside a file, imported from there."""
    ids = mm.modality.tensor_input(contract, "title")
    rank = keras.layers.Embedding(len(contract.vocabulary), 2)(contract(ids))
    companions.write(keras.Model(ids, rank), folder / "my-model.tflite")
    file = folder / "my_model_tflite_tokenizer.py"
    spec = importlib.util.spec_from_file_location("beside", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Tokenizer(folder / "my-model.tflite", "title")


@pytest.mark.parametrize(("lowercase", "strip_accents"), OPTIONS)
def test_same_ids_as_layer_and_library(lowercase, strip_accents, tmp_path):
    contract = layer(lowercase, strip_accents)
    tokenizer = beside(tmp_path, contract)
    got = [tokenizer(text) for text in SAMPLE]
    np.testing.assert_array_equal(got, contract.read_cells(SAMPLE))
    np.testing.assert_array_equal(got, contract.read(SAMPLE).numpy())
    assert {len(x) for x in got} == {LENGTH}
    assert tokenizer("") == [contract.padding_id] * LENGTH
    for text in ("\ud800", "a \udfff cup", "\ud83d\ude00"):  # lone surrogates
        assert tokenizer(text) == contract.read_cell(text).tolist()


@pytest.mark.parametrize("cased", [False, True])
def test_same_ids_as_transformers(cased, tmp_path):
    import transformers

    contract = layer(not cased, None, length=64)
    tokenizer = beside(tmp_path, contract)
    words = tmp_path / "vocab.txt"
    words.write_text("\n".join(contract.vocabulary[:-3]), "utf-8")  # one token a line
    theirs = transformers.BertTokenizer(
        vocab=str(words), do_lower_case=not cased, model_max_length=64
    )
    backend = theirs.backend_tokenizer
    backend.model.max_input_chars_per_word = contract.max_word_chars
    # "[SEP]" that somebody typed stays text here, and is a special token there
    texts = [x for x in SAMPLE if not any(s in x for s in theirs.all_special_tokens)]
    wanted = theirs(texts, padding="max_length", truncation=True, max_length=64)
    for text, ids in zip(texts, wanted["input_ids"], strict=True):
        assert tokenizer(text) == ids, text


def test_every_character(tmp_path):
    """All of Unicode, each character between two letters."""
    contract = layer(True, None)
    tokenizer = beside(tmp_path, contract)
    draw = random.Random(0)
    points = [*range(1, 0x3100), *draw.sample(range(0x3100, 0x110000), 9000)]
    texts = [f"x{chr(c)}y" for c in points if not 0xD800 <= c < 0xE000]
    normalizer = tokenizers.normalizers.BertNormalizer()
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in texts:
        wanted = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        got = "".join(map(tokenizer._character, text)).split()
        assert got == [word for word, _ in wanted], ascii(text)


def test_plain_python_alone(tmp_path):
    """The module wants the standard library alone, and little of it."""
    contract = layer(True, None)
    wanted = beside(tmp_path, contract)("A red cup")
    code = (
        "import sys; from my_model_tflite_tokenizer import Tokenizer\n"
        "print(Tokenizer('my-model.tflite', 'title')('A red cup'))\n"
        "assert not {'numpy', 'tensorflow', 'tokenizers', 'mmkeras'} & set(sys.modules)"
    )
    flags = [sys.executable, "-S", "-c", code]
    done = subprocess.run(flags, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(wanted), done.stderr


def test_files_beside(tmp_path):
    beside(tmp_path, layer(True, None))
    assert sorted(x.name for x in tmp_path.iterdir() if x.is_file()) == [
        "my-model.tflite.json",
        "my-model.tflite.title.characters.txt",
        "my-model.tflite.title.vocab.txt",
        "my_model_tflite_tokenizer.py",
    ]
    lines = (tmp_path / "my-model.tflite.title.characters.txt").read_text().split("\n")
    assert "c8 cb 65" in lines  # È to Ë are e
    assert "21 2f 20 . 20" in lines  # ! to / stand alone
