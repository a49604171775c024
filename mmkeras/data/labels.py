"""Labels: a table's column becomes class ids, multi-hot rows or numbers."""

import keras
import numpy as np
import pandas

from mmkeras.data.bad import _log, rows_text, short
from mmkeras.data.numbers import floats
from mmkeras.data.table import as_frame, is_missing, want_column
from mmkeras.heads import Head, output_contract


def targets(frame, label, model, classes=None):
    """The labels that a model's head takes.

    A `mmkeras.heads` head says what it wants. For any other head the column and the
    head's width decide: strings and integers are classes, "a|b" strings and lists are
    several classes, floats and heads of width 1 are numbers.

    - one class a row: int32 ids `(rows,)`. Strings are matched with the class names,
      integers too where a name is an integer, else they are ids themselves. Without
      names, those found in the table, sorted, if there are as many as the head is wide.
    - several classes a row: multi-hot float32 `(rows, classes)`. "|" or [] is none.
    - numbers: float32 `(rows, outputs)`.

    An empty cell is refused, but where the head says that labels may be absent
    (`mmkeras.heads.several`): there it is -1 for one class a row, else NaN.

    Example:
    >>> import pandas
    >>> table = pandas.DataFrame({"tags": ["red", "red|old", "|"]})
    >>> mm.data.targets(table, "tags", mm.heads.multilabel(["old", "red"]))
    array([[0., 1.],
           [1., 1.],
           [0., 0.]], dtype=float32)

    Args:
        frame: DataFrame, or a table's path.
        label: column; list of columns for several numbers; dict, output name -> column.
        model: the model whose head wants the labels, what `mmkeras.export.load` gives,
            a `mmkeras.heads.Head` of one output, or a dict of contracts.
        classes: optional list of class names; dict, output name -> list, if `label` is.

    Returns:
        Array, or dict of arrays.

    Raises:
        ValueError: the message names rows, the valid classes and what to do.
    """
    frame = as_frame(frame)
    if isinstance(label, dict):
        _check_outputs(label, model)
        classes = classes or {}
        return {
            key: _Target(frame, column, *head_of(model, key), classes.get(key)).encode()
            for key, column in label.items()
        }
    return _Target(frame, label, *head_of(model), classes).encode()


def head_of(model, key=None):
    """The head's `Prediction` layer or None, and its width or None."""
    if hasattr(model, "head_of"):  # an export that was read back
        return model.head_of(key)
    if isinstance(model, Head):
        return model.layer, model.layer.units
    if not isinstance(model, keras.Model):
        return None, None
    if key is None and not isinstance(model.output, dict):
        return output_contract(model), model.output.shape[-1]
    if key is None:
        raise ValueError(
            f"The model has several outputs: `label` wants a dict, output -> column. "
            f"Valid names: {sorted(model.output)}"
        )
    output_contract(model)  # no training model, which would give any key the last head
    output = model.output[key]
    head = output_contract(keras.Model(model.input, output))
    return head, output.shape[-1]


def _check_outputs(label, model):
    valid = getattr(model, "output", None)
    valid = sorted(valid) if isinstance(valid, dict) else []
    unknown = sorted(set(label) - set(valid))
    if unknown:
        raise ValueError(
            f"`label` names outputs that the model does not have: {unknown}. "
            f"Valid names: {valid}"
        )


