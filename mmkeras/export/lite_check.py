"""Does a TFLite or an ONNX file answer as `model.predict` does?"""

from typing import NamedTuple

import keras
import numpy as np

from mmkeras.export import checks, endpoints, lite_graph
from mmkeras.export.report import LiteReport

#: Sizes tried of a dimension that is not known: of a waveform, and of anything else.
_SAMPLES = (16000, 5000, 23456)
_LENGTHS = (12, 7, 20)


class Question(NamedTuple):
    """One batch that a file is asked.

    Attributes:
        inputs: dict, input -> array.
        outputs: dict, output -> array, what the model answers.
        given: whether the rows are the user's, as they are.
    """

    inputs: dict
    outputs: dict
    given: bool = False


def questions(model, rows=None, noise=True):
    """What is asked, and what the model answers.

    Args:
        model: the model that is exported.
        rows: optional dict, input -> array of real rows.
        noise: whether made-up rows are asked too.

    Returns:
        list of `Question`: what is made up, and the real rows last.
    """
    batches = _made(model) if noise else []
    if rows is not None:
        batches += _gaps(rows)
    asked = [Question(batch, _expected(model, batch)) for batch in batches]
    if rows is not None:
        asked.append(Question(rows, _expected(model, rows), given=True))
    return asked


def compare(model, file, asked, labels=None):
    """Asks an exported file.

    Args:
        model: the model that is exported.
        file: `GraphFile`, or another function of a batch.
        asked: the list of `questions`.
        labels: optional labels of the real rows, the last batch.

    Returns:
        (max_differences, mean_differences, agreement, scores), as `LiteReport` has
        them: the differences over all that was asked; agreement and scores over the
        real rows alone, or agreement over all where there are no real ones.
    """
    answers = [file(x.inputs) for x in asked]
    largest, mean = {}, {}
    for name in asked[0].outputs:
        pairs = [
            (np.ravel(x.outputs[name]).astype("float64"), np.ravel(answer[name]))
            for x, answer in zip(asked, answers, strict=True)
        ]
        if any(x.size != y.size for x, y in pairs):
            largest[name] = mean[name] = float("inf")
            continue
        wanted, answer = (np.concatenate(x) for x in zip(*pairs, strict=True))
        gap = np.abs(wanted - answer) / max(1.0, np.abs(wanted).max(initial=0))
        gap = np.where(np.isnan(gap), np.inf, gap)
        largest[name] = float(gap.max(initial=0))
        mean[name] = float(gap.mean()) if gap.size else 0.0
    scored = None
    if labels is not None:
        scored = _scored(model, labels, asked[-1].outputs, answers[-1])
    return largest, mean, _agreement(model, asked, answers), scored


def _agreement(model, asked, answers):
    pairs = list(zip(asked, answers, strict=True))
    # noise lies where classes are close together: real rows are not mixed with it
    pairs = [x for x in pairs if x[0].given] or pairs
    same = []
    for key, head in endpoints.heads(model).items():
        if head is not None and head.kind == "single":
            for question, answer in pairs:
                wanted = question.outputs[key].argmax(-1)
                same.append(np.ravel(wanted == answer[key].argmax(-1)))
    return float(np.mean(np.concatenate(same))) if same else None


def _scored(model, labels, wanted, answer):
    """Metric -> (the model's score, the file's), of heads that know their labels."""
    from mmkeras import scores

    found = {}
    for key, head in endpoints.heads(model).items():
        truth = labels.get(key) if isinstance(labels, dict) else labels
        if head is None or truth is None:
            continue
        outputs = [np.asarray(x[key]) for x in (wanted, answer)]
        single = head.kind == "single"
        if truth.size != (len(truth) if single else outputs[0].size):
            continue  # labels of another form, such as one-hot rows
        truth = truth.reshape(-1 if single else outputs[0].shape)
        for metric in scores.OF_KIND[head.kind]:
            pair = tuple(scores.SCORES[metric](truth, x) for x in outputs)
            found[f"{endpoints.prefix(key)}{metric}"] = pair
    return found or None


def _expected(model, batch):
    result = model.predict(lite_graph.pack(model, batch), verbose=0)
    named = lite_graph.named(model, result)
    return {key: keras.ops.convert_to_numpy(x) for key, x in named.items()}


def _made(model):
    """Batches of random numbers and, where a contract tells what is real, of that."""
    inputs = lite_graph.inputs(model)
    contracts = lite_graph.contracts(model)
    if any(None in x.shape[1:] for x in inputs.values()):
        waves = all(len(x.shape) == 2 and "float" in x.dtype for x in inputs.values())
        lengths = _SAMPLES if waves else _LENGTHS
        return [checks.made_noise(inputs, contracts, 2, length=n) for n in lengths]
    noise = checks.made_noise(inputs, contracts, 4)
    if not contracts:
        return [noise]
    for name, contract in contracts.items():
        if contract.nan_is_missing:
            noise[name][0, ::2] = np.nan
            noise[name][1, 1::2] = np.nan
    row = {name: x[:1] for name, x in noise.items()}
    for name, contract in contracts.items():
        row[name] = contract.read([checks.made_up(contract)]).numpy()
        if f"{name}_present" in row:
            row[f"{name}_present"] = np.ones(1, "float32")
    return [noise, *_gaps(row), row]


