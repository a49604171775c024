"""The stamps with their frozen encoders, as the recipes here want them.

    stamps = frozen.load(options)                  # options of measured.main
    model = mm.multimodal(stamps.encoders, ...)
    mm.transfer.freeze(model)
    rows = stamps.features(model, stamps.parts["train"], label="label")
    mm.transfer.trunk(model).fit(*rows.arrays(), ...)

EfficientNet-Lite0 (pictures, 1280 numbers), MiniLM (captions, 384) and MFCC statistics
(speech, 80; scaled by the training rows). Each runs once: features stay in
.cache/features. Wants `make assets` and prepare.py. A smoke run gets the demo's
generated rows and encoders of a few weights in their place.
"""

import dataclasses
from pathlib import Path

import keras

import mmkeras as mm
from mmkeras.run import demo_data

NAMES = ("photo", "title", "clip")


@dataclasses.dataclass(frozen=True)
class Stamps:
    """Tables, encoders, and the folder of their features.

    Args:
        parts: dict, split -> table with the columns of `encoders`, label and group.
        encoders: dict, modality -> encoder.
        folder: where features are kept.
    """

    parts: dict
    encoders: dict
    folder: Path

    @property
    def classes(self):
        return sorted(self.parts["train"].label.dropna().unique())

    def features(self, model, part, **options):
        """The frozen encoders' features of a table, as `mm.transfer.cache_features`."""
        return mm.transfer.cache_features(model, part, self.folder, **options)

    def arrays(self, part, names=None):
        """Features alone: dict, modality -> `(rows, dim)`, and `<name>_present`.

        A missing cell is a row of zeros with presence 0.
        """
        names = names or list(self.encoders)
        made = {name: self.encoders[name] for name in names}
        model = mm.multimodal(made, mm.fusion.Concat(), keras.layers.Identity())
        mm.transfer.freeze(model)
        return self.features(model, part).arrays()


def load(options, task="a", names=NAMES):
    """`Stamps` of a task: "a", "b", "c", or "unlabelled" (its rows have no label)."""
    if options.smoke:
        return _generated(options.out / "smoke", names)
    file = "unlabelled" if task == "unlabelled" else f"{task}_table"
    table = mm.data.read_table(options.cache / "stamps_table" / f"{file}.csv")
    parts = mm.data.split(table, "split")
    network, bert = options.cache / "efficientnet_lite0.keras", options.cache / "minilm"
    made = {
        "photo": lambda: mm.image.from_model(network),
        "title": lambda: mm.text.bert(str(bert), length=32),
        "clip": lambda: _sound(parts["train"], 16000, 3.0),
    }
    found = {name: made[name]() for name in names}
    return Stamps(parts, found, options.cache / "features")


def _generated(folder, names):
    counts = {"train": 48, "val": 24, "test": 24}
    table = mm.data.read_table(demo_data.write(folder, counts))
    table["group"] = [str(x) for x in range(len(table))]
    parts = mm.data.split(table, "split")
    pixels = mm.image.Pixels((8, 8))
    image = mm.modality.tensor_input(pixels, "image")
    words = mm.text.wordpiece_vocabulary(list(table.title.dropna()), size=60)
    rate, seconds = demo_data.SAMPLING_RATE, demo_data.SECONDS
    made = {
        "photo": lambda: keras.Model(image, keras.layers.Flatten()(pixels(image))),
        "title": lambda: mm.text.embedding_mean(words, length=16),
        "clip": lambda: _sound(parts["train"], rate, seconds),
    }
    return Stamps(parts, {name: made[name]() for name in names}, folder / "features")


def _sound(train, sampling_rate, seconds):
    """MFCC statistics, scaled by the training rows."""
    made = mm.audio.mfcc_statistics(
        sampling_rate=sampling_rate, seconds=seconds, standardize=True
    )
    model = mm.multimodal({"clip": made}, mm.fusion.Concat(), keras.layers.Identity())
    rows = mm.data.from_table(train, mm.readers(model), batch_size=32)
    mm.transfer.adapt(model, rows)
    return made
