"""Small pictures of coloured shapes, with questions or sentences about them.

    made = scenes.draw(1000, seed=0)
    made.pictures                        # uint8 (1000, 32, 32, 3)
    scenes.asked(made, seed=0)           # 1000 questions, answers and kinds
    scenes.pointed(made, seed=0)         # 1000 sentences and masks

Like CLEVR in little: three shapes a picture, in four colours and sizes from 3 to 5
pixels (half the width), anywhere without overlap, on a grey ground with noise.

Kinds of questions, one in five each where the picture allows it:

| kind | question | asked where |
|---|---|---|
| colour | what colour is the circle? | one thing has the shape |
| shape | what shape is the red one? | one thing has the colour |
| exists | is there a red square? | half the answers are no; then colour and shape may |
| | | both be there, not together |
| count | how many circles are there? how many red ones are there? | always |
| relation | what shape is left of the red one? | one thing is red, one left of it |

Sentences: "the red circle", "the circle left of the blue square", each true of one
thing. Left of: its centre at least 3 pixels further left.

Reference:
    Johnson et al. 2017, arXiv:1612.06890 (CLEVR). Nothing of it is copied.
"""

import collections
import dataclasses

import numpy as np

SIZE = 32
THINGS = 3
APART = 3.0  # pixels between centres from which one is left of the other
COLOURS = {
    "red": (200, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 210),
    "yellow": (220, 200, 40),
}
SHAPES = ("circle", "square", "triangle")
SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
KINDS = ("colour", "shape", "exists", "count", "relation")
ANSWERS = (*COLOURS, *SHAPES, "no", "yes", *map(str, range(THINGS + 1)))


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Pictures and what is in them.

    Args:
        pictures: uint8 `(count, 32, 32, 3)`, RGB.
        masks: bool `(count, 3, 32, 32)`, the pixels of each thing.
        colours, shapes: integers `(count, 3)`, places in `COLOURS` and `SHAPES`.
        centres: floats `(count, 3, 2)`, x and y in pixels.
    """

    pictures: np.ndarray
    masks: np.ndarray
    colours: np.ndarray
    shapes: np.ndarray
    centres: np.ndarray

    def __len__(self):
        return len(self.pictures)

    def names(self, row):
        """Colour and shape of each thing of one picture, as words."""
        colours = [tuple(COLOURS)[i] for i in self.colours[row]]
        return list(zip(colours, (SHAPES[i] for i in self.shapes[row]), strict=True))

    def beside(self, row, thing, side):
        """The things on one side of a thing, by their numbers."""
        axis, sign = SIDES[side]
        along = self.centres[row, :, axis]
        ahead = sign * (along - along[thing]) >= APART
        return [int(i) for i in np.flatnonzero(ahead)]


def draw(count, seed):
    """`Scenes` of as many pictures; the same seed draws the same ones."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(len(COLOURS), size=(count, THINGS))
    shapes = rng.integers(len(SHAPES), size=(count, THINGS))
    radii = rng.uniform(3.0, 5.0, size=(count, THINGS)).astype("float32")
    centres = _placed(rng, radii)
    masks = _inside(shapes, radii, centres)
    paint = np.array(list(COLOURS.values()), "float32")[colours]
    paint = paint * rng.uniform(0.8, 1.1, size=(count, THINGS, 1)).astype("float32")
    pictures = rng.normal(0, 6, size=(count, SIZE, SIZE, 3)).astype("float32")
    ground = rng.uniform(90, 150, size=(count, 1, 1, 1)).astype("float32")
    pictures += np.where(masks.any(1)[..., None], 0, ground)
    for thing in range(THINGS):
        pictures += masks[:, thing, :, :, None] * paint[:, thing, None, None]
    pictures = np.clip(pictures, 0, 255).astype("uint8")
    return Scenes(pictures, masks, colours, shapes, centres)


def _placed(rng, radii):
    """Centres whose things neither overlap nor leave the picture."""
    count = len(radii)
    centres = np.zeros((count, THINGS, 2), "float32")
    todo = np.arange(count)
    while len(todo):
        margin = radii[todo, :, None] + 0.5
        drawn = rng.uniform(margin, SIZE - margin, size=(len(todo), THINGS, 2))
        centres[todo] = drawn
        gaps = np.abs(drawn[:, :, None] - drawn[:, None]).max(-1)
        wanted = radii[todo][:, :, None] + radii[todo][:, None] + 1.0
        pairs = np.triu_indices(THINGS, 1)
        free = (gaps > wanted)[:, pairs[0], pairs[1]].all(1)
        todo = todo[~free]
    return centres


def _inside(shapes, radii, centres):
    """The pixels of each thing, bool `(count, things, height, width)`."""
    place = np.arange(SIZE, dtype="float32") + 0.5
    x = (place - centres[..., 0, None])[:, :, None, :]
    y = (place - centres[..., 1, None])[:, :, :, None]
    r = radii[:, :, None, None]
    circle = x**2 + y**2 <= r**2
    square = np.maximum(np.abs(x), np.abs(y)) <= 0.9 * r
    triangle = (np.abs(y) <= r) & (np.abs(x) <= (y + r) / 2)
    return np.choose(shapes[:, :, None, None], [circle, square, triangle])


