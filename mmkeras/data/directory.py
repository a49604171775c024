"""Folders of classes become a table: files of one name are one row's modalities."""

import os
import warnings
from pathlib import Path

import pandas

#: What a file is, by its ending; the table's columns have these names.
KINDS = {
    "image": (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"),
    "audio": (".flac", ".mp3", ".ogg", ".wav"),
    "text": (".txt",),
}
_KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings}
#: Names of a top folder that tell the split, and the word for it.
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def table_from_directory(root):
    """Reads `root/class/name.ext`: one row for each name, its files as modalities.

    `cat/01.jpg`, `cat/01.txt` and `cat/01.wav` are one row of class "cat" with an
    image, a text (the file's content) and an audio; what a row lacks is missing.
    Folders inside of a class are its own: `cat/indoor/01.jpg` is another row. Where the
    folders under `root` are called train, val and test, the classes lie in those and
    the column "split" tells them apart. Names that begin with a dot are passed over;
    files of other kinds too, with a warning that names them.

    Example:
    >>> import pathlib, tempfile
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for name, text in (("cat/1", "it purrs"), ("dog/1", "it barks")):
    ...     (root / name).parent.mkdir()
    ...     _ = (root / f"{name}.txt").write_text(text)
    >>> mm.data.table_from_directory(root)
          text label
    0  it purrs   cat
    1  it barks   dog

    Args:
        root: the folder, as `keras.utils.image_dataset_from_directory` and
            torchvision's `ImageFolder` read it.

    Returns:
        `pandas.DataFrame` in the order of the names: columns "image", "audio" (paths
        under `root`) and "text", those that are there; "label"; "split" if there is
        one. `table.attrs["root"]` is `root`, where `from_table` looks.

    Raises:
        ValueError: no such folder, no class folders, a class without files, files
            beside the class folders, two files of one name and kind, or a text that is
            not UTF-8; the message names the path.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"`root` wants a folder that is there. Received: '{root}'")
    tops = _folders(root)
    if not tops:
        raise ValueError(
            f"`root` wants a folder for each class. '{root}' holds no folders."
        )
    split = all(x.name.lower() in _SPLITS for x in tops)
    unknown, rows = [], []
    for top in tops:
        classes = _folders(top) if split else [top]
        if not classes:
            raise ValueError(f"'{top}' wants a folder for each class. It holds none.")
        for folder in classes:
            found = _rows(root, folder, unknown)
            more = {"split": _SPLITS[top.name.lower()]} if split else {}
            rows += [{**row, "label": folder.name, **more} for row in found]
    if unknown:
        shown = ", ".join(f"'{x}'" for x in unknown[:5])
        warnings.warn(
            f"{len(unknown)} files are of kinds that are not read: {shown}"
            f"{', ...' if len(unknown) > 5 else ''}. Kinds: {sorted(_KIND_OF)}",
            stacklevel=2,
        )
    names = [*KINDS, "label", "split"]
    table = pandas.DataFrame(rows)
    table = table[[x for x in names if x in table.columns]]
    table.attrs["root"] = str(root)
    return table


def _folders(folder):
    """The folders inside, by name; a file beside them would be lost."""
    inside = sorted(x for x in folder.iterdir() if not x.name.startswith("."))
    folders = [x for x in inside if x.is_dir()]
    for path in inside:
        if folders and path.suffix.lower() in _KIND_OF:
            raise ValueError(
                f"'{path}' lies beside the class folders and has no class. Move it "
                f"into one of {[x.name for x in folders[:10]]}, or away."
            )
    return folders


def _rows(root, folder, unknown):
    """The rows of one class folder, in the order of their names."""
    found = {}
    for path in _files(folder):
        kind = _KIND_OF.get(path.suffix.lower())
        if kind is None:
            unknown.append(path.relative_to(root))
            continue
        row = found.setdefault(path.with_suffix(""), {})
        if kind in row:
            raise ValueError(
                f"'{path}' is a second {kind} of its name, beside '{row[kind]}'. Give "
                f"each row's files a name of their own."
            )
        row[kind] = str(path.relative_to(root)) if kind != "text" else path
    if not found:
        raise ValueError(
            f"The class folder '{folder}' holds no files that are read. Kinds: "
            f"{sorted(_KIND_OF)}"
        )
    rows = [found[name] for name in sorted(found)]
    for row in rows:
        if "text" in row:
            row["text"] = _text(row["text"])
    return rows


def _files(folder):
    for top, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(x for x in folders if not x.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(top) / name


def _text(path):
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"The text '{path}' is not UTF-8: {error}") from error
