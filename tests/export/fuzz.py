"""Broken, hostile and good raw values, and what an endpoint must make of them."""

import io
import struct
import zlib

import numpy as np

import mmkeras as mm
from tests.export import parts

BIG = 20_000
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "##s", "u", "##ber"]


def model():
    """A model of a picture, a sentence, a sound and two columns of a table."""
    columns = mm.tabular.Columns({"age": (30.0, 10.0)}, {"colour": ["red", "blue"]})
    encoders = {
        "photo": parts.photo(),
        "title": mm.text.rnn(WORDS, length=16, units=4, embedding=4),
        "clip": parts.clip(),
        "facts": mm.tabular.mlp(columns, units=(4,)),
    }
    head = mm.heads.classification(parts.CLASSES).layer
    return mm.multimodal(encoders, mm.fusion.GatedFusion(16), head)


def pictures():
    """Bytes by kind: good pictures, cut and lying ones."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30, 3), "uint8")
    good = {form: encoded(pixels, form) for form in ("png", "jpeg", "gif", "bmp")}
    one = np.zeros((1, 1, 3), "uint8")
    made = {f"good {form}": raw for form, raw in good.items()}
    made["good webp"] = encoded(pixels, "webp")
    made |= {f"1x1 {form}": encoded(one, form) for form in good}
    made |= {f"huge {form}": huge(form, raw) for form, raw in good.items()}
    return made, good


def encoded(pixels, form):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def huge(form, raw):
    """The same file with a header that promises 20,000 x 20,000 pixels."""
    raw = bytearray(raw)
    if form == "png":
        raw[16:24] = struct.pack(">II", BIG, BIG)
        raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    elif form == "jpeg":
        place = raw.index(b"\xff\xc0")
        raw[place + 5 : place + 9] = struct.pack(">HH", BIG, BIG)
    elif form == "gif":
        raw[6:10] = struct.pack("<HH", BIG, BIG)
    else:
        raw[18:26] = struct.pack("<ii", BIG, BIG)
    return bytes(raw)


def waves():
    tone = (8000 * np.sin(np.arange(parts.SAMPLES) / 7)).astype("int16")
    good = parts.wav(tone)
    lying = bytearray(good)
    lying[40:44] = struct.pack("<I", 2**30)
    return {
        "good wav": good,
        "one sample": parts.wav(tone[:1]),
        "other rate": parts.wav(tone, 2 * parts.RATE),
        "lying wav": bytes(lying),
        "empty chunks": b"RIFF\0\0\0\0WAVE" + bytes(100_000),
    }, good


def texts():
    return {
        "good text": "red and über".encode(),
        "1 MB": b"red " * 250_000,
        "1 MB word": b"a" * 1_000_000,
        "long text": b"red " * 25_000,
        "long word": b"a" * 100_000,
        "long marks": "e\u0301".encode() * 33_000,
        "long Chinese": "漢".encode() * 33_000,
        "not UTF-8": b"red \xff\xfe\x80 blue",
        "lone surrogate": "red \ud800 blue".encode("utf-8", "surrogatepass"),
        "NUL": b"red\0blue",
    }


def lines():
    return {
        "good line": b" 25,red",
        "good quoted": b'25,"red, or blue"',
        "no cell": b",",
        "three fields": b"1,red,blue",
        "one field": b"1",
        "no number": b"old,red",
        "not finite": b"1e999,red",
        "NaN": b"nan,red",
        "open quote": b'1,"red',
        "two lines": b"1,red\n2,blue",
        "1 MB line": b"1," + b"red" * 333_333,
    }


class Requests:
    """An endless row of requests, the same for every seed.

    Args:
        seed: Integer.
    """

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.pictures, self.whole = pictures()
        self.waves, self.wave = waves()
        self.texts, self.lines = texts(), lines()

    def one(self):
        """`(kinds, raw)`: by modality what each value is, and the values."""
        count = self.rng.integers(1, 4)
        kinds, raw = {}, {}
        makers = {"photo": self._photo, "title": self._title, "clip": self._clip}
        makers["facts"] = self._facts
        for name, make in makers.items():
            pairs = [self._any(make) for _ in range(count)]
            kinds[name] = [kind for kind, _ in pairs]
            raw[name] = [value for _, value in pairs]
        return kinds, raw

    def _any(self, make):
        drawn = self.rng.random()
        if drawn < 0.15:
            return "empty", b""
        if drawn < 0.25:
            return "noise", self.rng.bytes(self.rng.integers(1, 3000))
        return make()

    def _photo(self):
        drawn = self.rng.random()
        form = self._choose(self.whole)
        raw = self.whole[form]
        if drawn < 0.3:
            return f"cut {form}", raw[: self.rng.integers(1, len(raw))]
        if drawn < 0.4:
            damaged = bytearray(raw)
            damaged[self.rng.integers(len(raw))] ^= 1 << self.rng.integers(8)
            return f"damaged {form}", bytes(damaged)
        kind = self._choose(self.pictures)
        return kind, self.pictures[kind]

    def _clip(self):
        if self.rng.random() < 0.3:
            return "cut wav", self.wave[: self.rng.integers(1, len(self.wave))]
        kind = self._choose(self.waves)
        return kind, self.waves[kind]

    def _title(self):
        kind = self._choose(self.texts)
        return kind, self.texts[kind]

    def _facts(self):
        kind = self._choose(self.lines)
        return kind, self.lines[kind]

    def _choose(self, table):
        return list(table)[self.rng.integers(len(table))]


#: What must be read, whatever else is in the request.
READ = ("good ", "1x1 ", "one sample", "not UTF-8", "lone surrogate", "NUL", "long ")
#: What must be refused. A cut BMP or GIF may hold all that its decoder wants.
REFUSED = ("huge ", "cut wav", "cut png", "cut jpeg", "other rate", "lying wav")
REFUSED += ("empty chunks", "1 MB", "noise", "three fields", "one field", "no number")
REFUSED += ("not finite", "NaN", "open quote", "two lines")
ABSENT = ("empty", "no cell")
#: Whose decoder may find damage that the frame does not show.
MAY_RAISE = ("damaged ", "cut bmp", "cut gif")


def verdict(name, kind):
    """What the status of a value must begin with, or None where both will do."""
    if kind in ABSENT:
        return "absent"
    if kind.startswith(READ) or name == "title" and kind == "noise":
        return "read"
    if name == "facts" and kind == "noise":  # may hold a single comma, and be a line
        return None
    return "refused: " if kind.startswith(REFUSED) else None


def problems(kinds, answer, error):
    """What is wrong with an answer, or an error, to a request: a list of strings.

    Args:
        kinds: dict of `Requests.one`.
        answer: dict, output -> numpy array, or None.
        error: the exception, or None.
    """
    flat = [(name, i, x) for name, row in kinds.items() for i, x in enumerate(row)]
    if error is not None:
        blamed = any(x.startswith(MAY_RAISE) for _, _, x in flat)
        return [] if blamed else [f"{kinds}: {error}"]
    found = []
    if not np.isfinite(answer["outputs"]).all():
        found.append(f"{kinds}: {answer['outputs']}")
    for name, i, kind in flat:
        wanted = verdict(name, kind)
        status = answer[f"{name}_status"][i].decode()
        if wanted and not status.startswith(wanted):
            found.append(f"{name}, {kind}: {status}")
    return found
