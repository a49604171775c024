"""The way of rows to label: out of a table into a CSV file, and back as a table."""

import os

import keras
import numpy as np
import pandas

from mmkeras import data, heads
from mmkeras.analysis.rows.embedding_map import run
from mmkeras.annotation import scores
from mmkeras.annotation.picking import pick
from mmkeras.data.table import is_missing

#: Columns that `suggest` adds.
ADDED = ("suggestion", "confidence", "score", "row")


def suggest(
    model, table, count, *, labelled=None, method="badge", seed=0, batch_size=32
):
    """The rows of a table without labels that should be labelled next.

    Probabilities are those of the head, at its temperature; features are what the
    fusion gives.

    Args:
        model: a multimodal model with a head `mmkeras.heads.classification`.
        table: DataFrame of rows without labels, with the model's columns.
        count: Integer, rows to pick.
        labelled: optional DataFrame, the rows that have a label: "k_center" and
            "margin_k_center" keep away from them.
        method: one of `METHODS`.
        seed: Integer.
        batch_size: Integer, rows that the model takes at once.

    Returns:
        DataFrame: those rows, the first to label first, and the columns "suggestion"
        (the model's guess), "confidence" (its probability), "score" (the entropy, in
        nats) and "row" (its position in `table`).

    Raises:
        ValueError: the head gives no classes, the table has a column of such a name,
            or what `pick` or `from_table` refuses.
    """
    head = heads.output_contract(model)
    if head is None or head.kind != "single":
        raise ValueError(
            f"`model` wants a head `mmkeras.heads.classification`. Received: "
            f"'{model.name}' with {head and head.kind!r}."
        )
    taken = [x for x in ADDED if x in getattr(table, "columns", ())]
    if taken:
        raise ValueError(
            f"`table` wants other names for its columns {taken}: `suggest` adds "
            f"{list(ADDED)}."
        )
    outputs, features = _answers(model, table, batch_size)
    known = None
    if labelled is not None and method.endswith("k_center"):
        known = _answers(model, labelled, batch_size)[1]
    p = keras.ops.convert_to_numpy(head.probabilities(outputs)).astype("float64")
    rows = pick(p, features, count, method, known, seed)
    found = table.iloc[rows].copy()
    found.attrs.update(table.attrs)
    found["suggestion"] = [head.classes[i] for i in p[rows].argmax(1)]
    found["confidence"] = p[rows].max(1)
    found["score"] = scores.entropy(p[rows])
    found["row"] = rows
    return found


def write(suggested, path, label="label"):
    """Writes rows to label to a CSV file, with an empty column for the label.

    Args:
        suggested: DataFrame, as `suggest` gives.
        path: path of a .csv file in the folder of the table that the rows are from:
            their files are found from there.
        label: name of the column to fill in; what it holds is not written.

    Raises:
        ValueError: the path is in another folder than the table.
    """
    root = suggested.attrs.get("root")
    folder = os.path.dirname(os.fspath(path)) or "."
    if root is not None and os.path.realpath(root) != os.path.realpath(folder):
        raise ValueError(
            f"`path` wants a file in the table's folder, {str(root)!r}, from which the "
            f"rows' files are found. Received: {os.fspath(path)!r}"
        )
    others = suggested.drop(columns=label, errors="ignore")
    others = others.assign(confidence=others.confidence.round(4))
    others = others.assign(score=others.score.round(4))
    others.insert(0, label, "")
    others.to_csv(path, index=False, encoding="utf-8")


def labelled(path, label="label", table=None):
    """The rows of a file of `write` that somebody has given a label.

    Args:
        path: path of the file.
        label: name of the column that was filled in.
        table: optional DataFrame, the rows that had a label before.

    Returns:
        DataFrame as `mmkeras.data.read_table` gives, without what `suggest` added,
        behind the rows of `table`.

    Raises:
        ValueError: there is no such column, or no row has a label yet.
    """
    found = data.read_table(path)
    if label not in found:
        raise ValueError(
            f"`label` wants a column of the file. Received: {label!r}. Its columns: "
            f"{list(found)}"
        )
    about = dict(found.attrs)
    filled = np.array([not is_missing(x) for x in found[label]])
    if not filled.any():
        raise ValueError(
            f"{os.fspath(path)!r} has no row with a '{label}' yet: fill in the column."
        )
    found = found[filled].drop(columns=[x for x in ADDED if x in found])
    if table is not None:
        about = dict(table.attrs)
        found = pandas.concat([table, found])
    found = found.reset_index(drop=True)
    found.attrs.update(about)  # the folder that paths start from: concat drops it
    return found


def _answers(model, table, batch_size):
    """Logits and fused features of a table's rows."""
    if not isinstance(table, pandas.DataFrame):
        raise TypeError(
            f"A table wants a pandas.DataFrame. Received: {type(table).__name__}. Read "
            f"a file with `mmkeras.data.read_table`."
        )
    rows = data.from_table(table, model, batch_size=batch_size)
    # `run` wants labels beside the rows, and looks at none
    rows = rows.map(_with_zeros)
    _, outputs, features = run(model, rows, batch_size)
    return outputs, features


def _with_zeros(inputs):
    import tensorflow as tf

    some = next(iter(inputs.values()))
    return inputs, tf.zeros(tf.shape(some)[:1], "int32")
