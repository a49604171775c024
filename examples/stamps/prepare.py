"""Turns the Tux Paint stamps into tables that mmkeras reads.

    python examples/stamps/assets.py       # once: fetches the stamps, 160 MB
    python examples/stamps/prepare.py [--cache .cache] [--out .cache/stamps_table]

Data: Debian's tuxpaint-stamps-default (GPL-2): drawings and photographs with captions
and spoken descriptions in many languages. stamps.csv, beside this file, holds what we
add to it: labels, groups and the split (no object is in two splits). Captions are not
in it: they are read from the package.

What comes out in a minute, 106 MB:

    pictures/        PNG, 256 x 256, the picture centred on grey (drawings have no
                     background: white things would vanish on white)
    clips/           WAV, 16 kHz, mono, 16 bit: the spoken descriptions
    a_table.csv      task A: photo, title, French clip -> label (14 classes)
    b_table.csv      task B: the same, each word of the caption dropped with p = 0.6
    c_table.csv      task C: photo, title, clip in a language drawn at random
                     -> what it shows x language family (6 classes)
    unlabelled.csv   the rows without a label

Columns: photo, title, clip, label, split, group. Paths start from the table's folder.
An empty cell is a missing modality. What is there already is kept: run it again after
an interruption.
"""

import argparse
import csv
import io
import os
import re
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

CACHE = Path(__file__).resolve().parents[2] / ".cache"
ROWS = Path(__file__).with_name("stamps.csv")
STAMPS = Path("stamps/usr/share/tuxpaint/stamps")
SIZE = 256
GREY = (128, 128, 128)
SAMPLING_RATE = 16000
COLUMNS = ("photo", "title", "clip", "label", "split", "group")


def read_rows():
    with open(ROWS, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_caption(picture):
    """The English caption of a picture: the first line of the .txt file beside it."""
    text = picture.with_suffix(".txt").read_text(encoding="utf-8")
    return text.splitlines()[0].strip()


def drop_words(caption, identity, rate=0.6):
    """The caption with each word dropped with probability `rate`, fixed by the id."""
    rng = np.random.default_rng(zlib.crc32(identity.encode()))
    return " ".join(word for word in caption.split() if rng.random() > rate)


def write_whole(path, data):
    """Writes bytes aside, then renames: a file is whole or it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(path.name + ".part")
    work.write_bytes(data)
    os.replace(work, path)


def without_entities(svg):
    """An svg with its own entities (Illustrator's namespaces) put in place, once.

    cairosvg refuses files with entities, as it should: nested ones can grow without
    end, external ones read other files. Plain replacement can do neither.
    """
    entities = dict(re.findall(rb'<!ENTITY\s+(\w+)\s+"([^"]*)"\s*>', svg))
    svg = re.sub(rb"<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>", b"", svg, count=1, flags=re.S)
    for name, value in entities.items():
        svg = svg.replace(b"&" + name + b";", value)
    return svg


def open_picture(path):
    """A png or svg file as an RGBA picture; drawings are rendered large enough."""
    if path.suffix == ".svg":
        import cairosvg

        # twice the size: shrinking then smooths the edges
        svg = without_entities(path.read_bytes())
        path = io.BytesIO(cairosvg.svg2png(bytestring=svg, output_width=2 * SIZE))
    return Image.open(path).convert("RGBA")


def render(source, target):
    """The picture scaled to fit a grey square of `SIZE` pixels, as a PNG."""
    picture = open_picture(source)
    scale = SIZE / max(picture.size)
    size = [max(1, round(side * scale)) for side in picture.size]
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (SIZE, SIZE), GREY)
    corner = [(SIZE - side) // 2 for side in size]
    square.paste(picture, corner, mask=picture.getchannel("A"))
    data = io.BytesIO()
    square.save(data, "PNG")
    write_whole(target, data.getvalue())


def convert(source, target):
    """The sound as mono WAV at `SAMPLING_RATE`, 16 bit."""
    import librosa
    import soundfile

    wave, _ = librosa.load(source, sr=SAMPLING_RATE, mono=True)
    data = io.BytesIO()
    soundfile.write(data, wave, SAMPLING_RATE, subtype="PCM_16", format="WAV")
    write_whole(target, data.getvalue())


def picture_path(source):
    """animals/birds/crow.svg to pictures/animals__birds__crow.png."""
    return "pictures/" + source.replace("/", "__").rpartition(".")[0] + ".png"


def clip_path(source):
    """As `picture_path`; "" where there is no sound."""
    if not source:
        return ""
    return "clips/" + source.replace("/", "__").rpartition(".")[0] + ".wav"


def make_files(rows, stamps, out):
    """Renders the pictures and converts the clips that are not there yet."""
    jobs = {}
    for row in rows:
        jobs[picture_path(row["picture"])] = (render, row["picture"])
        for clip in filter(None, (row["speech_fr"], row["speech_mixed"])):
            jobs[clip_path(clip)] = (convert, clip)
    todo = [(name, *job) for name, job in jobs.items() if not (out / name).exists()]
    for name, make, source in track(todo, description="pictures and clips"):
        try:
            make(stamps / source, out / name)
        except Exception as error:
            raise RuntimeError(
                f"{stamps / source} does not convert: {error}"
            ) from error
    return len(jobs), len(todo)


def make_tables(rows, stamps):
    """Table name -> rows of `COLUMNS`."""
    tables = {"a_table": [], "b_table": [], "c_table": [], "unlabelled": []}
    for row in rows:
        caption = read_caption(stamps / row["picture"])
        dropped = drop_words(caption, row["id"])
        photo = picture_path(row["picture"])
        french, mixed = clip_path(row["speech_fr"]), clip_path(row["speech_mixed"])
        rest = (row["split"], row["group"])
        if not row["label"]:
            tables["unlabelled"].append((photo, caption, french, "", *rest))
            continue
        tables["a_table"].append((photo, caption, french, row["label"], *rest))
        tables["b_table"].append((photo, dropped, french, row["label"], *rest))
        if row["label_mixed"]:
            tables["c_table"].append((photo, caption, mixed, row["label_mixed"], *rest))
    return tables


def write_table(path, rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="default: %(default)s"
    )
    parser.add_argument("--out", type=Path, help="default: CACHE/stamps_table")
    options = parser.parse_args(arguments)
    out = (options.out or options.cache / "stamps_table").absolute()
    stamps = (options.cache / STAMPS).absolute()
    if not stamps.is_dir():
        parser.error(f"{stamps} is not there: run examples/stamps/assets.py first")
    start = time.monotonic()
    rows = read_rows()
    files, made = make_files(rows, stamps, out)
    print(f"{files} pictures and clips, {made} of them new")
    for name, table in make_tables(rows, stamps).items():
        write_table(out / f"{name}.csv", table)
        splits = [row[COLUMNS.index("split")] for row in table]
        counts = [f"{splits.count(x)} {x}" for x in ("train", "val", "test")]
        empty = {x: sum(not row[i] for row in table) for i, x in enumerate(COLUMNS[:3])}
        without = [f"{n} without {x}" for x, n in empty.items() if n]
        print(f"{name}.csv: {len(table)} rows; {', '.join(counts + without)}")
    print(f"{out}: done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
