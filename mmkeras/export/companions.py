"""What lies beside an exported file: its card, and all that a device reads text by."""

import json
import re
from pathlib import Path

import numpy as np

from mmkeras.export import card, contracts, device_tokenizer, lite_graph
from mmkeras.export.folder import whole_files
from mmkeras.text.token_ids import TokenIds

_SURROGATES = (0xD800, 0xE000)


def whole(model, path, overwrite=False):
    """`folder.whole_files` for a file, what `write` puts beside it and what goes.

    Args:
        model: the model that the file is to hold.
        path: the file.
        overwrite: whether to replace a file that lies there, and its companions.
    """
    file = Path(path)
    return whole_files(path, overwrite, _names(model, file), _stale(file))


def _names(model, file):
    """Names of what `write` will put beside a file."""
    found = {card.beside(file).name}
    for name, contract in lite_graph.contracts(model).items():
        if isinstance(contract, TokenIds):
            found.update(_of_text(name, file))
        elif "vocabulary" in contract.get_config():
            found.add(_of_text(name, file)[0])
    return sorted(found)


def _stale(file):
    """Names of a text's files that an export before has put beside a file."""
    try:
        modalities = list(card.read_card(file)["modalities"])
    except (ValueError, KeyError, TypeError):  # no card, or none of ours
        return []
    found = {x for name in modalities for x in _of_text(name, file)}
    others = (x for x in file.parent.iterdir() if x.name != file.name)
    if any(_module(x) == _module(file) for x in others):
        found.discard(_module(file))  # that of a-b.tflite is that of a_b.tflite
    # a card cannot name files of another folder
    own = [x for x in found if Path(x).name == x]
    return sorted(x for x in own if file.with_name(x).is_file())


def _of_text(name, file):
    """Names of a text's three files: vocabulary, characters, tokenizer."""
    begin = f"{file.name}.{name}"
    return f"{begin}.vocab.txt", f"{begin}.characters.txt", _module(file)


def _module(file):
    return re.sub(r"\W", "_", file.name) + "_tokenizer.py"


def write(model, file, quantize=None):
    """Writes the card of a file, and for texts what turns them into ids.

    Args:
        model: the model that the file holds.
        file: `pathlib.Path` of the file.
        quantize: as `LiteReport` has it.
    """
    found = lite_graph.contracts(model)
    described = contracts.write(found, file.parent, f"{file.name}.")
    modalities = card.modalities(found)
    for name, contract in found.items():
        if isinstance(contract, TokenIds):
            modalities[name] |= _text(contract, name, file)
    description = {
        "name": model.name,
        "modalities": modalities,
        "inputs": {
            name: {"shape": list(x.shape[1:]), "dtype": x.dtype}
            for name, x in lite_graph.inputs(model).items()
        },
        "outputs": card.outputs(model),
        "quantize": quantize,
        "contracts": described,
        "versions": card.versions(),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    card.beside(file).write_text(text, encoding="utf-8")


def _text(contract, name, file):
    """The files of a text's tokenizer, as the card names them."""
    words, table, module = _of_text(name, file)
    lines = characters(contract.lowercase, contract.strip_accents)
    file.with_name(table).write_text("".join(f"{x}\n" for x in lines), "utf-8")
    code = Path(device_tokenizer.__file__).read_text("utf-8")
    file.with_name(module).write_text(code, "utf-8")
    return {
        "vocabulary": words,
        "characters": table,
        "tokenizer": module,
        "lowercase": contract.lowercase,
        "strip_accents": contract.strip_accents,
        "max_word_chars": contract.max_word_chars,
    }


def characters(lowercase, strip_accents):
    """What each character becomes before a text is cut into words, as lines.

    Args:
        lowercase: Boolean.
        strip_accents: Boolean, or None for the same as `lowercase`.

    Returns:
        list of strings "first last code points ...", in the form and for the use that
        `device_tokenizer` tells of.
    """
    from mmkeras.text.wordpiece import _SELF, character_table

    page, index, rows = character_table(lowercase, strip_accents)
    gone = int(np.flatnonzero((rows == 0).all(axis=1))[0])
    row = index[page].ravel().astype("int64")
    row[slice(*_SURROGATES)] = gone
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    ends = np.append(starts[1:], len(row)) - 1
    words = [
        " ".join("." if x == _SELF else f"{x:x}" for x in out if x)
        for out in rows.tolist()
    ]
    return [
        f"{start:x} {end:x} {words[row[start]]}".rstrip()
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        if row[start]
    ]