class _Target:
    """One label column (or several of numbers) and the head that it is for.

    `rows` are the places of the frame's rows in the table, whose labels `index` holds.
    """

    def __init__(self, frame, column, head, width, classes, rows=None, index=None):
        self.frame, self.column, self.head, self.width = frame, column, head, width
        self.rows = np.arange(len(frame)) if rows is None else rows
        self.index = frame.index if index is None else index
        self.classes = self._names(classes)

    def encode(self):
        if isinstance(self.column, list):
            return self._number_columns()
        values = want_column(self.frame, self.column, "`label`").astype(object)
        missing = np.array([is_missing(x) for x in values])
        if missing.any() and getattr(self.head, "absent_labels", False):
            return self._with_absent(missing)
        if missing.any():
            raise ValueError(
                f"Column '{self.column}' wants a label in every row. Received: none in "
                f"{self._rows(missing)}. Drop them: "
                f"table.dropna(subset=['{self.column}'])"
            )
        kind = self.head.kind if self.head else self._infer(values)
        if kind == "number":
            return self._numbers(values)
        return self._multi(values) if kind == "multi" else self._single(values)

    def _with_absent(self, missing):
        """Labels of which some are absent: there -1, or rows of NaN."""
        if missing.all():
            raise ValueError(f"Column '{self.column}' has no label in any row.")
        about = self.column, self.head, self.width, self.classes
        rows = np.flatnonzero(~missing)
        some = _Target(self.frame[~missing], *about, rows, self.frame.index)
        labels = some.encode()
        empty = -1 if labels.dtype == "int32" else np.nan
        found = np.full((len(missing), *labels.shape[1:]), empty, labels.dtype)
        found[~missing] = labels
        return found

    def _names(self, classes):
        """The class names: the head's, or those of the call."""
        given = None if classes is None else [str(x) for x in classes]
        if given is not None and len(set(given)) != len(given):
            raise ValueError(f"`classes` wants different names. Received: {given}")
        known = list(self.head.classes) if self.head else None
        if given is None or known is None:
            # a head of width 1 tells two classes apart
            wanted = {self.width, 2} if self.width == 1 else {self.width, None}
            if given is not None and self.width and len(given) not in wanted:
                raise ValueError(
                    f"`classes` wants {self.width} names, one an output of the head. "
                    f"Received: {len(given)} names"
                )
            return known if given is None else given
        unnamed = known == [str(i) for i in range(len(known))]
        if given != known and not (unnamed and len(given) == len(known)):
            raise ValueError(
                f"`classes` differs from the class names of the model's head. "
                f"Received: {given[:20]}. The head's: {known[:20]}. "
                f"Leave `classes` out."
            )
        return given

    def _infer(self, values):
        """What an unnamed head is for, from the column."""
        if values.map(_is_list).any():
            return "multi" if self._strings(values).all() else "number"
        if self._strings(values).all():
            known = self.classes or []
            apart = values.str.contains("|", regex=False) & ~values.isin(known)
            return "multi" if apart.any() else "single"
        if self.classes:
            return "single"
        if self.width == 1:
            return "number"
        numbers = pandas.to_numeric(values, errors="coerce")
        whole = bool((numbers % 1 == 0).all())
        fractional = "floating" in pandas.api.types.infer_dtype(values)
        if self.width is None:
            return "number" if fractional else "single"
        return "single" if whole or not numbers.notna().all() else "number"

    def _single(self, values):
        names = self.classes
        texts = values.map(class_name)
        if names is None and (self.width is None or not self._strings(values).all()):
            return self._ids(values)
        if names is None:
            names = self._found(set(texts))
        if not self._strings(values).any() and not any(map(_is_integer, names)):
            if set(texts) - set(names):  # bools may be names, "True" and "False"
                return self._ids(values, names)
        self._check_known(texts.isin(names), texts, names)
        ids = texts.map({name: i for i, name in enumerate(names)}).to_numpy("int32")
        return ids.astype("float32")[:, None] if self.width == 1 else ids

    def _ids(self, values, names=None):
        """Labels that are ids already."""
        numbers = pandas.to_numeric(values, errors="coerce").to_numpy("float64")
        if self._strings(values).any() and self.width is None:
            raise ValueError(
                f"Column '{self.column}' holds strings: pass `classes`, the list of "
                f"class names. Found: {_shown(sorted(set(values.map(class_name))))}"
            )
        count = len(names) if names else self.width
        wrong = ~(numbers >= 0) | (numbers % 1 != 0)
        if count:
            wrong |= numbers >= count
        if wrong.any():
            top = f"{count - 1}" if count else "(number of classes - 1)"
            raise ValueError(
                f"Column '{self.column}' wants class ids, integers from 0 to {top}"
                f"{f', or one of the classes {names[:20]}' if names else ''}. "
                f"Received: {short(values[wrong].iloc[0])} in {self._rows(wrong)}"
            )
        if len(set(numbers)) == 1 and len(numbers) > 1:
            _log.warning("column '%s' holds one class only", self.column)
            if names is None:
                raise ValueError(
                    f"Column '{self.column}' wants two or more classes. Received: "
                    f"{short(values.iloc[0])} in every row. If that is meant, pass "
                    f"`classes`."
                )
        return numbers.astype("int32")

    def _found(self, names):
        """The classes found in the table, if the head can be meant for them."""
        names = (
            sorted(names, key=int) if all(map(_is_integer, names)) else sorted(names)
        )
        wanted = 2 if self.width == 1 else self.width
        if len(names) == 1:
            raise ValueError(
                f"Column '{self.column}' wants two or more classes. Received: "
                f"{short(names[0])} in every row. If that is meant, pass `classes`."
            )
        if len(names) != wanted:
            raise ValueError(
                f"Column '{self.column}' holds {len(names)} classes and the model's "
                f"head has {self.width} outputs, so the table cannot tell the classes: "
                f"pass `classes`, the list of names in the order of the outputs, or "
                f"give the head names with `mmkeras.heads.classification`. "
                f"Found: {_shown(names)}"
            )
        return names

    def _multi(self, values):
        """Multi-hot rows from "a|b" strings or lists of names."""
        rows = [class_names(x) for x in values]
        names = self.classes
        if names is None:
            names = self._found({name for row in rows for name in row})
        known = set(names)
        fits = np.array([set(row) <= known for row in rows])
        self._check_known(fits, values, names)
        place = {name: i for i, name in enumerate(names)}
        hot = np.zeros((len(rows), len(names)), "float32")
        for i, row in enumerate(rows):
            hot[i, [place[name] for name in row]] = 1.0
        return hot

    def _numbers(self, values):
        """One number a row, or lists of them."""
        if values.map(_is_list).any():
            table = pandas.DataFrame([list(x) for x in values], index=values.index)
            columns = [table[x].rename(self.column) for x in table]
        else:
            columns = [values]
        return self._stack(columns)

    def _number_columns(self):
        if self.head and self.head.kind == "single":
            raise ValueError(
                f"`label` wants one column: the head is for one class a row. "
                f"Received: {self.column}"
            )
        columns = [want_column(self.frame, x, "`label`") for x in self.column]
        missing = np.any([[is_missing(y) for y in x] for x in columns], axis=0)
        if missing.any() and getattr(self.head, "absent_labels", False):
            return self._with_absent(missing)
        return self._stack(columns)

    def _stack(self, columns):
        if self.width is not None and self.width != len(columns):
            raise ValueError(
                f"`label` wants {self.width} number(s) a row, as many as the head has "
                f"outputs. Received: {len(columns)} (column {self.column!r})"
            )
        numbers = [floats(x, self.index, self.rows) for x in columns]
        return np.stack(numbers, axis=1)

    def _check_known(self, fits, values, names):
        wrong = ~np.asarray(fits, bool)
        if wrong.any():
            more = "" if len(names) <= 50 else f" ... ({len(names)} in all)"
            raise ValueError(
                f"Column '{self.column}' wants one of the classes {names[:50]}{more}. "
                f"Received: {short(values[wrong].iloc[0])} in {self._rows(wrong)}"
            )

    def _strings(self, values):
        """Which cells are strings, or lists of strings."""
        return values.map(
            lambda x: (
                all(isinstance(y, str) for y in x)
                if _is_list(x)
                else isinstance(x, str)
            )
        )

    def _rows(self, wrong):
        return rows_text(self.rows[np.flatnonzero(wrong)], self.index)


def class_name(value):
    """A label as a class name: 3.0 is "3"."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def class_names(cell):
    """The class names in one cell."""
    parts = cell if _is_list(cell) else str(class_name(cell)).split("|")
    return [x for x in (class_name(part).strip() for part in parts) if x]


def _shown(names):
    """The first twenty names."""
    return f"[{', '.join(map(short, names[:20]))}]"


def _is_list(cell):
    return isinstance(cell, list | tuple | set | np.ndarray)


def _is_integer(name):
    return name.removeprefix("-").isdecimal()