def asked(made, seed):
    """One question about each picture.

    Returns:
        Three lists of strings: questions, answers, kinds.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for row in range(len(made)):
        found = questions(made, row, rng)
        kind = list(found)[rng.integers(len(found))]
        pairs = found[kind]
        rows.append((*pairs[rng.integers(len(pairs))], kind))
    return tuple(map(list, zip(*rows, strict=True)))


def questions(made, row, rng):
    """Everything that may be asked about a picture: kind -> [(question, answer)].

    Kinds are equally likely, and so are the questions of a kind.
    """
    things = made.names(row)
    colours = collections.Counter(colour for colour, _ in things)
    shapes = collections.Counter(shape for _, shape in things)
    found = {
        "colour": [(f"what colour is the {s}?", c) for c, s in things if shapes[s] == 1]
    }
    one = [(i, c, s) for i, (c, s) in enumerate(things) if colours[c] == 1]
    found["shape"] = [(f"what shape is the {c} one?", s) for _, c, s in one]
    found["exists"] = _exists(things, rng)
    found["count"] = [(f"how many {s}s are there?", str(shapes[s])) for s in SHAPES]
    found["count"] += [
        (f"how many {c} ones are there?", str(colours[c])) for c in COLOURS
    ]
    found["relation"] = []
    for i, colour, _ in one:
        for side in SIDES:
            beside = made.beside(row, i, side)
            if len(beside) == 1:
                question = f"what shape is {side} the {colour} one?"
                found["relation"].append((question, things[beside[0]][1]))
    return {kind: pairs for kind, pairs in found.items() if pairs}


def _exists(things, rng):
    """As many colours and shapes that are not there as there are."""
    there = sorted(set(things))
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in there]
    chosen = rng.permutation(len(absent))[: len(there)]
    pairs = [(x, "yes") for x in there] + [(absent[i], "no") for i in chosen]
    return [(f"is there a {c} {s}?", answer) for (c, s), answer in pairs]


def prior_of_pictures(made, seed):
    """The best share of right answers, in %, of who sees the picture alone.

    Exact for these pictures: the likeliest answer over all that may be asked.
    """
    rng = np.random.default_rng(seed)
    best = []
    for row in range(len(made)):
        found, chance = questions(made, row, rng), collections.Counter()
        for pairs in found.values():
            for _, answer in pairs:
                chance[answer] += 1 / len(pairs) / len(found)
        best.append(max(chance.values()))
    return 100 * float(np.mean(best))


def prior_of_questions(known, seen):
    """The share of right answers, in %, of who knows the questions alone.

    Each question gets the answer that is commonest for it among the known rows.

    Args:
        known, seen: pairs of lists, questions and answers; measured on the second.
    """
    table = collections.defaultdict(collections.Counter)
    for question, answer in zip(*known, strict=True):
        table[question][answer] += 1
    told = [table[x].most_common(1)[0][0] if table[x] else None for x in seen[0]]
    return 100 * float(np.mean(np.array(told) == np.array(seen[1])))


def pointed(made, seed):
    """One sentence about each picture, and the mask of the one thing it is true of.

    Where a picture allows both kinds, two in three sentences name a place. Pictures of
    which no sentence is true of one thing alone (three alike) are left out.

    Returns:
        Four: integer array of the pictures' rows, list of sentences, uint8 masks
        `(rows, 32, 32, 1)`, bool array `(rows,)`, whether a place is named.
    """
    rng = np.random.default_rng(seed)
    rows, sentences, targets, related = [], [], [], []
    for row in range(len(made)):
        plain, placed = _descriptions(made, row)
        pairs = placed if placed and rng.random() < 2 / 3 else plain
        if not pairs:
            continue
        rows.append(row)
        sentence, thing = pairs[rng.integers(len(pairs))]
        sentences.append(sentence)
        targets.append(thing)
        related.append(pairs is placed)
    masks = made.masks[rows, targets]
    return (
        np.array(rows),
        sentences,
        masks[..., None].astype("uint8"),
        np.array(related),
    )


def _descriptions(made, row):
    """Pairs (sentence, thing): by colour and shape, and by place.

    Of a place speak only sentences that need it: two things of the shape beside the
    other one, and one of them on that side.
    """
    things = made.names(row)
    alone = [i for i, x in enumerate(things) if things.count(x) == 1]
    plain = [(f"the {' '.join(things[i])}", i) for i in alone]
    placed = []
    for other in alone:
        shapes = collections.Counter(
            shape for i, (_, shape) in enumerate(things) if i != other
        )
        for side in SIDES:
            beside = made.beside(row, other, side)
            for i in beside:
                shape = things[i][1]
                if (
                    shapes[shape] > 1
                    and [things[j][1] for j in beside].count(shape) == 1
                ):
                    sentence = f"the {shape} {side} the {' '.join(things[other])}"
                    placed.append((sentence, i))
    return plain, placed
