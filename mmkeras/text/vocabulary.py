"""Where a WordPiece vocabulary comes from: a checkpoint's files, or sentences."""

import json
from pathlib import Path

#: What every vocabulary must hold: padding, unknown word, start and end of a text.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def wordpiece_vocabulary(sentences, size=1000, lowercase=True, strip_accents=None):
    """Learns a small WordPiece vocabulary, for encoders that start from nothing.

    Example:
    >>> vocabulary = mmkeras.text.wordpiece_vocabulary(["a red cup", "a red hat"])
    >>> vocabulary[:5]
    ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    >>> "red" in vocabulary
    True

    Args:
        sentences: iterable of strings.
        size: Integer, tokens at most; the alphabet of the sentences always enters.
        lowercase: Boolean, the same as `TokenIds` gets.
        strip_accents: Boolean, or None for the same as `lowercase`.

    Returns:
        List of strings: token number i at place i.

    Raises:
        ValueError: no sentence holds a character.
    """
    import tokenizers

    from mmkeras.text.wordpiece import normalizer

    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizer(lowercase, strip_accents)
    library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    sentences = list(sentences)
    inner = set()
    for sentence in sentences:
        sentence = library.normalizer.normalize_str(sentence)
        for word, _ in library.pre_tokenizer.pre_tokenize_str(sentence):
            inner.update(word[1:])
    special = [*SPECIAL, "[MASK]"]
    # the trainer would number these in the order of a hash map, another every time
    continued = sorted(f"##{character}" for character in inner)
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special + continued, show_progress=False
    )
    library.train_from_iterator(sentences, trainer)
    ids = library.get_vocab()
    if len(ids) <= len(special):
        raise ValueError(
            "`sentences` wants strings with at least one word. Received: none."
        )
    return sorted(ids, key=ids.get)


def read_tokenizer(folder):
    """What `TokenIds` needs from a BERT checkpoint's tokenizer files.

    Takes tokenizer.json or, where there is none, vocab.txt. Truncation and padding that
    tokenizer.json may carry are not read: `TokenIds` has a length of its own.

    Args:
        folder: path of a folder in the Hugging Face layout.

    Returns:
        dict with the arguments `vocabulary`, `lowercase`, `strip_accents` and
        `max_word_chars` of `TokenIds`.

    Raises:
        ValueError: there is neither file, or the tokenizer is not BERT's WordPiece.
    """
    folder = Path(folder)
    if (folder / "tokenizer.json").exists():
        options = _tokenizer_json(folder / "tokenizer.json")
    elif (folder / "vocab.txt").exists():
        options = _vocab_txt(folder / "vocab.txt")
    else:
        raise ValueError(
            f"A text checkpoint wants a tokenizer.json or a vocab.txt. Received: "
            f"folder '{folder}' with {_names(folder)}. Save the tokenizer beside the "
            f"model (`tokenizer.save_pretrained(folder)`)."
        )
    # as in transformers, the settings beside the tokenizer have the last word
    settings = folder / "tokenizer_config.json"
    settings = json.loads(settings.read_text("utf-8")) if settings.exists() else {}
    _plain(settings.get("tokenize_chinese_chars", True), "tokenize_chinese_chars")
    if "do_lower_case" in settings:
        options["lowercase"] = settings["do_lower_case"]
    if "strip_accents" in settings:
        options["strip_accents"] = settings["strip_accents"]
    return options


def _vocab_txt(path):
    lines = path.read_text("utf-8").split("\n")
    if not lines[-1]:
        lines.pop()
    # a token's number is its line, so an empty line stays
    vocabulary = [line.rstrip() for line in lines]
    return {"vocabulary": vocabulary, "lowercase": True, "strip_accents": None}


def _tokenizer_json(path):
    tokenizer = json.loads(path.read_text("utf-8"))
    model = tokenizer["model"]
    # the oldest files name no type
    if model.get("type", "WordPiece") != "WordPiece" or "vocab" not in model:
        raise ValueError(
            f"`TokenIds` reads WordPiece tokenizers. Received: '{path}' with model "
            f"type '{model.get('type')}'. Take a checkpoint of the BERT family."
        )
    normalizer = tokenizer.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        raise ValueError(
            f"`TokenIds` normalises text as BERT does. Received: '{path}' with "
            f"normalizer type '{normalizer.get('type')}'; wanted 'BertNormalizer'."
        )
    _plain(normalizer["clean_text"], "clean_text")
    _plain(normalizer["handle_chinese_chars"], "handle_chinese_chars")
    _plain(model["continuing_subword_prefix"] == "##", "continuing_subword_prefix")
    ids = dict(model["vocab"])
    for added in tokenizer.get("added_tokens", ()):
        _plain(added["special"], f"added_tokens, '{added['content']}'")
        ids[added["content"]] = added["id"]
    # numbers that no token has become "", which no text matches
    vocabulary = [""] * (max(ids.values()) + 1)
    for token, number in ids.items():
        vocabulary[number] = token
    return {
        "vocabulary": vocabulary,
        "lowercase": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "max_word_chars": model["max_input_chars_per_word"],
    }


def _plain(usual, name):
    """Refuses what the graph does not do, where ids would differ without a word."""
    if not usual:
        raise ValueError(
            f"`TokenIds` supports BERT's own tokenizer settings. Received: another "
            f"value of {name}, with which its ids would differ. Take another "
            f"checkpoint, or tokenize before mmkeras and give ids."
        )


def _names(folder):
    """The files of a folder, for an error message."""
    return sorted(x.name for x in Path(folder).iterdir()) or "no file"
