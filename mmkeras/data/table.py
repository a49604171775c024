"""Reading tables: CSV, TSV, Parquet and JSON lines, their folder and their columns."""

import difflib
import io
import json
import os

import pandas

from mmkeras.data import remote
from mmkeras.data.bad import reason
from mmkeras.data.directory import table_from_directory

_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")


def read_table(path):
    """Reads a table whose cells are paths, strings, numbers or labels.

    Words such as "NA" or "None" stay words: only an empty cell is missing. A column
    becomes numbers where every cell is a number without leading zeros ("007" stays).
    The table's folder is kept in `table.attrs["root"]`, its path in "path".

    Args:
        path: path of a .csv, .tsv, .parquet (wants pyarrow) or .jsonl file; local, or
            one whose scheme tf.io.gfile reads (gs://). Or a local folder of class
            folders: see `table_from_directory`.

    Returns:
        `pandas.DataFrame`.

    Raises:
        ValueError: the file is not there, is empty, has no rows, does not parse, is of
            an unknown kind, or its scheme (s3://) is registered for no file system.
    """
    path = os.fspath(path)
    remote.check(path, "`table`")
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _SUFFIXES and os.path.isfile(os.path.join(path, "shards.json")):
        raise ValueError(
            f"`table` wants a table. {path!r} is a folder of shards, as `mmkeras "
            f"shard` writes it: `mmkeras.data.from_shards` reads it."
        )
    if suffix not in _SUFFIXES and os.path.isdir(path):
        return table_from_directory(path)
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"`table` wants a file that ends in one of {_SUFFIXES}. Received: {path!r}"
        )
    try:
        table = _parse(path, suffix)
    except FileNotFoundError as error:
        raise ValueError(
            f"`table` wants the path of a file that is there. Received: {path!r}"
        ) from error
    except ImportError as error:
        raise ValueError(
            f"Parquet wants pyarrow: `pip install pyarrow`. Received: {path!r}"
        ) from error
    except (ValueError, OSError, OverflowError) as error:  # pandas' and codecs' too
        raise ValueError(
            f"The table {path!r} cannot be read as {suffix}: {error}"
        ) from error
    if table.empty:
        raise ValueError(f"The table {path!r} has no rows.")
    table.attrs.update(root=_folder(path), path=path)
    return table


def _folder(path):
    """The folder that a table's paths start from; of ram://a.csv it is ram://."""
    if "://" in path:
        return path[: path.rindex("/") + 1]
    return os.path.dirname(path) or "."


def _parse(path, suffix):
    with _open(path) as file:
        if suffix in (".parquet", ".pq"):
            table = pandas.read_parquet(file)
            # of tables put together: a row is known by its place in the index
            return table if table.index.is_unique else table.reset_index(drop=True)
        if suffix in (".csv", ".tsv"):
            table = pandas.read_csv(
                file,
                sep="\t" if suffix == ".tsv" else ",",
                dtype=str,
                keep_default_na=False,
                na_values=[""],
            )
            return table.apply(_numbers)
        return _records(file, lines=suffix != ".json")


def _records(file, lines):
    """JSON objects, one a line or in a list; pandas would turn strings into dates."""
    rows = [json.loads(x) for x in file if x.strip()] if lines else json.load(file)
    if not isinstance(rows, list) or not all(isinstance(x, dict) for x in rows):
        raise ValueError(
            "wanted objects, one a line, or in a .json file a list of them"
        )
    return pandas.DataFrame(rows)


def _open(path):
    if "://" not in path:
        return open(path, "rb")
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return io.BytesIO(file.read())  # whole: what fails is told here
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(path) from error
    except tf.errors.OpError as error:
        raise OSError(reason(error)) from error


def _numbers(column):
    """The column as numbers where nothing is lost by it, else the column itself."""
    there = column.dropna().astype(str)
    if (
        there.empty
        or not there.str.fullmatch(r"-?(0|[1-9]\d{0,17})(\.\d+)?([eE][-+]?\d+)?").all()
    ):
        return column
    numbers = pandas.to_numeric(column)
    if there.str.fullmatch(r"-?\d+").all():
        return numbers.astype("int64" if len(there) == len(column) else "Int64")
    return numbers


def as_frame(table):
    """A table given as a path or a DataFrame, checked for rows and column names."""
    frame = table if isinstance(table, pandas.DataFrame) else None
    if frame is None:
        if not isinstance(table, str | os.PathLike):
            raise TypeError(
                f"`table` wants a path or a pandas.DataFrame. "
                f"Received: {type(table).__name__}"
            )
        frame = read_table(table)
    if not len(frame):
        raise ValueError("`table` wants at least one row. Received: an empty table.")
    return frame


def match_columns(frame, modalities, columns):
    """Which column holds each modality: dict, modality -> column, or list of them.

    Args:
        frame: DataFrame.
        modalities: dict, modality -> contract.
        columns: dict, modality -> column, for those whose names differ; or None. For a
            contract of several columns a list.

    Raises:
        ValueError: an unknown modality, or a column that is not in the table.
    """
    columns = dict(columns or {})
    unknown = sorted(set(columns) - set(modalities))
    if unknown:
        raise ValueError(
            f"`columns` names modalities that the model does not have: {unknown}. "
            f"Valid names: {sorted(modalities)}"
        )
    matched = {}
    for name, contract in modalities.items():
        matched[name] = columns.get(name, name)
        what = '"<column>"'
        if contract.columns:
            matched[name] = _several(name, contract.columns, columns.get(name))
            what = '["<column>", ...]'
        for column in matched[name] if contract.columns else [matched[name]]:
            want_column(
                frame,
                column,
                f"modality '{name}'",
                f' Where the names differ pass columns={{"{name}": {what}}}.',
            )
    return matched


def _several(name, own, given):
    """A modality's table columns, in the order of its contract's `own`."""
    given = [given] if isinstance(given, str) else list(given or own)
    if sorted(map(str, given)) == sorted(own):
        return list(own)
    if len(given) != len(own):
        raise ValueError(
            f"columns['{name}'] wants {len(own)} columns, for the contract's "
            f"{list(own)} in this order. Received: {given}"
        )
    return given


def want_column(frame, column, purpose, remedy=""):
    """The column, or an error that lists the table's columns and near names."""
    found = [x for x in frame.columns if x == column]
    if len(found) == 1:
        return frame[column]
    if found:
        raise ValueError(f"The table has {len(found)} columns called {column!r}.")
    names = [str(x) for x in frame.columns]
    near = difflib.get_close_matches(str(column), names, n=3)
    hint = f" Near names: {near}." if near else ""
    shown = names[:50] + ["..."] * (len(names) > 50)
    raise ValueError(
        f"The table has no column {column!r} for {purpose}.{hint}{remedy} "
        f"Its columns: {shown}"
    )


def is_missing(cell):
    """None, NaN, NaT, pandas.NA and the empty string."""
    if isinstance(cell, str):
        return not cell
    return bool(pandas.api.types.is_scalar(cell) and pandas.isna(cell))
