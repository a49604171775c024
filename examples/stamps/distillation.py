"""A teacher of pictures and captions for a student that sees one of them.

    python -m examples.stamps.distillation

Frozen features of task A (few_labels.py): 547 train rows and 168 stamps without class;
"few" is 20 % of the labels. The teacher learns from the labelled rows; a taught student
from them and, through the teacher, from all rows (temperature 1, 30 % of the loss the
labels', 70 % the teacher's logits). All are linear classifiers on the features with the
same number of steps, and keep their best moment on val, where rate and temperature were
chosen, too, on six of the splits. Each seed is a split of its own.

"taught by itself": the teacher sees the student's modality alone, so that the caption's
share of what is gained can be told. "tower": a two_tower learns from all rows without
labels, its picture tower begins the classifier; its control is the same network, new.
Speech of unseen nouns carries no class here: it makes no fair student.

Test accuracy in %, mean of 20 seeds (range), on about 114 rows each; 7 minutes of CPU:

    |                          | all labels       | few labels       |
    |--------------------------|------------------|------------------|
    | teacher                  | 81.1 (75.4-86.8) | 68.6 (59.6-79.8) |
    | picture                  | 65.4 (60.5-71.9) | 56.5 (47.4-64.0) |
    | picture taught by itself |                  | 57.7 (49.1-64.9) |
    | picture taught           | 65.5 (61.4-70.2) | 60.1 (42.1-67.5) |
    | caption                  |                  | 60.6 (48.2-71.1) |
    | caption taught           |                  | 62.8 (54.4-71.9) |
    | picture new tower        |                  | 55.4 (49.1-63.2) |
    | picture tower            |                  | 55.7 (47.4-64.0) |

With few labels a student of pictures gains 3.6, of which 2.5 (standard error 0.6, seed
by seed) come from the captions that its teacher saw, and 1.1 (0.5) from rows without a
label; a student of captions gains 2.2 (0.7). With all labels the teacher teaches
nothing, and a tower trained on pairs is no better a beginning than a new one.
"""

import sys

import keras
import numpy as np

import mmkeras as mm
from examples import measured
from examples.measured import Expected
from examples.stamps import few_labels

PICTURE, CAPTION, BOTH = ("photo",), ("title",), few_labels.NAMES
STEPS, RATE = 200, 5e-3
SHARES = {"all labels": 1.0, "few labels": 0.2}

# ranges: two standard errors of the mean over the seeds, from their range
EXPECTED = {
    "teacher, all labels": Expected(79, 83, control="picture, all labels"),
    "picture, all labels": Expected(63.5, 67.5),
    "picture taught, all labels": Expected(63.5, 67.5),
    "teacher, few labels": Expected(66, 71, control="picture, few labels"),
    "picture, few labels": Expected(54.5, 58.5),
    "picture taught, few labels": Expected(
        57.5, 62.5, control="picture taught by itself, few labels"
    ),
    "picture taught by itself, few labels": Expected(
        55.5, 60, control="picture, few labels"
    ),
    "caption, few labels": Expected(57.5, 63.5),
    "caption taught, few labels": Expected(60, 65.5, control="caption, few labels"),
    "picture new tower, few labels": Expected(53.5, 57.5),
    "picture tower, few labels": Expected(53, 58.5),
}


def measure(options):
    stamps = few_labels.Stamps(options)
    steps = 4 if options.smoke else STEPS
    for seed in range(options.seeds):
        keras.utils.set_random_seed(seed)
        found = {}
        for text, share in SHARES.items():
            rows = stamps.rows(seed, share)
            scores = Trial(rows, steps, seed).run(few=share < 1)
            found |= {f"{key}, {text}": score for key, score in scores.items()}
        yield found


class Trial:
    """All networks of one split."""

    def __init__(self, rows, steps, seed):
        self.rows, self.steps, self.seed = rows, steps, seed

    def run(self, few):
        """Test accuracies by name; all of them where labels are few."""
        teacher, picture = self.alone(BOTH), self.alone(PICTURE)
        made = {"teacher": (teacher, BOTH), "picture": (picture, PICTURE)}
        made["picture taught"] = self.taught(PICTURE, teacher), PICTURE
        if few:
            made["picture taught by itself"] = self.taught(PICTURE, picture), PICTURE
            made["caption"] = self.alone(CAPTION), CAPTION
            made["caption taught"] = self.taught(CAPTION, teacher), CAPTION
            made["picture new tower"] = self.begun(learn=False), PICTURE
            made["picture tower"] = self.begun(learn=True), PICTURE
        return {
            key: few_labels.accuracy(self.rows, network, names)
            for key, (network, names) in made.items()
        }

    def alone(self, names, encoders=None):
        """A classifier that learns from the labels."""
        return self._train(self.network(names, encoders), names, self.rows.labelled)

    def network(self, names, encoders=None):
        """A new classifier: the features side by side, and a dense layer."""
        fusion = mm.fusion.Concat()
        return few_labels.classifier(self.rows, names, encoders, fusion)

    def taught(self, names, teacher):
        """A classifier that learns from the labels and a teacher of all rows."""
        student = self.network(names)
        through = mm.distillation.distiller(
            teacher, student, labels=0.3, temperature=1.0
        )
        return self._train(student, names, self.everything(), through)

    def begun(self, learn):
        """A picture classifier that begins as one of two towers, trained or new."""
        made = few_labels.encoders(self.rows)
        towers = mm.two_tower(made, few_labels.UNITS)
        if learn:
            contrast(towers, self.rows, self.everything(), self.steps, self.seed)
        return self.alone(PICTURE, {"photo": mm.tower(towers, "photo")})

    def everything(self):
        return np.union1d(self.rows.labelled, self.rows.unlabelled)

    def _train(self, network, names, places, through=None):
        return few_labels.train(
            self.rows, network, names, places, self.steps, self.seed, through, RATE
        )


def contrast(towers, rows, places, steps, seed):
    """Trains two towers on pairs, without labels."""
    order = few_labels.passes(places, steps * few_labels.BATCH, seed)
    few_labels.fit(towers, rows.inputs(order), None, steps)


if __name__ == "__main__":
    sys.exit(measured.main(measure, EXPECTED, __doc__, __file__, seeds=20))
