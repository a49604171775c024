"""`Index`: vectors of a shared space with the rows they stand for, to be searched."""

import dataclasses
import json

import numpy as np
import pandas
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmkeras.aside import aside, to_disk
from mmkeras.data.table import as_frame
from mmkeras.retrieval import exact, flat
from mmkeras.retrieval.embed import embed, unit

_FORMAT = "mmkeras index 1"


@dataclasses.dataclass(frozen=True)
class Found:
    """What `Index.search` gives.

    Args:
        scores: float32 array `(queries, k)`, cosines, the best first.
        positions: int64 array `(queries, k)`, places in the index; -1 where an
            approximate index of FAISS found fewer.
        rows: DataFrame, the index's rows.
    """

    scores: np.ndarray
    positions: np.ndarray
    rows: pandas.DataFrame

    def to_frame(self, query=0):
        """DataFrame, the rows found for one query, with their cosines in front."""
        there = self.positions[query] >= 0
        found = self.rows.iloc[self.positions[query][there]].copy()
        scores = self.scores[query][there]
        found.insert(0, "cosine", scores, allow_duplicates=True)
        return found


class Index:
    """Rows in a shared space: score(q, r) = q r / (|q| |r|), the k best of all rows.

    The search is exact, a matrix product and a top-k in blocks, so that memory stays
    bounded whatever the number of rows. What finds and what is found may be of any
    modalities of the space: words find pictures, sounds find words.

    On a GPU that multiplies in TF32 cosines are off by about 1e-3:
    `tf.config.experimental.enable_tensor_float_32_execution(False)` ends that.

    Example:
    >>> index = mmkeras.retrieval.Index(units=2)
    >>> index.add([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], rows=["east", "north", "both"])
    >>> found = index.search([[0.1, 5.0]], k=2)
    >>> found.to_frame()["id"].tolist()
    ['north', 'both']
    >>> found.scores.round(2)
    array([[1.  , 0.72]], dtype=float32)

    Args:
        units: Integer, width of the space.
        faiss: optional factory string of FAISS, which is an extra (mmkeras[faiss]):
            "Flat" (exact), "HNSW32", "IVF64,Flat" and the like, trained on the rows
            that stand in the index at the first search after they changed.

    Raises:
        ValueError: `units` is not a positive integer.
        ImportError: FAISS is asked for and not installed.
    """

    def __init__(self, units, faiss=None):
        if not isinstance(units, int) or units < 1:
            raise ValueError(
                f"`units` wants a positive integer. Received: units={units!r}"
            )
        if faiss is not None:
            flat.library()
        self.units, self.faiss, self.root = units, faiss, None
        self._parts, self._frames, self._built = [], [], None

    @classmethod
    def from_table(
        cls, model, table, modality, *, column=None, root=None, faiss=None, **options
    ):
        """The index of a table's column, encoded by a model; the rows come along.

            index = Index.from_table(model, "products.csv", "photo")
            found = index.search(embed(model, "title", ["a red cup"]), k=5)

        Rows whose cell is empty, or bad and taken as absent, are left out.

        Args:
            model: as `embed` takes it.
            table: path or DataFrame.
            modality: the modality that is indexed.
            column: its column, where that is called otherwise.
            root: folder that relative paths start from; default: the table's own.
            faiss: as `Index`.
            **options: `batch_size`, `on_bad_row`, `bad_rows`, `progress`, as `embed`.

        Raises:
            ValueError: no row has the modality, or as `embed`.
        """
        frame = as_frame(table)
        root = root or frame.attrs.get("root")
        vectors = embed(model, modality, frame, column=column, root=root, **options)
        there = np.any(vectors != 0, axis=1)
        if not there.any():
            raise ValueError(f"`table` wants rows that have '{modality}'. None has.")
        made = cls(vectors.shape[1], faiss)
        made.add(vectors[there], frame.iloc[np.flatnonzero(there)])
        made.root = None if root is None else str(root)
        return made

    def __len__(self):
        return sum(map(len, self._parts))

    @property
    def vectors(self):
        """float32 array `(rows, units)`, each of length 1."""
        if len(self._parts) != 1:
            empty = [np.zeros((0, self.units), "float32")]
            self._parts = [np.concatenate(self._parts or empty)]
        return self._parts[0]

    @property
    def rows(self):
        """DataFrame, what was given with the vectors, by their places."""
        if len(self._frames) != 1:
            frames = self._frames or [pandas.DataFrame()]
            self._frames = [pandas.concat(frames, ignore_index=True)]
        return self._frames[0]

    def add(self, vectors, rows=None):
        """Adds vectors behind those that are there; they are scaled to length 1.

        Args:
            vectors: array `(rows, units)`.
            rows: optional DataFrame or list of dicts, one a vector; of anything else in
                a list, such as numbers or names, the column "id".

        Raises:
            ValueError: another width or number of rows, vectors that are not finite, or
                of zeros, as an absent modality has: leave these rows out.
        """
        vectors = self._checked(vectors, "vectors")
        blank = np.flatnonzero(~np.any(vectors != 0, axis=1))
        if len(blank):
            raise ValueError(
                f"`vectors` wants directions. Received: zeros in {len(blank)} rows, "
                f"the first at {blank[0]}: an absent modality? Leave such rows out."
            )
        frame = _frame(rows, len(vectors))
        self._parts.append(vectors)
        self._frames.append(frame)
        self._built = None

    def search(self, queries, k=10):
        """The rows nearest to each query; of equal cosines the earlier row first.

        Args:
            queries: array `(queries, units)`, such as `embed` gives; of any length. A
                query of zeros, an absent modality, is as near to all rows.
            k: Integer, how many; all rows where there are fewer.

        Returns:
            `Found`.

        Raises:
            ValueError: another width, queries that are not finite, k below 1, or an
                index without rows.
        """
        queries = self._checked(queries, "queries")
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"`k` wants a positive integer. Received: k={k!r}")
        if not len(self):
            raise ValueError("The index has no rows yet: `add` some.")
        k = min(k, len(self))
        if self.faiss is None:
            scores, positions = exact.search(queries, self.vectors, k)
        else:
            if self._built is None:
                self._built = flat.built(self.faiss, self.vectors)
            scores, positions = self._built.search(queries, k)
        return Found(scores, positions, self.rows)

    def save(self, path):
        """Writes the index as one safetensors file, whole or not at all.

        The rows stand in it as JSON. A FAISS index is built anew when it is needed.

        Args:
            path: path of a file, such as "pictures.safetensors".

        Raises:
            TypeError: a row holds what JSON cannot, such as a file's bytes.
        """
        rows = np.frombuffer(_json(self.rows).encode(), "uint8")
        about = {"units": self.units, "faiss": self.faiss, "root": self.root}
        # one entry: safetensors writes several in an order of their own each time
        about = {_FORMAT: json.dumps(about)}
        with aside(path) as temporary:
            save_file({"vectors": self.vectors, "rows": rows}, temporary, about)
            to_disk(temporary)

    @classmethod
    def load(cls, path):
        """Reads an index that `save` wrote. It holds numbers and JSON, no code.

        Raises:
            ValueError: no such file, one that is cut or damaged, or no index.
        """
        try:
            with safe_open(path, "numpy") as file:
                about = (file.metadata() or {}).get(_FORMAT)
                names = sorted(file.keys())
                if about is None or names != ["rows", "vectors"]:
                    raise ValueError(
                        f"`path` wants what `Index.save` wrote. Received: '{path}', a "
                        f"safetensors file of {names}"
                    )
                vectors = file.get_tensor("vectors")
                rows = json.loads(file.get_tensor("rows").tobytes())
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"`path` wants what `Index.save` wrote. Received: '{path}': {error}"
            ) from error
        about = json.loads(about)
        made = cls(about["units"], about["faiss"])
        made.root = about["root"]
        made._parts = [vectors]
        made._frames = [pandas.DataFrame(rows["data"], columns=rows["columns"])]
        if not rows["columns"]:
            made._frames = [pandas.DataFrame(index=range(len(vectors)))]
        return made

    def _checked(self, vectors, argument):
        vectors = np.asarray(vectors, "float32")
        if vectors.ndim != 2 or vectors.shape[1] != self.units:
            raise ValueError(
                f"`{argument}` wants an array (rows, {self.units}). Received: shape "
                f"{vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise ValueError(f"`{argument}` wants finite numbers. Received: NaN or inf")
        # in C's order: safetensors writes the bytes as they lie
        return np.ascontiguousarray(unit(vectors))


def _frame(rows, count):
    """What is carried along, as a DataFrame of its own."""
    if rows is None:
        return pandas.DataFrame(index=range(count))
    if not isinstance(rows, pandas.DataFrame):
        rows = list(rows)
        named = bool(rows) and all(isinstance(x, dict) for x in rows)
        rows = pandas.DataFrame(rows if named else {"id": rows})
    if len(rows) != count:
        raise ValueError(f"`rows` wants {count}, one a vector. Received: {len(rows)}")
    frame = rows.reset_index(drop=True)
    frame.attrs = {}
    return frame


def _json(frame):
    data = [
        [
            _plain(value, column)
            for column, value in zip(frame.columns, row, strict=True)
        ]
        for row in frame.itertuples(index=False, name=None)
    ]
    return json.dumps({"columns": [str(x) for x in frame.columns], "data": data})


def _plain(value, column):
    """A cell as JSON takes it; NaN becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pandas.NA or value is pandas.NaT:
        return None
    if isinstance(value, str | int | float | bool):
        return None if value != value else value
    raise TypeError(
        f"`Index.save` wants strings and numbers in its rows. Received: "
        f"{type(value).__name__} in column '{column}'. Leave that column out."
    )
