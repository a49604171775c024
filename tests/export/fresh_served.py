"""Script: asks each SavedModel NAME of a folder NAME.json, at its raw endpoint.

Where only TensorFlow is imported. It writes NAME.answers.npz.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(folder):
    # the graph optimisers take half of the seconds; test_saved_model.py has them
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for path in sorted(Path(folder).glob("*.json")):
        asked = json.loads(path.read_text("utf8"))
        raw = {
            k: tf.constant([x.encode("latin1") for x in v]) for k, v in asked.items()
        }
        loaded = tf.saved_model.load(str(path.with_suffix("")))
        found = loaded.signatures["serve_raw"](**raw)
        found = {key: x.numpy() for key, x in found.items() if x.dtype.is_floating}
        np.savez(path.with_suffix(".answers.npz"), **found)
    foreign = [x for x in ("mmkeras", "keras_hub", "transformers") if x in sys.modules]
    if foreign:
        raise SystemExit(f"imported {foreign}")


if __name__ == "__main__":
    main(*sys.argv[1:])
