"""Rows per second from a table of pictures, words and sounds into batches.

Command: python benchmarks/input_pipeline.py [--peers-python /path/to/python]
    [--rounds 5] [--rows 1000]

The stamps' pictures (PNG), captions and speech (OGG) after `make assets` and
examples/stamps/prepare.py, else a generated table of the same kinds. Every reader gives
batches of 32: pictures 224 x 224 x 3 on grey, 64 token ids, 2 s of sound at 16 kHz.

- ours: mm.data.from_table, and with its cache of decoded clips filled.
- loop, PyDataset, DataLoader: one function a row of PIL (antialiased bilinear), the
  `tokenizers` library and soundfile + soxr; in a plain loop, in Keras' PyDataset with
  two workers (threads, and processes) read by `model.predict`, and in PyTorch's
  DataLoader with two worker processes and persistent workers.

Each lives in a process of its own; they take turns, round after round. Wall time, as
all may use both cores; the ratio is peer / ours, over 1 ours is faster.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import turns

CACHE = Path(__file__).parent.parent / ".cache"
RATE, SAMPLES, LENGTH, SIZE, BATCH = 16000, 32000, 64, 224, 32
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
WORDS += [f"##{x}" for x in "abcdefghijklmnopqrstuvwxyz"]


def ours(folder, data):
    import keras
    import pandas

    import mmkeras as mm

    table = pandas.DataFrame({x: data[x] for x in ("photo", "title", "clip")})
    contracts = {
        "photo": mm.image.Pixels((SIZE, SIZE)),
        "title": mm.text.TokenIds(list(data["words"]), length=LENGTH),
        "clip": mm.audio.Waveform(RATE, SAMPLES / RATE),
    }

    # made once, read in each pass, as `fit` does it and as the peers below are
    plain = mm.data.from_table(table, contracts, batch_size=BATCH)
    cache = Path(folder) / "cache"
    cached = mm.data.from_table(table, contracts, batch_size=BATCH, audio_cache=cache)
    return f"mmkeras on Keras {keras.__version__}", {
        "pass": lambda: sum(len(x["photo"]) for x in plain),
        "pass, clips cached": lambda: sum(len(x["photo"]) for x in cached),
    }


class RowReader:
    """One row of the peers: PIL, tokenizers, soundfile and soxr."""

    def __init__(self, data):
        from tokenizers import BertWordPieceTokenizer

        self.rows = [[str(x) for x in data[k]] for k in ("photo", "title", "clip")]
        words = {x: i for i, x in enumerate(data["words"].tolist())}
        self.tokenizer = BertWordPieceTokenizer(words)
        self.tokenizer.enable_truncation(LENGTH)
        self.tokenizer.enable_padding(length=LENGTH)

    def __len__(self):
        return len(self.rows[0])

    def __getitem__(self, row):
        import soundfile
        import soxr
        from PIL import Image

        photo, title, clip = (column[row] for column in self.rows)
        picture = Image.open(photo).convert("RGBA")
        grey = Image.new("RGBA", picture.size, (128, 128, 128, 255))
        picture = Image.alpha_composite(grey, picture).convert("RGB")
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        wave, rate = soundfile.read(clip, dtype="float32", always_2d=True)
        wave = soxr.resample(wave.mean(axis=1), rate, RATE)[:SAMPLES]
        return (
            np.asarray(picture, "float32"),
            np.array(self.tokenizer.encode(title).ids, "int32"),
            np.pad(wave, (0, SAMPLES - len(wave))),
        )


def batches(reader):
    """The rows of the reader, a batch at a time."""
    for start in range(0, len(reader), BATCH):
        rows = range(start, min(start + BATCH, len(reader)))
        columns = zip(*(reader[i] for i in rows), strict=True)
        yield [np.stack(x) for x in columns]


def loop(folder, data):
    import PIL
    import soundfile

    reader = RowReader(data)
    versions = f"PIL {PIL.__version__}, soundfile {soundfile.__version__}"
    return versions, {"pass": lambda: sum(len(x[0]) for x in batches(reader))}


def pydataset(folder, data):
    import keras

    reader = RowReader(data)

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(reader) // BATCH)

        def __getitem__(self, index):
            rows = range(index * BATCH, min((index + 1) * BATCH, len(reader)))
            columns = zip(*(reader[i] for i in rows), strict=True)
            return (dict(zip("pic", map(np.stack, columns), strict=True)),)

    shapes = {"p": (SIZE, SIZE, 3), "i": (LENGTH,), "c": (SAMPLES,)}
    inputs = {
        name: keras.Input(shape, dtype="int32" if name == "i" else "float32")
        for name, shape in shapes.items()
    }
    model = keras.Model(inputs, inputs["c"][:, :1])

    def epoch(processes):
        rows = Rows(workers=2, use_multiprocessing=processes, max_queue_size=8)
        return len(model.predict(rows, verbose=0))

    return f"Keras {keras.__version__}", {
        "pass": lambda: epoch(False),
        "pass, processes": lambda: epoch(True),
    }


def torch(folder, data):
    import torch

    reader = RowReader(data)
    loader = torch.utils.data.DataLoader(
        reader, batch_size=BATCH, num_workers=2, persistent_workers=True
    )
    return f"torch {torch.__version__}", {
        "pass": lambda: sum(len(x[0]) for x in loader)
    }


WORKERS = {"ours": ours, "loop": loop, "PyDataset": pydataset, "torch": torch}


def fill_folder(folder, rows):
    """Writes data.npz: paths of pictures and clips, captions and the vocabulary."""
    table = CACHE / "stamps_table" / "a_table.csv"
    rng = np.random.default_rng(0)
    if table.is_file():
        import pandas

        found = pandas.read_csv(table).dropna(subset=["photo", "title"])
        found = found.sample(min(rows, len(found)), random_state=0)
        photos = [str(table.parent / x) for x in found.photo]
        titles = list(found.title)
        clips = sorted(map(str, (CACHE / "stamps").rglob("*.ogg")))
        clips = list(rng.permutation(clips)[: len(photos)])
    else:
        photos, titles, clips = generated(Path(folder), min(rows, 64), rng)
    words = CACHE / "minilm" / "vocab.txt"
    words = words.read_text(encoding="utf-8").splitlines() if words.is_file() else WORDS
    np.savez(
        Path(folder) / "data.npz", photo=photos, title=titles, clip=clips, words=words
    )
    return len(photos)


def generated(folder, rows, rng):
    import soundfile
    from PIL import Image

    photos, clips = [], []
    for i in range(rows):
        photos.append(str(folder / f"{i}.png"))
        pixels = rng.integers(0, 256, (12, 12, 4)).astype("uint8")
        Image.fromarray(pixels).resize((300, 300)).save(photos[-1])
        clips.append(str(folder / f"{i}.ogg"))
        noise = 0.3 * rng.standard_normal((60000, 2))
        soundfile.write(clips[-1], noise, 44100)
    return photos, [f"a picture of number {i}" for i in range(rows)], clips


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_options(parser, rounds=5)
    parser.add_argument("--rows", type=int, default=1000, help="at most")
    options = parser.parse_args()
    if options.worker:
        turns.work(WORKERS, options.worker, options.folder, options.threads[0])
        return
    pythons = dict.fromkeys(("ours", "loop", "PyDataset"), sys.executable)
    if options.peers_python:
        pythons["torch"] = options.peers_python
    with tempfile.TemporaryDirectory() as folder:
        rows = fill_folder(folder, options.rows)
        workers, lines, seconds = turns.rounds(__file__, pythons, folder, 2, options)
    print(f"{rows} rows in batches of {BATCH}, {options.rounds} rounds")
    for name, worker in workers.items():
        print(f"  {name}: {worker.versions}")
    turns.report(lines, seconds)
    for i, (name, what) in enumerate(lines):
        speed = rows / np.median(seconds[:, i, 0])
        print(f"  {name + ', ' + what:28s} {speed:6.0f} rows a second")


if __name__ == "__main__":
    main()
