"""The parts of a run's table as datasets: rows of the files, or cached features."""

import math

from mmkeras import data, transfer
from mmkeras.data.ahead import ahead
from mmkeras.data.dataset import row_numbers
from mmkeras.model import encoders, readers
from mmkeras.run import devices, files

# rows are kept in memory between epochs up to this many bytes
_MEMORY = 2**30


class Rows:
    """Training, validation and test rows for one model.

    Args:
        recipe: `recipe.Recipe`.
        model: the multimodal model, frozen as it will be in the first stage.
        parts: dict, part -> DataFrame.
        columns: dict, modality -> column.
        bad_rows: list that takes the rows that could not be read.
        progress: `progress.Progress`.
    """

    def __init__(self, recipe, model, parts, columns, bad_rows, progress):
        self.recipe, self.model, self.parts = recipe, model, parts
        self.columns, self.bad_rows, self.progress = columns, bad_rows, progress
        #: Whether several replicas share each batch: they want whole ones to train on.
        self.shared = devices.replicas_of(model) > 1
        #: Modalities whose encoders are frozen now: their features are kept.
        self.frozen = [
            name for name, x in encoders(model).items() if transfer.is_frozen(x)
        ]
        self.folder = files.features_folder(recipe.cache) if self.frozen else None
        if self.frozen:
            where = f"kept in {self.folder}" if self.folder else "kept in memory"
            progress.say(
                f"Frozen encoders ({', '.join(self.frozen)}) run once: their features "
                f"are {where}."
            )

    def stream(self, part, shuffle=False, model=None, resume=None):
        """Batches read from the files; `model` may be a dict of some contracts."""
        model = model or self.model
        names = readers(model)
        return data.from_table(
            self.parts[part],
            model,
            columns={name: self.columns[name] for name in names},
            shuffle=shuffle,
            seed=self.recipe.seed,
            batch_size=self.recipe.batch_size,
            audio_cache=files.features_folder(self.recipe.cache),
            resume=resume,
            drop_remainder=self._whole(part) and not isinstance(model, dict),
            **self._reading(part, not isinstance(model, dict)),
        )

    def features(self, part, shuffle=False, resume=None):
        """What the trunk takes: from memory where that is enough, else from disk."""
        found = transfer.cache_features(
            self.model,
            self.parts[part],
            self.folder,
            cached=self.frozen,
            batch_size=self.recipe.batch_size,
            progress=self.progress,
            columns=self.columns,
            **self._reading(part),
        )
        batch, seed = self.recipe.batch_size, self.recipe.seed
        if self.folder:
            if not self._is_small(found):
                return self._cut(found.dataset(batch, shuffle, seed, resume), part)
            found = found.arrays()
        if shuffle:
            return self._cut(shuffled(found, batch, seed, resume), part)
        # arrays go in batches of 32, which replicas may not be able to share
        return in_order(found, batch) if self.shared else found

    def on_what(self):
        """What the first stage trains on, for the screen."""
        return f" on cached features of {', '.join(self.frozen)}" * bool(self.frozen)

    def steps(self, epochs):
        """Steps of a stage where the rate falls by a cosine, else None."""
        if self.recipe.schedule != "cosine":
            return None
        return epochs * self._batches_of("train")

    def per_execution(self):
        """Steps that a trunk takes at once; one where an encoder trains with it."""
        if self.shared or len(self.frozen) < len(self.columns):
            return 1
        return min(8, self._batches_of("train"))

    def adapt(self):
        """Sets the `Standardize` layers by the training rows."""
        names = transfer.to_adapt(self.model)
        if names:
            found = {
                name: x for name, x in readers(self.model).items() if name in names
            }
            stream = self.stream("train", model=found)
            transfer.adapt(self.model, stream)

    def fit_in_memory(self):
        """Whether the tensors of the encoders that train fit the memory budget."""
        wide = sum(
            4 * math.prod(x.tensor_shape)
            for name, x in readers(self.model).items()
            if name not in self.frozen
        )
        return wide * sum(map(len, self.parts.values())) <= _MEMORY

    def _batches_of(self, part):
        batches = len(self.parts[part]) / self.recipe.batch_size
        return math.floor(batches) if self._whole(part) else math.ceil(batches)

    def _whole(self, part):
        """Whether a last, smaller batch is left out."""
        return self.shared and part == "train"

    def _cut(self, batches, part):
        return batches.take(self._batches_of(part)) if self._whole(part) else batches

    def _is_small(self, features):
        return features.nbytes <= _MEMORY and self.fit_in_memory()

    def _reading(self, part, labelled=True):
        reading = {"on_bad_row": self.recipe.on_bad_row, "bad_rows": self.bad_rows}
        if labelled:
            reading["label"] = self.recipe.label
            if part == "train":
                reading["class_weight"] = self.recipe.class_weight
        return reading


def shuffled(arrays, batch_size, seed, resume=None):
    """Batches of arrays in memory, in another order in each pass."""
    import tensorflow as tf

    count = len(tf.nest.flatten(arrays)[0])
    numbers = row_numbers(count, True, seed, resume=resume, batch_size=batch_size)
    arrays = tf.nest.map_structure(tf.constant, arrays)

    def gather(rows):
        rows = tf.maximum(rows, 0)  # -1 is not to be read
        return tf.nest.map_structure(lambda x: tf.gather(x, rows), arrays)

    return ahead(numbers.batch(batch_size).map(gather, -1))


def in_order(arrays, batch_size):
    """Batches of arrays in memory, in their order."""
    import tensorflow as tf

    return ahead(tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size))
