"""Which pixels a sentence speaks of: a U-Net whose places and words ask each other.

    python -m examples.scenes.segmentation [--seeds N] [--smoke]

Generated pictures of three shapes (`scenes`) with sentences such as "the red circle" or
"the circle left of the blue square", each true of one thing. The same four convolutions
as in vqa.py, first taught which things are there; a BERT of one layer for the words;
`mm.segmentation.unet` up to 32 x 32. 16,000 pictures with 3 sentences each, every row
seen once; 2,000 others are for the test.

Intersection over union in %, mean over the pictures, one seed:

with its sentence 95.1, where the sentence names a place 99.4;
with the sentence of the next picture, the same model: 21.0;
picture alone, trained without sentences on an eighth of the rows: 31.2;
all things at once: 33.5, computed from the masks.

With FiLM alone from a GRU's vector (as many steps) sentences that name a place stay at
46.7, chance between the two things of the shape, and the mean at 66.4. About six CPU
minutes a seed on a busy machine.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import mmkeras as mm
from examples import measured
from examples.measured import Expected
from examples.scenes import scenes
from examples.scenes.learning import answers, fit, network, pretrain, question

UNITS = (64, 32, 24, 16)
EXPECTED = {
    "mean IoU": Expected(90.0, 99.0, control="mean IoU, sentences shuffled"),
    "mean IoU, a place is named": Expected(90.0, 100.0, control="mean IoU, all things"),
    "mean IoU, sentences shuffled": Expected(15.0, 27.0),
    "mean IoU, picture alone": Expected(20.0, 34.0),
    "mean IoU, all things": Expected(32.0, 35.0),
}


def rows(made, seed, contract, times=1):
    """Model inputs, masks, and whether a place is named; `times` a picture."""
    drawn = [scenes.pointed(made, [*seed, i]) for i in range(times)]
    places, sentences, masks, related = zip(*drawn, strict=True)
    places = np.concatenate(places)
    inputs = {
        "photo": made.pictures[places],
        "title": contract.read_cells(sum(sentences, [])),
    }
    inputs |= {f"{name}_present": np.ones(len(places)) for name in list(inputs)}
    return inputs, np.concatenate(masks), np.concatenate(related), places


def iou(found, masks):
    """Intersection over union of each picture, in %."""
    found, masks = found.astype(bool), masks.astype(bool)
    either = np.maximum((found | masks).sum((1, 2, 3)), 1)
    return 100 * (found & masks).sum((1, 2, 3)) / either


def run(seed, counts=(16000, 2000), times=3, epochs=6, layers=3, eager=False):
    """One seed's numbers, and the model."""
    keras.utils.set_random_seed(seed)
    made = scenes.draw(counts[0], [seed, 0])
    unseen = scenes.draw(counts[1], [seed, 1])
    _, sentences, _, _ = scenes.pointed(made, [seed, 2])
    words = mm.text.wordpiece_vocabulary(sentences, size=200)
    start = network()
    pretrain(start, made, epochs, eager)
    found, model = {}, {}
    for name in ("mean IoU", "mean IoU, picture alone"):
        encoders = {"photo": mm.image.from_model(start, scaling="tf")}
        sentence = question(words)
        if name == "mean IoU":
            encoders["title"] = sentence
        contract = mm.modality.contract(sentence)
        train, test = (
            rows(made, [seed, 3], contract, times),
            rows(unseen, [seed, 4], contract),
        )
        model[name] = mm.segmentation.unet(encoders, units=UNITS, layers=layers)
        few = len(train[1]) // (1 if name == "mean IoU" else 8)
        given = {x: train[0][x][:few] for x in model[name].input}
        loss = mm.segmentation.MaskLoss()
        fit(model[name], given, train[1][:few], loss, batch_size=64, eager=eager)
        each = iou(answers(model[name], test[0]) > 0, test[1])
        found[name] = each.mean()
        if name == "mean IoU":
            found["mean IoU, a place is named"] = each[test[2]].mean()
            other = {**test[0], "title": np.roll(test[0]["title"], 1, axis=0)}
            each = iou(answers(model[name], other) > 0, test[1])
            found["mean IoU, sentences shuffled"] = each.mean()
    everything = unseen.masks[test[3]].any(1)[..., None]
    found["mean IoU, all things"] = iou(everything, test[1]).mean()
    return {k: float(x) for k, x in found.items()}, model["mean IoU"]


def measure(options):
    small = {"counts": (64, 32), "times": 1, "epochs": 1}
    small = {**small, "layers": 1, "eager": True} if options.smoke else {}
    for seed in range(options.seeds):
        found, _ = run(seed, **small)
        yield found


if __name__ == "__main__":
    sys.exit(measured.main(measure, EXPECTED, __doc__, __file__, seeds=1))
