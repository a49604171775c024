"""Asks a SavedModel where only TensorFlow is installed: raw endpoint, both loaders."""

import json
import sys

import numpy as np
import tensorflow as tf


def main(folder, questions, answers):
    with open(questions, encoding="utf8") as file:
        raw = json.load(file)
    raw = {name: [x.encode("latin1") for x in row] for name, row in raw.items()}
    loaded = tf.saved_model.load(folder).signatures["serve_raw"]
    python = loaded(**{name: tf.constant(values) for name, values in raw.items()})
    result = {"python": python["outputs"].numpy()}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        signature = meta.signature_def["serve_raw"]
        fed = {signature.inputs[name].name: values for name, values in raw.items()}
        result["v1"] = session.run(signature.outputs["outputs"].name, fed)
    foreign = [x for x in ("mmkeras", "transformers") if x in sys.modules]
    if foreign:
        raise SystemExit(f"imported {foreign}")
    np.savez(answers, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
