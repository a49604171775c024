"""A table on the disk becomes shards; what was stopped goes on."""

from collections import Counter

from mmkeras import data
from mmkeras.data.bad import to_csv
from mmkeras.data.cells import full_path
from mmkeras.data.sharding import manifest


def shard(table, out, progress, files=None, split=None, rows=1000, on_bad_row="raise"):
    """Writes the shards of a table; see `data.write_shards`.

    Args:
        table: path of the table.
        out: folder of the shards, or a URL.
        progress: `progress.Progress`.
        files: list of the columns whose cells are files; default: told from the cells.
        split: column that names each row's part.
        rows: Integer, rows in a shard.
        on_bad_row: "raise" or "absent".

    Returns:
        What was written, for the screen. Cells that could not be read are in
        bad_rows.csv in the folder.

    Raises:
        ValueError: as `data.write_shards`.
        KeyboardInterrupt: it was stopped; the message says how to go on.
    """
    frame, bad_rows = data.read_table(table), []
    try:
        with progress.rows(len(frame), "Writing shards") as advance:
            found = data.write_shards(
                frame,
                out,
                files=files,
                split=split,
                rows_per_shard=rows,
                on_bad_row=on_bad_row,
                bad_rows=bad_rows,
                progress=advance,
            )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"The shards in '{out}' are whole: run the same command again to go on."
        ) from error
    bad_path = full_path("bad_rows.csv", out)
    _write_bad(bad_path, bad_rows)
    return _report(found, out, bad_rows, bad_path)


def _write_bad(path, bad_rows):
    """Writes the bad cells, or removes those of an earlier run."""
    import tensorflow as tf

    if bad_rows:
        manifest.write_text(path, to_csv(bad_rows))
    elif tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def _report(found, out, bad_rows, bad_path):
    kinds = {}
    for column, about in found["columns"].items():
        kinds.setdefault(about["kind"], []).append(column)
    shards = found["shards"]
    size = sum(x["bytes"] for x in shards) / 1e6
    lines = [f"Written: {out}/shards.json, {len(shards)} shards, {size:,.1f} MB"]
    names = {"file": "files", "number": "numbers", "string": "strings"}
    for kind, columns in kinds.items():
        lines.append(f"{names.get(kind, 'other values')}: {', '.join(columns)}")
    parts = Counter()
    for x in shards:
        parts[x["part"]] += x["rows"]
    if found["split"]:
        lines.append(
            ", ".join(f"{part}: {rows:,} rows" for part, rows in parts.items())
        )
    if bad_rows:
        lines.append(
            f"{len(bad_rows)} cells could not be read and are missing in the shards: "
            f"all are in {bad_path}"
        )
    return "\n".join(lines)
