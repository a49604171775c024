"""Training that goes on where it was stopped: the same step, the same numbers."""

import inspect
import signal
import threading
import time
from pathlib import Path

import keras
import numpy as np

from mmkeras import distribute
from mmkeras.state import StateFile, variables_of

#: What Keras' own callbacks remember from epoch to epoch, and `fit` makes them forget.
_COUNTS = ("wait", "best_epoch", "stopped_epoch", "cooldown_counter")
_CARRIED = ("best", *_COUNTS)


class Resume(keras.callbacks.Callback):
    """Saves the whole state of training; the same program, run again, goes on there.

    One file holds weights, seeds, optimizer, metrics, epoch, step and history. It is
    written aside and renamed, so that a kill at any moment leaves a whole one. Give the
    object to the data as well: it tells them which epoch and step come next, so that
    no step is repeated and the rows come in the order of a run never stopped.

    SIGINT and SIGTERM end `fit` after the step that runs, with the state saved (but for
    several workers, which cannot agree on it). They raise KeyboardInterrupt and
    SystemExit(143) then, whose text, or note, says what is kept.

    Example:
    >>> import pandas, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> def fit(epochs):
    ...     keras.utils.set_random_seed(0)
    ...     sizes = mm.tabular.Columns(numeric={"size": (0.0, 1.0)})
    ...     sizes = mm.tabular.mlp(sizes, units=(4,))
    ...     model = mm.multimodal(
    ...         {"size": sizes}, mm.fusion.Concat(), keras.layers.Dense(1)
    ...     )
    ...     model.compile("sgd", "mse")
    ...     table = pandas.DataFrame({"size": [1.0, 2.0], "y": [0.0, 1.0]})
    ...     resume = mm.Resume(folder)
    ...     rows = mm.data.from_table(
    ...         table, model, "y", batch_size=1, shuffle=True, resume=resume
    ...     )
    ...     return model.fit(
    ...         rows, epochs=epochs, callbacks=[resume], shuffle=False, verbose=0
    ...     )
    >>> fit(2).epoch, fit(3).epoch
    ([0, 1], [0, 1, 2])

    Args:
        folder: where the state is kept, in the file `training.state`; one folder for
            one call of `fit`. Other workers must see it too.
        every: Integer, save after this many steps; None: by `seconds`. Several workers
            want a number: they save together, and the chief writes.
        seconds: Float, save when so much time has passed since the last save. At the
            end of each epoch it is saved in any case.
        remember: callbacks whose memory is kept too, such as `EarlyStopping`,
            `ReduceLROnPlateau` or `ModelCheckpoint`, always the same in this order.

    Raises:
        ValueError: the state is that of another model or optimizer; the message says
            where they differ. Or it lies inside of what `steps_per_execution` takes at
            once, or the data end before its step.
        OSError: the state cannot be written; the message says what is kept.

    Reference:
        Departs from `keras.callbacks.BackupAndRestore`, which repeats the steps of a
        broken epoch, forgets seeds and can be left with half a file.
    """

    def __init__(self, folder, every=None, seconds=60.0, remember=()):
        super().__init__()
        if every is not None and every < 1:
            raise ValueError(f"`every` wants 1 step or more. Received: every={every}")
        if seconds <= 0:
            raise ValueError(f"`seconds` wants above 0. Received: seconds={seconds}")
        self.folder = Path(folder)
        self.every = every
        self.seconds = seconds
        self.remember = tuple(remember)
        self._worker = distribute.worker()
        if self._worker.count > 1 and every is None:
            raise ValueError(
                f"`every` wants a number of steps where {self._worker.count} workers "
                f"train: they must save at the same step. Received: every=None"
            )
        #: The epoch that is trained, and how many of its steps are done already: the
        #: data ask for both when a pass begins.
        self.epoch = 0
        self.skipped_steps = 0
        self._file = StateFile(self.folder / "training.state")

    @property
    def path(self):
        """The file of the state."""
        return self._file.path

    @property
    def kept(self):
        """What is on the disk, in a sentence."""
        if self._worker.index:
            return f"'{self.path}' holds what the chief wrote last."
        return f"'{self.path}' holds {self._file.held}."

    def on_train_begin(self, logs=None):
        self._signal = None
        self._carried = None
        self._first = None
        self._saved_at = time.monotonic()
        found = self._file.read()
        if found is not None:
            self._restore(*found)
        self._listen()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self._saved_step = epoch, self.skipped_steps
        if self._carried is not None:  # the others have begun, and forgot
            self._give_back()
        elif self._first is not None:  # now the others have ended the last epoch
            self._save(epoch, 0)
            if self._signal:
                self._stop()
        self._first = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.skipped_steps:
            return  # a step that an earlier run did
        # Keras counts the last execution as a whole one, however few steps it takes
        done = min(batch + 1, self.params["steps"] or batch + 1)
        due = (
            done // self.every > self._saved_step // self.every  # steps may come by 8
            if self.every
            else time.monotonic() - self._saved_at > self.seconds
        )
        if due or (self._signal and self._worker.count == 1):
            self._save(self.epoch, done)
        if self._signal:
            self._stop()

    def on_train_end(self, logs=None):
        if self._carried is not None:  # nothing was left to do
            self._give_back()
        else:
            self._save(self.params["epochs"], 0)
        self.model._initial_epoch = None  # else the next `fit` begins there too
        self._unlisten()
        if self._signal:  # it came after the last step: the training is complete
            self._stop()

    def _save(self, epoch, step):
        self._saved_at, self._saved_step = time.monotonic(), step
        memory, arrays = _memory(self.remember)
        history = self.model.history
        about = {
            "epoch": epoch,
            "step": step,
            "epochs": [int(x) for x in history.epoch],
            "history": {k: [float(x) for x in v] for k, v in history.history.items()},
            "memory": memory,
        }
        # all workers read the metrics, which adds them up; one writes
        arrays |= variables_of(self.model, with_metrics=step > 0)
        if self._worker.index == 0:
            self._file.write(about, arrays)

    def _restore(self, about, arrays):
        model = self.model
        step = self._place(about["step"])
        if not model.optimizer.built:  # loss scaling would make its variables twice
            model.optimizer.build(model.trainable_variables)
        self._file.assign(model, arrays)
        if len(about["memory"]) != len(self.remember):
            raise ValueError(
                f"`remember` wants the {len(about['memory'])} callbacks that wrote "
                f"'{self.path}'. Received: {len(self.remember)}"
            )
        model._initial_epoch = about["epoch"]
        self._carried = about, arrays
        self.epoch, self.skipped_steps = about["epoch"], step
        if self.skipped_steps:
            self._skip(arrays)

    def _place(self, step):
        """The step of the state, once it is sure that an execution can begin there."""
        steps, each = self.params["steps"], self.model.steps_per_execution
        step = min(step, steps or step)
        if step % each and step != steps:
            raise ValueError(
                f"`steps_per_execution` wants a divisor of {step}, the step that "
                f"'{self.path}' holds, such as that of the program that was stopped. "
                f"Received: {each}"
            )
        return step

    def _give_back(self):
        about, arrays = self._carried
        self._carried = None
        self.model.history.epoch[:] = about["epochs"]
        self.model.history.history.update(about["history"])
        _remind(self.remember, about["memory"], arrays)

    def _skip(self, arrays):
        """Puts a train function in place that only passes over the steps done."""
        model, train = self.model, self.model.train_function

        def skipping(iterator):
            data = None
            for _ in range(model.steps_per_execution):
                following = next(iterator, None)
                if following is None:  # the last execution of an epoch may be short
                    break
                data = following
                self.skipped_steps = max(0, self.skipped_steps - 1)
            if data is None:
                model.train_function = train
                raise ValueError(
                    f"The data of epoch {self.epoch + 1} ended {self.skipped_steps} "
                    f"steps before the one that '{self.path}' holds. Give the same "
                    f"data and `steps_per_execution`, or remove the file to start anew."
                )
            if following is None:
                self.skipped_steps = 0
            if self.skipped_steps:
                return {}
            model.train_function = train
            self._make_metrics(data)
            self._file.assign_metrics(model, arrays)
            return model.get_metrics_result()

        model.train_function = skipping

    def _make_metrics(self, data):
        """Has Keras make the metrics' variables, from the rows of one replica."""
        strategy = self.model.distribute_strategy
        one = keras.tree.map_structure(
            lambda x: strategy.experimental_local_results(x)[0], data
        )
        with strategy.scope():
            self.model._symbolic_build(data_batch=one)

    def _listen(self):
        self._handlers = {}
        if threading.current_thread() is not threading.main_thread():
            return  # signals are the main thread's
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note)

    def _note(self, number, frame):
        # asked twice, or `fit` has ended with an error and told no callback: at once
        if self._signal or not self._fits(frame):
            self._unlisten()
            signal.raise_signal(number)
        self._signal = number

    def _fits(self, frame):
        """Whether the model's `fit` is among the callers of a frame."""
        fit = inspect.unwrap(type(self.model).fit).__code__
        while frame is not None:
            if frame.f_code is fit and frame.f_locals.get("self") is self.model:
                return True
            frame = frame.f_back
        return False

    def _unlisten(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _stop(self):
        self._unlisten()
        self.model._initial_epoch = None
        told = f"Training stopped: {self.kept}"
        if self._signal == signal.SIGTERM:
            error = SystemExit(128 + signal.SIGTERM)
            error.add_note(told)  # the status is its argument
            raise error
        raise KeyboardInterrupt(told)


def _memory(callbacks):
    """What callbacks remember: numbers for each as a dict, and arrays by name."""
    memory, arrays = [], {}
    for i, callback in enumerate(callbacks):
        found = {}
        for name in _CARRIED:
            value = getattr(callback, name, None)
            if value is not None:
                found[name] = float(value)
        weights = getattr(callback, "best_weights", None)
        if weights is not None:
            found["best_weights"] = len(weights)
            arrays |= {f"best/{i}/{j}": np.asarray(x) for j, x in enumerate(weights)}
        memory.append(found)
    return memory, arrays


def _remind(callbacks, memory, arrays):
    for i, (callback, found) in enumerate(zip(callbacks, memory, strict=True)):
        for name, value in found.items():
            if name == "best_weights":
                value = [arrays[f"best/{i}/{j}"] for j in range(value)]
            elif name in _COUNTS:
                value = int(value)
            setattr(callback, name, value)
