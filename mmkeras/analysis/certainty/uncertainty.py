"""How sure a model is of each row: by draws of its dropout, or by several models."""

import contextlib
import dataclasses

import keras
import numpy as np
from keras import ops

from mmkeras import dropout, heads
from mmkeras.model import encoders
from mmkeras.transfer import trunk

#: What draws. Noise is not dropout, and a hidden modality another question.
_DROPOUT = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    dropout.StochasticDepth,
)


@dataclasses.dataclass(frozen=True)
class UncertaintyReport:
    """What `mc_dropout` and `ensemble` give, an entry for each row.

    Args:
        kind: "single", "multi" or "number" (see `mmkeras.heads`).
        classes: tuple of the outputs' names.
        members: how many draws or models.
        mean: array `(rows, classes)`, mean probability, or mean number.
        spread: array `(rows, classes)`, standard deviation over the members.
        entropy: array `(rows,)`, H(mean p) in nats: all that is uncertain; of kind
            "multi" the sum over classes. None for numbers.
        mutual_information: array `(rows,)`, H(mean p) - mean H(p): what the members
            disagree on, which more data could settle (BALD). None for numbers.
    """

    kind: str
    classes: tuple
    members: int
    mean: np.ndarray
    spread: np.ndarray
    entropy: np.ndarray | None
    mutual_information: np.ndarray | None

    def to_frame(self):
        """DataFrame, a row per row: winner, probabilities, entropy, information."""
        import pandas

        frame = pandas.DataFrame(self.mean, columns=list(self.classes))
        if self.kind == "number":
            spread = pandas.DataFrame(self.spread, columns=list(self.classes))
            return frame.join(spread.add_suffix("_std"))
        if self.kind == "single":
            frame.insert(0, "class", np.array(self.classes)[self.mean.argmax(1)])
        frame["entropy"] = self.entropy
        frame["mutual_information"] = self.mutual_information
        return frame

    def __str__(self):
        told = f"{len(self.mean)} rows, {self.members} members: "
        if self.kind == "number":
            return f"{told}mean standard deviation {self.spread.mean():.4g}"
        return (
            f"{told}mean entropy {self.entropy.mean():.4f} nats, of which "
            f"{self.mutual_information.mean():.4f} that members disagree on"
        )


def mc_dropout(model, dataset, samples=20, *, seed=None, batch_size=32, progress=None):
    """Runs a model `samples` times with its dropout on (Monte Carlo dropout).

    p = 1 / S sum_s softmax(z_s / T), z_s the logits under the s-th draw. Only dropout
    draws: batch norm and all else are as in inference, modalities are there as the row
    says. Dropout that rests (of a frozen encoder) rests here too, and an encoder
    without any that draws runs once. The model is afterwards as it was.

    Example:
    >>> pixels = mmkeras.image.Pixels((2, 2))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> head = mmkeras.heads.classification(["cat", "dog"], dropout=0.5).layer
    >>> model = mmkeras.multimodal({"photo": tiny}, mmkeras.fusion.Concat(), head)
    >>> rows = {"photo": np.ones((6, 2, 2, 3)), "photo_present": np.ones(6)}
    >>> frame = mmkeras.analysis.mc_dropout(model, rows, seed=0).to_frame()
    >>> list(frame)
    ['class', 'cat', 'dog', 'entropy', 'mutual_information']

    Args:
        model: a multimodal model with one output, a head of `mmkeras.heads`.
        dataset: batched dataset of inputs or `(inputs, labels)`, or one dict or tuple
            of arrays holding all rows. Labels are not looked at.
        samples: Integer, draws of each row, 2 or more.
        seed: optional integer; the same gives the same draws.
        batch_size: Integer, rows in a batch where `dataset` holds arrays.
        progress: optional object with `track(items, total, label)`.

    Returns:
        `UncertaintyReport`.

    Raises:
        ValueError: no dropout would draw, or a wrong argument.

    Reference:
        Gal and Ghahramani 2016, arXiv:1506.02142; mutual information: Houlsby et al.
        2011, arXiv:1112.5745.
    """
    if not isinstance(samples, int) or samples < 2:
        raise ValueError(f"`samples` wants an integer above 1. Received: {samples!r}")
    head = _head(model)
    parts = encoders(model)
    drawing = [x for x in model._flatten_layers() if _draws(x)]
    if not drawing:
        raise ValueError(
            f"`model` wants dropout that draws. Received: '{model.name}', whose "
            f"dropout has rate 0 or rests in frozen encoders. Build the head or the "
            f"fusion with `dropout=`, and train it, or take `analysis.ensemble`."
        )
    once = [x for x, y in parts.items() if not any(map(_draws, y._flatten_layers()))]
    behind = trunk(model, cached=once)  # of its own: what it compiles goes with it
    rows = _rows(dataset, batch_size)
    if progress is not None:
        rows = progress.track(rows, None, f"Drawing {samples} times")
    draws = []
    with _on(drawing, np.random.default_rng(seed)):
        for inputs in rows:
            for name in once:
                inputs |= _flat(name, parts[name].predict_on_batch(inputs.pop(name)))
            draws.append([behind.predict_on_batch(inputs) for _ in range(samples)])
    return _report([head] * samples, draws)


