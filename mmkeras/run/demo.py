"""The demo: train on the embedded set, set achieved beside possible, export, reload."""

from pathlib import Path

import keras
import numpy as np

from mmkeras import data, image
from mmkeras.analysis.subsets import label as subset_label
from mmkeras.analysis.subsets import subsets
from mmkeras.load import load_model
from mmkeras.model import readers
from mmkeras.run import card, demo_data, files
from mmkeras.run.recipe import Recipe, Source
from mmkeras.run.train import split, train

NAMES = ("photo", "title", "clip")


def demo(out, progress, seed=0, command="mmkeras demo"):
    """Writes the set, trains, reports, exports and reloads.

    Args:
        out: output folder.
        progress: `progress.Progress`.
        seed: Integer.
        command: the command as typed, for the card.

    Returns:
        String: the table of achieved and possible accuracy, and the reload check.
    """
    folder = Path(out)
    progress.say(f"Writing the demo set to {folder / 'data'}.")
    table = demo_data.write(folder / "data", seed=seed)
    keras.utils.set_random_seed(seed)
    recipe = recipe_of(table, out, seed)
    result = train(recipe, progress, command)
    best = {x: demo_data.best_accuracy(x) for x in subsets(NAMES)}
    text = _compare(result.report, best)
    files.write_text(folder / "achieved_and_possible.txt", text + "\n")
    try:
        card.draw(result, best=best)
    except ImportError as error:  # matplotlib is an extra
        progress.say(f"No plots: {error}")
    return "\n\n".join([text, _reload(folder, recipe), f"Written: {folder}/"])


def recipe_of(table, out, seed=0):
    """The demo's recipe: three small encoders trained from nothing."""
    sources = {
        "photo": Source("image", small_cnn(demo_data.SIZE)),
        "title": Source("text", "embedding_mean", options={"length": 24, "units": 32}),
        "clip": Source(
            "audio",
            "mfcc_cnn",
            options={
                "sampling_rate": demo_data.SAMPLING_RATE,
                "seconds": demo_data.SECONDS,
                "units": 48,
            },
        ),
    }
    return Recipe(
        table=str(table),
        label="label",
        sources=sources,
        out=str(out),
        fusion="gated",
        fusion_options={"units": 96},
        epochs=20,
        patience=6,
        learning_rate=2e-3,
        modality_dropout=0.1,
        seed=seed,
    )


def small_cnn(size, units=48):
    """A picture encoder small enough to train from nothing on two cores."""
    layers = keras.layers
    network = keras.Sequential([keras.Input((*size, 3)), layers.Rescaling(1 / 255)])
    for width in (16, 32, units):
        network.add(layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False))
        network.add(layers.BatchNormalization(momentum=0.9))
        network.add(layers.ReLU())
    network.add(layers.GlobalAveragePooling2D())
    return image.from_model(network, size=size)


def _compare(report, best):
    width = max(len(subset_label(x)) for x in best)
    lines = [f"{'shown':{width}}  achieved  possible"]
    for subset, possible in best.items():
        achieved = report.score(subset, "accuracy")
        lines.append(
            f"{subset_label(subset):{width}}  {achieved:8.3f}  {possible:8.3f}"
        )
    lines.append(f"accuracy on {report.rows} test rows")
    return "\n".join(lines)


def _reload(folder, recipe):
    """Predictions of the reloaded `.keras` and of the SavedModel on raw test rows."""
    import tensorflow as tf

    model = load_model(folder / "model.keras")
    rows = split(recipe)["test"].iloc[:32]
    batch = next(iter(data.from_table(rows, model, batch_size=len(rows))))
    expected = model.predict_on_batch(batch)
    version = files.next_version(folder)
    served = tf.saved_model.load(str(version.with_name(str(int(version.name) - 1))))
    raw = {name: _raw(rows, name, x) for name, x in readers(model).items()}
    outputs = served.signatures["serve_raw"](**raw)["outputs"]
    difference = float(np.abs(outputs - expected).max())
    return (
        f"Reloaded: the SavedModel on {len(rows)} raw test rows differs from "
        f"model.keras by {difference:.1e} at most."
    )


def _raw(rows, name, contract):
    """A column as serving gets it: encoded bytes or strings, "" where absent."""
    import tensorflow as tf

    root = Path(rows.attrs["root"])
    cells = rows[name].fillna("")
    if contract.cell == "file":
        cells = [(root / x).read_bytes() if x else b"" for x in cells]
    return tf.constant(list(cells), tf.string)
