"""Freezing: exactly what is declared moves, after a reload too."""

import keras
import numpy as np
import pytest

from mmkeras import load_model, transfer
from mmkeras.model import encoder
from mmkeras.transfer.freezing import blocks
from tests import tiny


def names(weights):
    return {x.split(":", 1)[1] for x in weights}


def test_nothing_frozen_everything_moves():
    model = tiny.model()
    assert len(tiny.moved(model, tiny.rows())) == len(tiny.values(model))


def test_a_frozen_encoder_does_not_move_and_is_deterministic_in_fit():
    model = transfer.freeze(tiny.model(), "left")
    model.compile("adam", model.loss)
    inside = encoder(model, "left")
    before = [keras.ops.convert_to_numpy(w) for w in inside.weights]
    tiny.moved(model, tiny.rows())
    for old, new in zip(before, inside.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    x = tiny.rows()[0]["left"]
    np.testing.assert_array_equal(inside(x, training=True), inside(x, training=False))


@pytest.mark.parametrize("until", ["block1_norm", "block1"])
def test_freezing_until_a_layer_or_block(until):
    model = transfer.freeze(tiny.model(), "left", until=until)
    model.compile("adam", model.loss)
    inside = {id(w) for w in encoder(model, "left").weights}
    paths = [f"{i}:{w.path}" for i, w in enumerate(model.weights) if id(w) in inside]
    moved = tiny.moved(model, tiny.rows())
    learned = {x.split("/")[0] for x in names(x for x in paths if x in moved)}
    still = {x.split("/")[0] for x in names(x for x in paths if x not in moved)}
    assert learned == {"block2_dense", "block2_norm"}
    assert still == {"block1_dense", "block1_norm"}


def test_a_partial_freeze_survives_the_file(tmp_path):
    model = transfer.freeze(tiny.model(), "left", until="block1")
    transfer.freeze(model, "right")
    model.compile("adam", model.loss)
    data = tiny.rows()
    model.fit(*data, verbose=0)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert transfer.summary(again).equals(transfer.summary(model))
    assert names(tiny.moved(again, data)) == names(tiny.moved(model, data))


def test_other_encoders_keep_their_state():
    model = transfer.freeze(tiny.model(), "left", until="block1")
    transfer.freeze(model, "right")
    transfer.unfreeze(model, "right")
    table = transfer.summary(model)
    assert table.loc["left", "layers"] == "2/4"
    assert table.loc["right", "layers"] == "4/4"


def test_unfreeze_since_a_block():
    model = transfer.freeze(tiny.model(), "left")
    transfer.unfreeze(model, "left", since="block2")
    trainable = {w.path for w in encoder(model, "left").trainable_weights}
    assert {x.split("/")[0] for x in trainable} == {"block2_dense", "block2_norm"}


def test_freezing_blocks_by_slice():
    model = transfer.freeze(tiny.model(), "left", layers=slice(0, 1))
    trainable = {w.path for w in encoder(model, "left").trainable_weights}
    assert {x.split("/")[0] for x in trainable} == {"block2_dense", "block2_norm"}
    transfer.freeze(model, "left", layers=["block2_dense"])
    trainable = {w.path for w in encoder(model, "left").trainable_weights}
    assert {x.split("/")[0] for x in trainable} == {"block2_norm"}


def test_summary_counts_by_hand():
    model = transfer.freeze(tiny.model(), "left")
    table = transfer.summary(model)
    left = 6 * 5 + 5 + 4 * 5 + 5 * 5 + 5 + 4 * 5
    assert table.loc["left", "frozen"] == left
    assert table.loc["left", "trainable"] == 0
    assert table.loc["left", "batch norm"] == "frozen"
    assert table.loc["right", "batch norm"] == "training"
    # moving mean and variance of two norms of 7 never train
    assert table.loc["right", "frozen"] == 4 * 7
    counted = table.loc["whole model", ["trainable", "frozen"]].sum()
    assert counted == model.count_params()


def test_an_encoder_alone_can_be_frozen():
    alone = transfer.freeze(tiny.encoder(), until="block1")
    assert {w.path.split("/")[0] for w in alone.trainable_weights} == {
        "block2_dense",
        "block2_norm",
    }


def test_blocks_of_real_names():
    assert list(blocks(tiny.encoder())) == ["block1", "block2"]


def test_unknown_layer_lists_near_names():
    with pytest.raises(ValueError, match="block1_dense"):
        transfer.freeze(tiny.model(), "left", until="block1_dens")


def test_unknown_modality():
    with pytest.raises(ValueError, match=r"\['left', 'right'\]"):
        transfer.freeze(tiny.model(), "photo")


def test_until_and_layers_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        transfer.freeze(tiny.model(), "left", until="block1", layers=[0])
