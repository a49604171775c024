"""The token ids of a text for a model on a device, in plain Python.

Three files lie beside the model: its card, the vocabulary (token number i in line i)
and what each character becomes: lines "first last code points ...", in hexadecimal,
for the characters from first to last; "." is the character itself, no code point means
that it goes, and a character in no line stays. Another language needs no more than
these files and the forty lines below. `mmkeras.export` copies this file as it is.

    tokenizer = Tokenizer("products.tflite", "title")
    tokenizer("A red cup")  # [101, 1037, 2417, 2452, 102, 0, 0, ...]
"""

import bisect
import json
import pathlib


class Tokenizer:
    """Texts to ids as the model was trained on: [CLS], word pieces, [SEP], [PAD]."""

    def __init__(self, model, name):
        model = pathlib.Path(model)
        card = json.loads(model.with_name(f"{model.name}.json").read_text("utf-8"))
        card = card["modalities"][name]
        tokens = _lines(model.with_name(card["vocabulary"]))
        self.ids = {token: i for i, token in enumerate(tokens) if token}
        self.length, self.max_word_chars = card["shape"][0], card["max_word_chars"]
        self.first, self.becomes = [], []
        for line in _lines(model.with_name(card["characters"])):
            first, last, *points = line.split()
            # NUL, which no text keeps, stands for the character itself
            out = "".join("\0" if x == "." else chr(int(x, 16)) for x in points)
            self.first.append(int(first, 16))
            self.becomes.append((int(last, 16), out))

    def __call__(self, text):
        """A list of as many integers as the model takes; the empty text is [PAD]s."""
        words = "".join(map(self._character, text)).split()
        pieces = [piece for word in words for piece in self._pieces(word)]
        begin, end, padding = (self.ids[x] for x in ("[CLS]", "[SEP]", "[PAD]"))
        ids = [begin, *pieces[: self.length - 2], end] if text else []
        return ids + [padding] * (self.length - len(ids))

    def _character(self, character):
        place = bisect.bisect(self.first, ord(character)) - 1
        last, out = self.becomes[place]
        stays = place < 0 or ord(character) > last
        return character if stays else out.replace("\0", character)

    def _pieces(self, word):
        """The longest token that the rest of the word begins with, again and again."""
        found, start = [], 0
        while start < len(word) <= self.max_word_chars:
            for end in range(len(word), start, -1):
                token = ("##" if start else "") + word[start:end]
                if token in self.ids:
                    break
            else:
                return [self.ids["[UNK]"]]
            found.append(self.ids[token])
            start = end
        return found or [self.ids["[UNK]"]]


def _lines(path):
    # not splitlines: what Python takes for a line's end may be a token
    return path.read_bytes().decode("utf-8").split("\n")[:-1]
