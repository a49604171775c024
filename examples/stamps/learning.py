"""Independent, joint and fusion learning on the stamps, with the same encoders.

    python examples/stamps/learning.py [--tasks a c] [--seeds 3] [--smoke]

Independent learning: one model for each modality, trained apart; their answers are
joined by a product, by searched weights, by greedy selection or by stacking, fitted on
the validation rows. Joint learning: the modalities' own heads in one graph, trained on
the joined answer (late fusion). Fusion learning: features are fused before the head.

All encoders are frozen and run once (feature transfer), so a fit takes seconds. Prints
test accuracy / macro-F1 in %, mean over the seeds. Wants `make assets` and prepare.py.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas
from scipy.special import softmax

import mmkeras as mm
from mmkeras.run import files

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"


def encoders(train):
    """Picture, caption and speech; the speech's statistics scaled by the train rows."""
    made = {
        "photo": mm.image.from_model(CACHE / "efficientnet_lite0.keras"),
        "title": mm.text.bert(str(CACHE / "minilm"), length=32),
        "clip": mm.audio.mfcc_statistics(
            sampling_rate=16000, seconds=3.0, standardize=True
        ),
    }
    sound = mm.multimodal(
        {"clip": made["clip"]}, mm.fusion.Concat(), keras.layers.Identity()
    )
    rows = mm.data.from_table(train, mm.readers(sound), batch_size=32)
    mm.transfer.adapt(sound, rows)
    return made


def fit(parts, made, fusion, head, epochs, dropout=0.0):
    """Trains fusion and head on cached features; gives the whole model."""
    model = mm.multimodal(made, fusion, head.layer, modality_dropout=dropout)
    mm.transfer.freeze(model)
    train = mm.transfer.cache_features(
        model, parts["train"], CACHE / "features", label="label"
    )
    trunk = mm.transfer.trunk(model)
    steps = epochs * -(-len(train) // 32)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    trunk.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), head.loss)
    trunk.fit(*train.arrays(), batch_size=32, epochs=epochs, verbose=0)
    return model


def answers(model, part):
    """Probabilities and labels on rows; the encoders' features come from the cache."""
    rows = mm.transfer.cache_features(model, part, CACHE / "features", label="label")
    inputs, labels = rows.arrays()
    logits = mm.transfer.trunk(model).predict(inputs, verbose=0)
    return softmax(logits, axis=-1), np.asarray(labels)


def independent(parts, made, classes, epochs):
    """Experts trained apart, then every way of joining them."""
    experts = {}
    for name, encoder in made.items():
        head = mm.heads.classification(classes, dropout=0.5)
        fusion = mm.fusion.Add(256, normalize="length")
        experts[name] = fit(parts, {name: encoder}, fusion, head, epochs)
    validation = {name: answers(x, parts["val"]) for name, x in experts.items()}
    labels = next(iter(validation.values()))[1]
    predictions = {name: x[0] for name, x in validation.items()}

    count = len(classes)
    yield "product", experts, mm.fusion.LateProduct(count, dense=False), None
    weighted = mm.fusion.LateWeighted(count, dense=False)
    found = mm.late.search_weights(predictions, labels)
    yield "searched weights", experts, weighted, found
    weighted = mm.fusion.LateWeighted(count, dense=False)
    found = mm.late.select(predictions, labels)
    yield "greedy selection", experts, weighted, found
    if set(labels) == set(range(count)):
        yield "stacking", experts, mm.late.stack(predictions, labels), None


def run(task, seed, epochs):
    """One seed: dict, way of learning -> report of every subset on the test rows."""
    keras.utils.set_random_seed(seed)
    table = mm.data.read_table(CACHE / "stamps_table" / f"{task}_table.csv")
    parts = mm.data.split(table, "split")
    classes = sorted(table.label.unique())
    made = encoders(parts["train"])
    models = {}
    for name, experts, late, weights in independent(parts, made, classes, epochs):
        models[f"independent, {name}"] = model = mm.late.join(experts, late)
        if weights:
            mm.model.fusion(model).set_modality_weights(weights)

    options = {"dropout": 0.5, "normalize": "length"}
    head = mm.heads.classification(classes, dense=False)
    late = mm.fusion.LateAverage(len(classes), **options)
    models["joint, average"] = fit(parts, made, late, head, epochs, 0.3)
    head = mm.heads.classification(classes, dense=False)
    late = mm.fusion.LateProduct(len(classes), **options)
    models["joint, product"] = fit(parts, made, late, head, epochs, 0.3)
    head = mm.heads.classification(classes, dropout=0.5)
    gated = mm.fusion.GatedFusion(256, normalize="length")
    models["fusion, gated"] = fit(parts, made, gated, head, epochs, 0.3)
    return {name: scores(model, parts["test"]) for name, model in models.items()}


def scores(model, part):
    """Test scores with all modalities, and with each one missing."""
    rows = mm.data.from_table(part, model, label="label", batch_size=32)
    report = mm.analysis.modality_report(model, rows)
    found = {"all": report.modalities}
    for name in report.modalities:
        found[f"no {name}"] = tuple(x for x in report.modalities if x != name)
    return {
        key: [100 * report.score(subset, x) for x in ("accuracy", "macro_f1")]
        for key, subset in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["a", "c"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--smoke", action="store_true", help="one seed, one epoch")
    parser.add_argument("--out", type=Path, default=ROOT / "saved_models/learning")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.epochs = 1, 1
    for task in options.tasks:
        runs = [run(task, seed, options.epochs) for seed in range(options.seeds)]
        rows = {}
        for name in runs[0]:
            rows[name] = {}
            for shown in runs[0][name]:
                mean = np.mean([x[name][shown] for x in runs], axis=0)
                rows[name][shown] = f"{mean[0]:.1f} / {mean[1]:.1f}"
        text = pandas.DataFrame.from_dict(rows, orient="index").to_string()
        files.write_text(options.out / f"{task}.txt", text + "\n")
        print(
            f"\nTask {task.upper()}, {options.seeds} seeds, accuracy / macro-F1\n{text}"
        )


if __name__ == "__main__":
    main()
