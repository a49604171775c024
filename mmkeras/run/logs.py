"""A training's numbers on the disk while it runs: CSV, TensorBoard events, a profile.

Written here, as Keras' `TensorBoard` wants a package of its own, which TensorFlow no
longer brings, and `CSVLogger` repeats the row of an epoch that a resumed run repeats.
"""

import csv
import io
from pathlib import Path

import keras

from mmkeras.run import files


class HistoryFile(keras.callbacks.Callback):
    """history.csv: a row an epoch, whole after each; one that comes again is replaced.

    Args:
        path: of the file.
    """

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch, logs=None):
        rows = []
        if self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [x for x in csv.DictReader(file) if int(x["epoch"]) < epoch]
        rows.append({"epoch": epoch, **{k: float(v) for k, v in (logs or {}).items()}})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[-1]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path, text.getvalue())


class Events(keras.callbacks.Callback):
    """TensorBoard's curves: `epoch_loss` and so on, training and validation apart.

    Args:
        folder: of the event files, in train/ and validation/.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)
        self._writers = {}

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            self._write(part, f"epoch_{name.removeprefix('val_')}", value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _write(self, part, tag, value, epoch):
        import tensorflow as tf

        if part not in self._writers:
            place = str(self.folder / part)
            self._writers[part] = tf.summary.create_file_writer(place)
        kind = tf.compat.v1.SummaryMetadata
        scalars = kind(plugin_data=kind.PluginData(plugin_name="scalars"))
        with self._writers[part].as_default():
            tensor = tf.constant(value, tf.float32)
            tf.summary.write(tag, tensor, step=epoch, metadata=scalars)


class Profile(keras.callbacks.Callback):
    """TensorFlow's profile of some calls of the train step, as TensorBoard shows it.

    Args:
        folder: it lies in plugins/profile/ of it.
        first: Integer, the first call, counted from 1; one call may be several steps.
        last: Integer, the last call.
    """

    def __init__(self, folder, first, last):
        super().__init__()
        self.folder, self.first, self.last = str(folder), first, last
        self._calls, self._runs = 0, False

    def on_train_batch_begin(self, batch, logs=None):
        import tensorflow as tf

        self._calls += 1
        if self._calls == self.first:
            tf.profiler.experimental.start(self.folder)
            self._runs = True

    def on_train_batch_end(self, batch, logs=None):
        if self._calls >= self.last:
            self._stop()

    def on_train_end(self, logs=None):
        self._stop()

    def _stop(self):
        import tensorflow as tf

        if self._runs:
            tf.profiler.experimental.stop()
            self._runs = False
