"""Gradual unfreezing: the head learns first, then one block after another, downwards.

Howard and Ruder 2018, ULMFiT, arXiv:1801.06146.
"""

import keras

from mmkeras.model import encoders
from mmkeras.transfer.compiling import recompile
from mmkeras.transfer.freezing import blocks, leaves_of, train_from


class GradualUnfreezing(keras.callbacks.Callback):
    """Releases encoders block by block from the top, as ULMFiT does, within one `fit`.

    Fusion and head train from the start. After every `every` epochs, or when the score
    has not improved for `patience` epochs, each encoder's next `blocks_per_step` blocks
    join them. What was training keeps its optimizer's state (`recompile`).

    Example:
        model.compile(transfer.layerwise_rates(model, AdamW(1e-3), decay=0.4), loss)
        model.fit(train, epochs=9, callbacks=[GradualUnfreezing("photo")])

    Args:
        names: a modality or a list of them, all of whose blocks the callback governs;
            default: all. Others stay as they are.
        blocks_per_step: Integer, blocks of each encoder released at a time.
        every: Integer, epochs between two releases.
        patience: Integer, epochs without a better `monitor` before a release, in place
            of `every`.
        monitor: name of the score that `patience` watches, for example "val_loss".
        mode: "min" or "max", which way `monitor` is better.
        min_delta: Float, what counts as better.
        most: Integer, the most blocks of an encoder ever released; default: all.

    Raises:
        ValueError: unknown modality, a number below 1, both `every` and `patience`, or
            `fit` reports no `monitor`.

    Reference:
        Howard and Ruder 2018, arXiv:1801.06146, section 3.3: a block an epoch. Departs:
        several encoders are released side by side; releasing by score is ours.
    """

    def __init__(
        self,
        names=None,
        blocks_per_step=1,
        every=None,
        patience=None,
        monitor="val_loss",
        mode="min",
        min_delta=0.0,
        most=None,
    ):
        super().__init__()
        if every is not None and patience is not None:
            raise ValueError(
                f"`GradualUnfreezing` wants `every` or `patience`, not both. "
                f"Received: every={every}, patience={patience}"
            )
        if mode not in ("min", "max"):
            raise ValueError(f"`mode` wants 'min' or 'max'. Received: mode={mode!r}")
        if patience is None and every is None:
            every = 1
        self.names = [names] if isinstance(names, str) else names
        self.blocks_per_step = _count(blocks_per_step, "blocks_per_step")
        self.every = _count(every, "every")
        self.patience = _count(patience, "patience")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = min_delta
        self.most = most
        self.steps = 0
        self._best, self._stalled = None, 0

    @property
    def released(self):
        """Modality -> the blocks that train now, from the top."""
        return {name: self._top(name) for name in self._names()}

    def on_train_begin(self, logs=None):
        self.steps, self._best, self._stalled = 0, None, 0
        self._release()

    def on_epoch_begin(self, epoch, logs=None):
        # a pure function of the epoch, so that a fit resumed at an epoch is right
        if self.every is not None and self.steps != epoch // self.every:
            self.steps = epoch // self.every
            self._release()

    def on_epoch_end(self, epoch, logs=None):
        if self.patience is None:
            return
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"`monitor` wants a score that `fit` reports. Received: "
                f"monitor={self.monitor!r}. Reported: {sorted(logs or {})}"
            )
        score = logs[self.monitor] * (1 if self.mode == "min" else -1)
        if self._best is None or score < self._best - self.min_delta:
            self._best, self._stalled = score, 0
            return
        self._stalled += 1
        if self._stalled >= self.patience:
            self.steps, self._stalled = self.steps + 1, 0
            self._release()

    def _names(self):
        known = encoders(self.model)
        unknown = [x for x in self.names or () if x not in known]
        if unknown:
            raise ValueError(
                f"The model has no modality {unknown}. Valid names: {sorted(known)}"
            )
        return list(self.names or known)

    def _top(self, name):
        """The blocks of an encoder that the steps so far have released."""
        count = self.steps * self.blocks_per_step
        count = count if self.most is None else min(count, self.most)
        return list(blocks(encoders(self.model)[name]))[::-1][:count]

    def _release(self):
        for name in self._names():
            groups = blocks(encoders(self.model)[name])
            owned = {id(x) for block in self._top(name) for x in groups[block]}
            leaves = leaves_of(encoders(self.model)[name])
            places = [i for i, x in enumerate(leaves) if id(x) in owned]
            train_from(self.model, name, min(places, default=len(leaves)))
        recompile(self.model)


def _count(value, argument):
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(
            f"`{argument}` wants an integer of 1 or more. Received: {value!r}"
        )
    return value
