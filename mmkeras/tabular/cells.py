"""Cells of a table as text: one spelling for a number and for a category."""

import re

import numpy as np
import pandas

#: A number as text, for Python and for TensorFlow; no "nan", "inf" or "0x10".
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
#: A field of a line of CSV, as `tf.io.decode_csv` splits it.
_FIELD = r'([\r\n]*([^",\r\n]+|"([^"]|"")*")|)'
_SPACE = " \t\n\v\f\r"  # what tf.strings.strip takes off
_LARGEST = float(np.finfo("float32").max)


def line_of(count):
    """The regular expression of a line with that many fields."""
    return _FIELD + (f"(,{_FIELD})" * (count - 1))


def number(value):
    """A number's one spelling ("34.0" for 34 and "34", "1.0" for True), "" if missing.

    Raises:
        ValueError: it is no number, or not a finite float32.
    """
    if is_missing(value):
        return ""
    if isinstance(value, bytes | str):
        value = _decoded(value)
        if not value:
            return ""
        found = float(value) if re.fullmatch(NUMBER, value) else None
    else:
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            found = None
    if found is None or isinstance(value, np.datetime64 | np.timedelta64):
        raise ValueError(f"{_shown(value)} is no number")
    if not abs(found) <= _LARGEST:
        raise ValueError(f"{_shown(value)} is no finite number (float32)")
    return repr(found)


def category(value):
    """A category as text ("3" for 3 and 3.0), "" if missing.

    Raises:
        ValueError: it is neither a string nor a number.
    """
    if is_missing(value):
        return ""
    if isinstance(value, bytes | str):
        return _decoded(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)  # integers become floats in a column with gaps
    if isinstance(value, int | float | np.generic):
        return str(value)
    raise ValueError(f"{_shown(value)} is no category: wanted a string or a number")


def quoted(field):
    """A field of a CSV line, in quotes where it must be."""
    if not any(x in field for x in ',"\r\n'):
        return field
    return '"' + field.replace('"', '""') + '"'


def is_missing(value):
    """None, NaN, NaT, pandas.NA and the empty string."""
    if isinstance(value, bytes | str):
        return not value
    return bool(pandas.api.types.is_scalar(value) and pandas.isna(value))


def _decoded(value):
    """Text without spaces around it; lone surrogates and wrong bytes replaced."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.encode("utf-8", "replace").decode().strip(_SPACE)


def _shown(value):
    return f"{value!r:.80}"
