"""`Columns`: several columns of a table, numbers and categories, as one modality.

Keras' FeatureSpace gives the same numbers on rows without a gap (a test says so), yet
cannot stand here itself: one missing number makes its mean NaN, a missing category is
an unknown one, and its string inputs crash `fit` on several devices. So the strings end
at `read`, where the vocabularies are, and `call` is plain maths on floats.
"""

import functools

import keras
import numpy as np
from keras import ops

from mmkeras.modality import ModalityInput
from mmkeras.tabular import cells, statistics

_GAPS = ("missing", "unknown")
#: Characters of a wrong cell that an error shows.
_SHOWN = 80


@keras.saving.register_keras_serializable("mmkeras")
class Columns(ModalityInput):
    """Reads columns of numbers and categories as one vector, and encodes it.

    `read` gives one float a column: the number, or a category's place in its list (0
    is a category that is not in the list, the first one is 1); NaN is a missing cell.
    `call` gives z = (x - mean) / std for each number, then 1 where it is missing (z is
    0 there), then each category one-hot: missing, unknown, and those of the list.
    `slots` names these. A row with no cell at all is an absent modality.

    An encoded value is one line of CSV, the columns in the order of `columns`: numbers
    first, categories behind them. A field with a comma, a quote or a line break stands
    in quotes; an empty field is missing; spaces around a field do not count.

    Example:
    >>> import pandas
    >>> train = pandas.DataFrame({"age": [20, 40], "colour": ["red", "blue"]})
    >>> columns = mm.tabular.Columns.from_frame(train, ["age", "colour"])
    >>> columns.slots
    ('age', 'age missing', 'colour missing', 'colour unknown', 'colour=blue', ...)
    >>> columns.line({"age": 50, "colour": "red"})
    '50.0,red'
    >>> columns(columns.read(["50.0,red", "30,", ",pink"])).numpy()
    array([[2., 0., 0., 0., 0., 1.],
           [0., 0., 1., 0., 0., 0.],
           [0., 1., 0., 1., 0., 0.]], dtype=float32)

    Args:
        numeric: dict, column -> (mean, standard deviation), of the training rows.
        categorical: dict, column -> list of categories.

    Call arguments:
        x: float tensor `(batch, columns)`. float32 keeps 7 digits: give a date as
            days or years, not as seconds.

    Output shape: `(batch, len(slots))`, float32 under any dtype policy.

    Raises:
        ValueError: no column, one named twice, a deviation that is not above 0, a
            category named twice; in `line`, a cell that does not fit its column.
        tf.errors.InvalidArgumentError: in `read`, a field that is no number (the
            message names row and column), or a line with too many or few fields.
    """

    kind = "table"
    cell = "value"
    nan_is_missing = True

    def __init__(self, numeric=(), categorical=(), **kwargs):
        # one-hot places and prices do not fit a half: float32 whatever the policy
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.numeric = {
            str(name): (float(mean), float(std))
            for name, (mean, std) in dict(numeric).items()
        }
        self.categorical = {
            str(name): tuple(cells.category(x) for x in values)
            for name, values in dict(categorical).items()
        }
        self.columns = (*self.numeric, *self.categorical)
        _check(self)

    @classmethod
    def from_frame(
        cls,
        frame,
        columns=(),
        *,
        numeric=(),
        categorical=(),
        max_categories=100,
        min_count=1,
        **kwargs,
    ):
        """The contract of some columns of a training table, with its statistics.

        Means and deviations are those of the cells that are there. A column of one
        value gets the deviation 1.

        Args:
            frame: `pandas.DataFrame`, the training rows alone.
            columns: names of columns whose kind is told from the cells: numbers (and
                true or false) are numeric, strings are categories.
            numeric: names of columns that are numbers.
            categorical: names of columns that are categories; numbers may be.
            max_categories: Integer, the most frequent ones are kept; the others are
                unknown. A column of `columns` with more is refused.
            min_count: Integer, a category in fewer rows is unknown. With 2 the slot of
                unknown categories is trained, too; with 1 its weights stay random.
            **kwargs: further arguments of the layer, such as `name`.

        Raises:
            ValueError: no column is named, one is not in the table, named twice, has
                no value, is of no kind; a cell is no number. The message names them.
        """
        numeric, categorical = statistics.adapt(
            frame,
            list(columns),
            list(numeric),
            list(categorical),
            max_categories,
            min_count,
        )
        return cls(numeric, categorical, **kwargs)

    @property
    def tensor_shape(self):
        return (len(self.columns),)

    @property
    def slots(self):
        """What stands at each place of the output, as a tuple of strings."""
        names = [*self.numeric, *(f"{x} missing" for x in self.numeric)]
        for column, values in self.categorical.items():
            names += [f"{column} {gap}" for gap in _GAPS]
            names += [f"{column}={value}" for value in values]
        return tuple(names)

    @property
    def details(self):
        """The columns, their kinds and categories, for the card of an export."""
        numbers = [{"name": x, "kind": "number"} for x in self.numeric]
        return {
            "columns": numbers
            + [
                {"name": name, "kind": "category", "categories": list(values)}
                for name, values in self.categorical.items()
            ]
        }

    def text(self, column, value):
        """A cell as the field of a line; "" where it is missing.

        Raises:
            ValueError: it does not fit the column's kind.
        """
        make = cells.number if column in self.numeric else cells.category
        return make(value)

    def line(self, row):
        """A row as one encoded value: what `read` and the raw endpoint take.

        Args:
            row: dict, column -> cell (a column left out is missing), or the cells in
                the order of `columns`.
        """
        if not isinstance(row, dict):
            row = dict(zip(self.columns, row, strict=True))
        unknown = [x for x in row if x not in self.columns]
        if unknown:
            raise ValueError(
                f"`row` names columns that the contract does not have: {unknown}. "
                f"Valid names: {list(self.columns)}"
            )
        fields = []
        for column in self.columns:
            try:
                fields.append(self.text(column, row.get(column)))
            except ValueError as error:
                raise ValueError(f"column '{column}': {error}") from error
        return self.join(fields)

    def example(self):
        """A line that `read` takes: the training means, the first categories."""
        middle = {name: mean for name, (mean, _) in self.numeric.items()}
        first = {name: values[0] for name, values in self.categorical.items()}
        return self.line({**middle, **first})

    def join(self, fields):
        """Fields, as `text` gives them, to a line; "" where all are missing."""
        return ",".join(map(cells.quoted, fields)) if any(fields) else ""

    def read(self, raw):
        import tensorflow as tf

        raw = tf.convert_to_tensor(raw, tf.string)
        if raw.shape.rank == 0:
            return self.read(raw[None])[0]
        fields = self._fields(raw)
        missing = fields == ""
        count = len(self.numeric)
        x = tf.concat(
            [self._numbers(fields[:, :count]), self._places(fields[:, count:])], axis=1
        )
        x = tf.where(missing, np.float32("nan"), x)
        return tf.where(tf.reduce_all(missing, axis=1, keepdims=True), 0.0, x)

    def refusal(self, raw):
        import tensorflow as tf

        text = tf.strings.unicode_transcode(raw, "UTF-8", "UTF-8", errors="replace")
        fits = tf.strings.regex_full_match(text, cells.line_of(len(self.columns)))

        def numbers():
            fields = self._fields(raw[None])[:, : len(self.numeric)]
            _, told = self._parsed(fields)
            # the row is the batch's, and known to who asks
            return tf.strings.regex_replace(told, "row 0, column", "column")

        def lines():
            return tf.constant(f"it is no line of CSV with {len(self.columns)} fields")

        return tf.cond(fits, numbers, lines)

    def presence(self, raw):
        """1.0 where at least one field of the line is there."""
        import tensorflow as tf

        return tf.cast(tf.reduce_any(self._fields(raw) != "", axis=1), "float32")

    def trackables(self):
        """The TensorFlow objects that `read` needs, for who saves it as a graph."""
        return [self._table] if self.categorical else []

    def _fields(self, raw):
        """Lines `(batch,)` to fields `(batch, columns)`."""
        import tensorflow as tf

        empty = ",".join(['""'] * len(self.columns))
        raw = tf.convert_to_tensor(raw, tf.string)
        raw = tf.where(raw == "", empty, raw)
        fields = tf.io.decode_csv(raw, [[""]] * len(self.columns))
        return tf.strings.strip(tf.stack(fields, axis=1))

    def _numbers(self, fields):
        import tensorflow as tf

        numbers, told = self._parsed(fields)
        fine = tf.debugging.Assert(told == "", ["`Columns`:", told])
        with tf.control_dependencies([] if fine is None else [fine]):
            return tf.identity(numbers)

    def _parsed(self, fields):
        """Numbers, 0 for what is missing or wrong, and what is wrong, "" if nothing."""
        import tensorflow as tf

        missing = fields == ""
        good = tf.strings.regex_full_match(fields, cells.NUMBER)
        numbers = tf.strings.to_number(tf.where(good, fields, "0"), tf.float64)
        numbers = tf.cast(numbers, tf.float32)
        wrong = tf.where(~(missing | (good & tf.math.is_finite(numbers))))
        names = tf.constant([*self.numeric], tf.string)
        told = tf.strings.join(  # no ' or ": TensorFlow puts a backslash before them
            [
                "row ",
                tf.strings.as_string(wrong[:, 0]),
                ", column `",
                tf.gather(names, wrong[:, 1]),
                "`: `",
                _shown(tf.gather_nd(fields, wrong)),
                "` is no finite number",
            ]
        )
        return numbers, tf.strings.reduce_join(told, separator="; ")

    def _places(self, fields):
        import tensorflow as tf

        if not self.categorical:
            return tf.cast(tf.zeros_like(fields, tf.int32), tf.float32)
        marks = [f"{i}:" for i in range(len(self.categorical))]
        keys = tf.strings.join([tf.broadcast_to(marks, tf.shape(fields)), fields])
        return tf.cast(self._table.lookup(keys), tf.float32)

    @functools.cached_property
    def _table(self):
        """All vocabularies in one table: "<number of the column>:<category>"."""
        import tensorflow as tf

        keys, places = [], []
        for i, values in enumerate(self.categorical.values()):
            keys += [f"{i}:{value}" for value in values]
            places += range(1, len(values) + 1)
        with tf.init_scope():  # outlives the graph that happens to ask first
            pairs = tf.lookup.KeyValueTensorInitializer(
                keys, places, tf.string, tf.int32
            )
            return tf.lookup.StaticHashTable(pairs, 0)

    def call(self, x):
        x = ops.cast(x, "float32")
        missing = ops.isnan(x)
        count = len(self.numeric)
        parts = []
        if count:
            mean, std = np.array([*self.numeric.values()], "float32").T
            z = (x[:, :count] - mean) / std
            parts += [ops.where(missing[:, :count], 0.0, z)]
            parts += [ops.cast(missing[:, :count], "float32")]
        for i, values in enumerate(self.categorical.values(), count):
            known = ops.clip(x[:, i], 0, len(values)) + 1
            place = ops.cast(ops.where(missing[:, i], 0.0, known), "int32")
            parts.append(ops.one_hot(place, len(values) + len(_GAPS), dtype="float32"))
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.slots))

    def get_config(self):
        # lists: the order of columns counts, and JSON's readers may not keep a dict's
        return {
            **super().get_config(),
            "numeric": [[name, list(x)] for name, x in self.numeric.items()],
            "categorical": [[name, list(x)] for name, x in self.categorical.items()],
        }


def _shown(fields):
    """Cells as an answer may hold them: UTF-8 whatever came in, and not too long."""
    import tensorflow as tf

    text = tf.strings.unicode_transcode(fields, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.substr(text, 0, _SHOWN, unit="UTF8_CHAR")


def _check(made):
    if not made.columns:
        raise ValueError(
            "`Columns` wants at least one column, in `numeric` or `categorical`."
        )
    both = sorted(set(made.numeric) & set(made.categorical))
    if both:
        raise ValueError(f"Columns {both} are both in `numeric` and `categorical`.")
    for name, (mean, std) in made.numeric.items():
        if not (np.isfinite(mean) and np.isfinite(std) and np.float32(std) > 0):
            raise ValueError(
                f"numeric['{name}'] wants a finite mean and a standard deviation above "
                f"0. Received: {(mean, std)}"
            )
    for name, values in made.categorical.items():
        if "" in values or len(set(values)) != len(values) or not values:
            raise ValueError(
                f"categorical['{name}'] wants different categories, none of them "
                f"empty. Received: {list(values)[:50]}"
            )