def report(model, path, size, file, asked, tolerance, ops, labels=None, quantize=None):
    """Asks a file what the model answered, and says how far it is from that.

    Args:
        model: the model that is exported.
        path: where the file is to lie.
        size: Integer, its bytes.
        file: `GraphFile`.
        asked: list of `questions`.
        tolerance: as `LiteReport` has it, like the two that follow.
        ops: dict, operation -> how often it stands in the file.
        labels: optional labels of the real rows, the last batch in `asked`.
        quantize: None, or how the file was made smaller.

    Returns:
        `LiteReport`.
    """
    largest, mean, agreement, scores = compare(model, file, asked, labels)
    return LiteReport(
        path=str(path),
        size=size,
        quantize=quantize,
        max_differences=largest,
        mean_differences=mean,
        agreement=agreement,
        scores=scores,
        rows=sum(len(next(iter(x.inputs.values()))) for x in asked),
        tolerance=tolerance,
        ops=ops,
        milliseconds=file.milliseconds(asked[-1].inputs),
    )


def _gaps(rows):
    """The first row with each modality absent, and with all: a batch, or none."""
    present = [name for name in rows if name.endswith("_present")]
    if not present:
        return []
    first = {name: x[:1] for name, x in rows.items()}
    gaps = [
        {**first, **{name: 0 * first[name] for name in absent}}
        for absent in [[name] for name in present] + [present]
    ]
    return [{name: np.concatenate([x[name] for x in gaps]) for name in rows}]


def real_rows(model, representative, limit=100):
    """Rows of a model's inputs from what a user has.

    Args:
        model: the model.
        representative: a dict, input -> array (an array for a model with one input),
            or an iterable of such batches or single rows, labels beside them or not,
            for example a `tf.data.Dataset`.
        limit: Integer, rows at most.

    Returns:
        `(rows, labels)`: a dict, input -> array of at most `limit` rows, and an array
        or dict of arrays, None where there are no labels.

    Raises:
        ValueError: an input is missing or of another shape, there is no row, or it is
            a tuple.
    """
    shapes = {name: x.shape[1:] for name, x in lite_graph.inputs(model).items()}
    if isinstance(representative, tuple):
        raise ValueError(
            f"`representative` wants a dict of arrays, or a list or dataset of "
            f"batches. Received: a tuple of {len(representative)}. Give a batch with "
            f"its labels, (x, y) as `model.fit` takes it, in a list: `[(x, y)]`."
        )
    whole = isinstance(representative, dict) or hasattr(representative, "shape")
    found, truths, count = [], [], 0
    for batch in [representative] if whole else representative:
        batch, *beside = batch if isinstance(batch, tuple) else (batch,)
        batch, single = _batch(batch, shapes)
        left, size = limit - count, len(batch[next(iter(shapes))])
        found.append({name: x[:left] for name, x in batch.items()})
        truths += [_labels(y, size, left, single) for y in beside[:1]]
        count += min(left, size)
        if count >= limit:
            break
    if not count:
        raise ValueError(
            "`representative` wants at least one row. Received: none. Give 50 to 100 "
            "rows of the training data."
        )
    rows = {name: np.concatenate([x[name] for x in found]) for name in shapes}
    if len(truths) < len(found):
        return rows, None
    return rows, keras.tree.map_structure(lambda *x: np.concatenate(x), *truths)


def _batch(batch, shapes):
    """`(batch, single)`: a batch by input, and whether it was a row that is one now."""
    names = list(shapes)
    if not isinstance(batch, dict) and len(names) == 1:
        batch = {names[0]: batch}
    if not isinstance(batch, dict) or set(names) - set(batch):
        received = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
        raise ValueError(
            f"`representative` wants the model's inputs {names}. "
            f"Received: {received}. Give what `model.predict` takes."
        )
    batch = {name: np.asarray(batch[name]) for name in names}
    single = all(_fits(batch[name].shape, shapes[name]) for name in names)
    if single:
        batch = {name: x[None] for name, x in batch.items()}
    counts = {name: x.shape[0] if x.ndim else None for name, x in batch.items()}
    if len(set(counts.values())) > 1 or None in counts.values():
        raise ValueError(
            f"`representative` wants as many rows of each input. Received: {counts} "
            f"(None: a number alone). Give batches, for example "
            f"`mmkeras.data.from_table(..., batch_size=32)`."
        )
    return batch, single


def _fits(shape, wanted):
    """Whether a shape is the wanted one, in which None is any."""
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(y in (None, x) for x, y in pairs)


def _labels(labels, size, left, single):
    """A batch's labels as arrays, at most `left` rows of them."""

    def cut(y):
        y = np.asarray(y)[None] if single else np.asarray(y)
        if y.shape[:1] != (size,):
            raise ValueError(
                f"`representative` wants a label a row. Received: {size} rows and "
                f"labels of shape {y.shape}"
            )
        return y[:left]

    return keras.tree.map_structure(cut, labels)
