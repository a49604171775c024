"""The real run: pictures, captions and speech of the Tux Paint stamps.

    make stamps        # assets, tables, then this file
    python examples/stamps/train.py [--cache .cache] [--tasks a c] [--seeds 3] [--smoke]

Task A: picture + caption + French speech -> 14 classes (the speech says nothing of the
class: a fusion must learn to leave it). Task C: picture + caption + speech in a random
language -> category x language family (6 classes; no modality alone can tell).

Encoders: EfficientNet-Lite0 with ImageNet weights and MiniLM-L6, both frozen, and
standardised MFCC statistics; GatedFusion. The recipes are recipe_a.toml, recipe_c.toml.

Data: Tux Paint stamps, GPL-2 (fetched, not part of this project). Weights:
EfficientNet-Lite0 Apache-2.0, MiniLM-L6 MIT.

Expected on test (153 and 150 rows; the standard error of one accuracy is 3 points),
mean of 3 seeds with its range, beside logistic regression on the same frozen features
(baseline.py, same split): see RESULTS in README.md of this folder. About 3 minutes a
seed on two cores.
"""

import argparse
import dataclasses
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas

from mmkeras.run import recipe as recipes
from mmkeras.run.progress import Progress
from mmkeras.run.train import train

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", default=str(ROOT / ".cache"))
    parser.add_argument("--out", default=str(ROOT / "saved_models"))
    parser.add_argument("--tasks", nargs="+", default=["a", "c"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one short run")
    arguments = parser.parse_args()
    for task in arguments.tasks:
        frames = [run(task, seed, arguments) for seed in range(seeds(arguments))]
        print(f"\nTask {task.upper()}, test, mean of {len(frames)} seeds (range)")
        print(table(frames).to_string())


def seeds(arguments):
    return 1 if arguments.smoke else arguments.seeds


def run(task, seed, arguments):
    """One seed: the report of every subset of the modalities, as a DataFrame."""
    cache, out = Path(arguments.cache), Path(arguments.out)
    recipe = recipes.from_toml(str(HERE / f"recipe_{task}.toml"))
    recipe.table = str(cache / f"stamps_table/{task}_table.csv")
    recipe.sources["photo"].encoder = str(cache / "efficientnet_lite0.keras")
    recipe.sources["title"].weights = str(cache / "minilm")
    name = f"stamps_{task}" if seed == 0 else f"stamps_{task}_seed{seed}"
    recipe = dataclasses.replace(
        recipe, out=str(out / name), seed=seed, export=seed == 0
    )
    if arguments.smoke:
        recipe.epochs = 1
        recipe.sources["photo"].options["size"] = [64, 64]
    command = f"python examples/stamps/train.py --tasks {task} (seed {seed})"
    return train(recipe, Progress(), command).report.to_frame()


def table(frames):
    """Mean and range over seeds, in percent."""
    found = {}
    for name in ("accuracy", "macro_f1"):
        values = 100 * pandas.concat([x[name] for x in frames], axis=1)
        spread = zip(values.mean(1), values.min(1), values.max(1), strict=True)
        found[name] = [
            f"{mean:.1f} ({low:.1f}-{high:.1f})" for mean, low, high in spread
        ]
    return pandas.DataFrame(found, index=frames[0].index)


if __name__ == "__main__":
    main()