def ensemble(models, dataset, *, batch_size=32, progress=None):
    """Asks several models, trained from different seeds or otherwise, the same rows.

    p = 1 / M sum_m softmax(z_m / T_m), each with its own temperature.

    Example:
        models = [mm.load_model(f"seed{i}/model.keras") for i in range(5)]
        report = mm.analysis.ensemble(models, rows)

    Args:
        models: list of models with one output each and heads of `mmkeras.heads` of the
            same kind and classes, two or more.
        dataset: as `mc_dropout`, with the inputs of all models.
        batch_size: Integer, rows in a batch where `dataset` holds arrays.
        progress: optional object with `track(items, total, label)`.

    Returns:
        `UncertaintyReport`.

    Raises:
        ValueError: fewer than two models, or heads that differ.

    Reference:
        Lakshminarayanan et al. 2017, arXiv:1612.01474.
    """
    made = list(map(_head, models))
    told = [(x.kind, x.classes) for x in made]
    if len(told) < 2 or any(x != told[0] for x in told):
        raise ValueError(
            f"`models` wants two or more with the same classes in the same order. "
            f"Received: {told}"
        )
    rows = _rows(dataset, batch_size)
    if progress is not None:
        rows = progress.track(rows, None, f"Asking {len(made)} models")
    answers = [
        [x.predict_on_batch({key: inputs[key] for key in x.input}) for x in models]
        for inputs in rows
    ]
    return _report(made, answers)


def _head(model):
    """The head that says what the model's one output means."""
    head = heads.output_contract(model)
    if head is None or isinstance(model.output, dict | list):
        raise ValueError(
            f"`model` wants one output, of a head of `mmkeras.heads`. Received: "
            f"'{model.name}' with {model.output}"
        )
    return head


def _draws(layer):
    return isinstance(layer, _DROPOUT) and layer.trainable and layer.rate > 0


@contextlib.contextmanager
def _on(layers, rng):
    """Makes dropout layers draw whatever they are told, from seeds of `rng`.

    All is undone at the end, the state of their own seeds too.
    """
    states = [x.seed_generator.state for x in layers]
    before = [ops.convert_to_numpy(x) for x in states]
    try:
        for layer, state in zip(layers, states, strict=True):
            state.assign(rng.integers(0, 2**31, 2))
            layer.call = _always(layer.call)
        yield
    finally:
        for layer, state, value in zip(layers, states, before, strict=True):
            vars(layer).pop("call", None)
            state.assign(value)


def _always(call):
    def draw(inputs, training=None):
        return call(inputs, training=True)

    return draw


def _rows(dataset, batch_size):
    """Batches of inputs, without labels."""
    if isinstance(dataset, dict | tuple):
        whole = dataset if isinstance(dataset, dict) else dataset[0]
        count = len(next(iter(whole.values())))
        starts = range(0, count, batch_size)
        dataset = [{k: x[i : i + batch_size] for k, x in whole.items()} for i in starts]
    empty = True
    for batch in dataset:
        empty = False
        inputs = batch[0] if isinstance(batch, tuple | list) else batch
        yield {key: ops.convert_to_numpy(x) for key, x in inputs.items()}
    if empty:
        raise ValueError("`dataset` wants at least one batch. Received: none.")


def _flat(name, feature):
    """A feature under the names of the trunk's inputs."""
    if isinstance(feature, dict):
        return {f"{name}_{key}": x for key, x in feature.items()}
    return {name: feature}


def _report(made, answers):
    """`UncertaintyReport` of logits: a list by batch of lists by member."""
    members = range(len(made))
    logits = (np.concatenate([batch[i] for batch in answers]) for i in members)
    p = np.stack([_probabilities(x, y) for x, y in zip(made, logits, strict=True)])
    kind, mean = made[0].kind, p.mean(0)
    entropy = information = None
    if kind != "number":
        entropy = _entropy(mean, kind)
        # not below 0, as rounding may have it where all members agree
        information = np.maximum(entropy - _entropy(p, kind).mean(0), 0)
    names = tuple(made[0].classes)
    return UncertaintyReport(
        kind, names, len(made), mean, p.std(0), entropy, information
    )


def _probabilities(head, outputs):
    p = head.probabilities(ops.convert_to_tensor(outputs))
    return ops.convert_to_numpy(p).astype("float64")


def _entropy(p, kind):
    """Entropy over the last axis, in nats."""
    terms = _minus_p_log_p(p)
    if kind == "multi":
        terms += _minus_p_log_p(1 - p)
    return terms.sum(-1)


def _minus_p_log_p(p):
    return -p * np.log(np.where(p > 0, p, 1))
