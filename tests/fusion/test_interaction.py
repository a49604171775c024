"""The table's column "interaction", tested: XOR needs both modalities at once."""

import keras
import numpy as np
import pytest

from mmkeras import fusion

UNABLE = {
    "Concat": fusion.Concat(),
    "Add": fusion.Add(16),
    "Mean": fusion.Mean(16),
    "WeightedSum": fusion.WeightedSum(16),
    "WeightedSum per example": fusion.WeightedSum(16, per_example=True),
    "GatedFusion, one gate": fusion.GatedFusion(16, per_unit=False),
    "LateProduct": fusion.LateProduct(16),
    "BottleneckFusion without": fusion.BottleneckFusion(8, 2, 1, bottlenecks=0),
}
ABLE = {
    "Max": fusion.Max(16),
    "Product": fusion.Product(16),
    "GatedFusion": fusion.GatedFusion(16),
    "GMU": fusion.GMU(16),
    "FiLM": fusion.FiLM("a", 16),
    "MultiplicativeInteractions": fusion.MultiplicativeInteractions(16, width=4),
    "TensorFusion": fusion.TensorFusion(16, width=4),
    "LowRankFusion": fusion.LowRankFusion(16),
    "FactorizedBilinear": fusion.FactorizedBilinear(16),
    "MCB": fusion.MCB(16),
    "LateMLP": fusion.LateMLP(16, hidden=(16,)),
    "CrossAttentionFusion": fusion.CrossAttentionFusion(8, 2, 1),
    "TransformerFusion": fusion.TransformerFusion(8, 2, 1),
    "MulT": fusion.MulT(8, 2, 1),
    "BottleneckFusion": fusion.BottleneckFusion(8, 2, 2),
    "PerceiverFusion": fusion.PerceiverFusion(8, 2, 1, latents=2),
}


# what takes long to trace
SLOW = ("MulT", "BottleneckFusion", "BottleneckFusion without", "PerceiverFusion")


def names(table):
    return [pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in table]


def xor(rows, seed):
    """Two vectors; the label is whether their hidden signs agree."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(rows, 2))
    x = {}
    for i, (name, dim) in enumerate({"a": 6, "b": 4}.items()):
        direction = np.random.default_rng(i).normal(size=dim)
        x[name] = signs[:, i : i + 1] * direction + 0.1 * rng.normal(size=(rows, dim))
    return x, (signs.prod(axis=1) > 0).astype("float32")


def accuracy(layer):
    """On new rows, after training the fusion with a linear head."""
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((4,), name="b")}
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, steps_per_execution=16)
    x, y = xor(1024, seed=0)
    model.fit(x, y, batch_size=64, epochs=15, verbose=0)
    x, y = xor(1000, seed=1)
    return np.mean((model(x).numpy()[:, 0] > 0) == y)


@pytest.mark.parametrize("name", names(ABLE))
def test_learns_xor(name):
    assert accuracy(ABLE[name]) > 0.95


@pytest.mark.parametrize("name", names(UNABLE))
def test_a_sum_of_parts_or_one_gate_cannot(name):
    # At most three of the four sign patterns can be right, whatever the weights. One
    # gate for all units weighs A(a) against B(b) by a score that is linear in the
    # signs: XNOR would need that score to be XNOR itself.
    assert accuracy(UNABLE[name]) < 0.8
