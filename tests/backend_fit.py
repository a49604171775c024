"""Run by test_backends.py in a process of its own, with KERAS_BACKEND set."""

import os
import sys

import keras
import numpy as np

import mmkeras as mm
from tests import tiny

assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
assert "tensorflow" not in sys.modules or keras.backend.backend() == "tensorflow"

keras.utils.set_random_seed(0)
for fusion in (
    mm.fusion.GatedFusion(8, dropout=0.1),
    mm.fusion.WeightedSum(8),
    mm.fusion.Concat(),
    mm.fusion.Add(8),
):
    head = mm.heads.classification(3)
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}
    model = mm.multimodal(encoders, fusion, head.layer, modality_dropout=0.2)
    mm.transfer.freeze(model, "left")
    model.compile(keras.optimizers.Adam(0.01), head.loss, metrics=head.metrics)
    inputs, _ = tiny.rows(96)
    labels = (inputs["right"][:, 0] > 0).astype("int32")
    inputs["right_present"][:] = 1
    inputs["left"][inputs["left_present"] == 0] = np.nan
    history = model.fit(inputs, labels, epochs=15, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["accuracy"][-1] > 0.7, history["accuracy"]

wave = np.random.default_rng(0).normal(0, 0.1, (2, 8000)).astype("float32")
mfcc = mm.audio.MFCC(sampling_rate=16000, num_coefficients=20)
np.save(sys.argv[1], keras.ops.convert_to_numpy(mfcc(wave)))
