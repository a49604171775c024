"""What smaller TFLite files cost in accuracy, on trained models of the stamps.

    python examples/stamps/quantised.py [--cache .cache] [--out saved_models] [--smoke]

Each model is exported as float32, float16, dynamic and int8, and each file answers the
test and the validation rows; neither were learnt from. Ranges for int8 come from 300
training rows.

    all three   task A, picture + caption + speech -> 14 classes: EfficientNet-Lite0,
                MiniLM-L6 and MFCC statistics, as train.py makes it; its model is taken
                where it lies in OUT/stamps_a
    no text     task C's picture + speech -> category x language family, 6 classes:
                EfficientNet-Lite0, frozen, and a CNN over MFCC that learns here

Data and licences: see train.py. Wants `make assets`, prepare.py and mmkeras[tflite].

Expected, accuracy in % of the 153 (150) test rows and of all 310 (297); same class: how
often the file names the class that the model does:

    model      form     test  test + val  same class     MB  size in %
    all three  float32  82.4        81.3       100.0  110.4      100.0
               float16  82.4        81.3       100.0   55.6       50.4
               dynamic  83.0        81.0        96.1   28.4       25.7
               int8     83.0        81.3        95.8   28.5       25.8
    no text    float32  87.3        87.5       100.0   17.9      100.0
               float16  87.3        87.2        99.7    9.1       50.9
               dynamic  86.0        86.5        96.0    4.8       27.0
               int8     86.0        86.9        96.3    4.9       27.5

One row is 0.3 points of all, so that 1 point is 3 rows. About 5 CPU minutes.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas
import train as stamps

import mmkeras as mm
from mmkeras.run import files
from mmkeras.run.progress import Progress

FORMS = (None, "float16", "dynamic", "int8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", default=str(stamps.ROOT / ".cache"))
    parser.add_argument("--out", default=str(stamps.ROOT / "saved_models"))
    parser.add_argument("--smoke", action="store_true", help="one short run")
    arguments = parser.parse_args()
    cache, progress = Path(arguments.cache), Progress()
    models = {
        "all three": ("a", all_three(arguments)),
        "no text": ("c", no_text(cache, arguments.smoke, progress)),
    }
    folder = Path(arguments.out) / "stamps_quantised"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (task, model) in models.items():
        parts = table_of(cache, task)
        seen = parts["train"].sample(300, random_state=0)
        held = pandas.concat([parts["test"], parts["val"]])
        held.attrs.update(parts["test"].attrs)
        if arguments.smoke:
            seen, held = seen[:4], held[:4]
        tests = len(parts["test"])
        labels, wanted = answers(model, held)
        rows.append({"model": name, "form": "Keras"} | scores(labels == wanted, tests))
        for form in FORMS:
            path = folder / f"{task}.{form or 'float32'}.tflite"
            report = export(model, path, form, seen)
            _, found = answers(mm.export.load(path), held)
            rows.append(
                {
                    "model": name,
                    "form": form or "float32",
                    **scores(labels == found, tests),
                    "same class": percent(wanted == found),
                    "MB": report.size / 1e6,
                }
            )
            progress.say(f"{path.name}: {rows[-1]['test + val']:.1f} %")
    found = with_shares(pandas.DataFrame(rows))
    files.write_text(folder / "quantised.csv", found.to_csv(index=False))
    print(found.to_string(index=False))


# -- the models ---------------------------------------------------------------------


def all_three(arguments):
    """Task A's model, trained by train.py where it is not there yet."""
    path = Path(arguments.out) / "stamps_a/model.keras"
    if not path.is_file():
        stamps.run("a", 0, arguments)
    return mm.load_model(path)


def no_text(cache, smoke, progress):
    """Picture + speech: the picture's encoder is frozen, the other one learns."""
    keras.utils.set_random_seed(0)
    parts = table_of(cache, "c")
    size = (64, 64) if smoke else (224, 224)
    encoders = {
        "photo": mm.image.from_model(cache / "efficientnet_lite0.keras", size=size),
        "clip": mm.audio.mfcc_cnn(sampling_rate=16000, seconds=3.0, units=64),
    }
    head = mm.heads.classification(sorted(parts["train"].label.unique()), dropout=0.5)
    fusion = mm.fusion.GatedFusion(256, normalize="length")
    model = mm.multimodal(encoders, fusion, head.layer, modality_dropout=0.3)
    mm.transfer.freeze(model, "photo")
    rows = parts["train"][:32] if smoke else parts["train"]
    features = mm.transfer.cache_features(
        model, rows, cache / "features", label="label"
    )
    epochs = 1 if smoke else 30
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * -(-len(rows) // 32))
    trunk = mm.transfer.trunk(model)
    trunk.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), head.loss)
    with progress.epochs(epochs) as bar:
        trunk.fit(*features.arrays(), 32, epochs=epochs, verbose=0, callbacks=[bar])
    return model


def table_of(cache, task):
    table = mm.data.read_table(cache / f"stamps_table/{task}_table.csv")
    return mm.data.split(table, "split")


# -- their files --------------------------------------------------------------------


def export(model, path, form, seen):
    """Writes one file; `seen` are the rows that int8 takes its ranges from."""
    return mm.export.tflite(
        model,
        path,
        quantize=form,
        representative=mm.data.from_table(seen, model, batch_size=32),
        overwrite=True,
    )


def answers(model, rows):
    """Labels and predicted classes, of a model or of an exported file."""
    data = mm.data.from_table(rows, model, label="label", batch_size=32)
    labels, outputs = [], []
    for inputs, label in data.as_numpy_iterator():
        labels.append(label)
        outputs.append(model.predict_on_batch(inputs))
    return np.concatenate(labels), np.concatenate(outputs).argmax(axis=-1)


def scores(right, tests):
    return {"test": percent(right[:tests]), "test + val": percent(right)}


def percent(right):
    return 100 * float(np.mean(right))


def with_shares(found):
    """Sizes beside that of the float32 file of the same model."""
    whole = found[found.form == "float32"].set_index("model").MB
    found["size in %"] = 100 * found.MB / found.model.map(whole)
    return found.round(1)


if __name__ == "__main__":
    main()
