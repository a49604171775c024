"""The embedded set: pictures, sentences and sounds whose best possible score is known.

Each row is a scene on the coast of three bits: place (land, sea), time (day, night) and
weather (calm, storm); its class is all three, 8 in all, equally likely. The three
modalities tell of them through symbols, each a small number:

    photo  place, wrong in 5 % of the rows, and a flag f (a fair coin), wrong in 3 %
    title  time, wrong in 5 %; place, wrong in 20 %; weather, wrong in 30 %
    clip   time, wrong in 20 %, and a siren s, wrong in 3 %; s differs from f in a storm

So photo and title share some of the place, title and clip some of the time, and the
weather is an interaction: flag and siren are two coins alone, and the weather together.
Symbols are drawn large and clear, so that the best possible accuracy is that of this
table of probabilities, and `best_accuracy` works it out by enumeration. Each modality
is missing from 15 % of the rows, whatever their class.

Nothing here imports TensorFlow.
"""

import csv
import itertools
from pathlib import Path

import numpy as np

from mmkeras.aside import aside
from mmkeras.run import demo_render

MODALITIES = ("photo", "title", "clip")
# what the files hold, for encoders that want to know it beforehand
SIZE = (demo_render.SIDE, demo_render.SIDE)
SAMPLING_RATE = demo_render.SAMPLING_RATE
SECONDS = demo_render.SECONDS
MISSING = 0.15
ROWS = {"train": 1600, "val": 300, "test": 800}
WORDS = (("land", "sea"), ("day", "night"), ("calm", "storm"))
CLASSES = tuple("-".join(x) for x in itertools.product(*WORDS))

# What each modality shows, as bits: name -> probability that it is wrong. A symbol is
# its bits read as one binary number, the first bit the highest.
SHOWS = {
    "photo": {"place": 0.05, "flag": 0.03},
    "title": {"time": 0.05, "place": 0.20, "weather": 0.30},
    "clip": {"time": 0.20, "siren": 0.03},
}


def truth():
    """The bits of each of the 16 equally likely states: class x flag.

    Returns:
        dict, bit -> integers `(16,)`; "class" is the index into `CLASSES`.
    """
    place, time, weather, flag = np.array(list(itertools.product((0, 1), repeat=4))).T
    bits = {"place": place, "time": time, "weather": weather, "flag": flag}
    bits["siren"] = flag ^ weather
    return {**bits, "class": 4 * place + 2 * time + weather}


def symbol_table(modality):
    """p(symbol | state) of a modality: array `(16, symbols)`, rows sum to 1."""
    bits, table = truth(), np.ones((16, 1))
    for name, wrong in SHOWS[modality].items():
        right = np.where(bits[name][:, None] == [0, 1], 1 - wrong, wrong)
        table = (table[:, :, None] * right[:, None, :]).reshape(16, -1)
    return table


def best_accuracy(subset, missing=True):
    """The accuracy that nothing can beat on average, with only `subset` shown.

    sum over symbols s of max_y p(y, s): always guess the likeliest class.

    Example:
    >>> mmkeras.run.demo_data.best_accuracy([])
    0.125

    Args:
        subset: names of the modalities shown, in any order.
        missing: True: each is still missing from 15 % of the rows, as in the table;
            False: rows that have them all.

    Raises:
        ValueError: unknown modality.
    """
    subset = _checked(subset)
    if not missing:
        return _enumerate(subset)
    total = 0.0
    for there in itertools.product((True, False), repeat=len(subset)):
        seen = tuple(x for x, kept in zip(subset, there, strict=True) if kept)
        gone = len(subset) - len(seen)
        total += (1 - MISSING) ** len(seen) * MISSING**gone * _enumerate(seen)
    return total


def best_accuracies(missing=True):
    """`best_accuracy` of every subset: dict, tuple of names -> Float."""
    sizes = range(len(MODALITIES) + 1)
    every = [x for size in sizes for x in itertools.combinations(MODALITIES, size)]
    return {subset: best_accuracy(subset, missing) for subset in every}


def draw(rows, rng):
    """Draws rows of the model, as symbols.

    Args:
        rows: Integer.
        rng: `np.random.Generator`.

    Returns:
        dict: "class" -> integers `(rows,)`; modality -> symbols `(rows,)`, -1 where it
        is missing.
    """
    state = rng.integers(0, 16, rows)
    found = {"class": truth()["class"][state]}
    for modality in MODALITIES:
        edges = symbol_table(modality).cumsum(1)[state]
        symbols = (rng.random(rows)[:, None] >= edges[:, :-1]).sum(1)
        found[modality] = np.where(rng.random(rows) < MISSING, -1, symbols)
    return found


def write(folder, rows=None, seed=0):
    """Writes the set: photo/*.png, clip/*.wav and table.csv.

    The table's columns are photo and clip (paths relative to the table), title, label
    (a name of `CLASSES`) and split (train, val, test). A missing value is an empty
    cell.

    Args:
        folder: where to; made if it is not there.
        rows: dict, split -> how many; default: `ROWS`.
        seed: Integer; the same seed writes the same files.

    Returns:
        `pathlib.Path` of the table, which is written last.
    """
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    for name in ("photo", "clip"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [("photo", "title", "clip", "label", "split")]
    for split, count in (rows or ROWS).items():
        drawn = draw(count, rng)
        for i in range(count):
            name = f"{split}{i:05d}"
            symbols = {x: bits_of(x, drawn[x][i]) for x in MODALITIES}
            cells = _write_row(folder, name, symbols, rng)
            lines.append((*cells, CLASSES[drawn["class"][i]], split))
    with aside(folder / "table.csv") as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    return folder / "table.csv"


def bits_of(modality, symbol):
    """A symbol as a dict, bit -> 0 or 1; None for -1, the missing one."""
    if symbol < 0:
        return None
    names = list(SHOWS[modality])
    return {x: int(symbol) >> i & 1 for i, x in enumerate(reversed(names))}


def _write_row(folder, name, symbols, rng):
    photo = title = clip = ""
    if symbols["photo"]:
        photo = f"photo/{name}.png"
        picture = demo_render.picture(**symbols["photo"], rng=rng)
        (folder / photo).write_bytes(demo_render.png(picture))
    if symbols["title"]:
        title = demo_render.sentence(**symbols["title"], rng=rng)
    if symbols["clip"]:
        clip = f"clip/{name}.wav"
        sound = demo_render.sound(**symbols["clip"], rng=rng)
        (folder / clip).write_bytes(demo_render.wav(sound))
    return photo, title, clip


def _enumerate(subset):
    """Accuracy of the likeliest class, every modality of `subset` being there."""
    joint = np.full((16, 1), 1 / 16)
    for modality in subset:
        table = symbol_table(modality)
        joint = (joint[:, :, None] * table[:, None, :]).reshape(16, -1)
    by_class = np.zeros((len(CLASSES), joint.shape[1]))
    np.add.at(by_class, truth()["class"], joint)
    return float(by_class.max(0).sum())


def _checked(subset):
    subset = [subset] if isinstance(subset, str) else list(subset)
    unknown = sorted(set(subset) - set(MODALITIES))
    if unknown:
        raise ValueError(f"`subset` wants names of {MODALITIES}. Received: {unknown}")
    return tuple(x for x in MODALITIES if x in subset)
