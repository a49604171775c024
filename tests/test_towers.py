"""A shared space: pairs find each other, absent modalities count for nothing."""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras.modality import tensor_input
from tests import paired, tiny


@pytest.fixture(scope="module")
def model():
    """Trained for a moment; nothing below may train it on."""
    keras.utils.set_random_seed(0)
    made = mm.two_tower(paired.encoders(), 8)
    made.before = recall(made)
    made.compile(keras.optimizers.Adam(0.02))
    made.fit(paired.rows(512), batch_size=64, epochs=15, verbose=0)
    return made


def recall(model):
    """Share of 64 unseen rows whose right is nearest to their left, by hand."""
    found = embeddings(model, paired.rows(64, seed=1))
    cosines = found["left"] @ found["right"].T
    return np.mean(cosines.argmax(1) == np.arange(64))


def embeddings(model, rows):
    found = model({k: rows[k] for k in model.input}, training=False)
    return {name: np.asarray(x, "float64") for name, x in found.items()}


def with_absent(count=12):
    """Rows in which one or both sides are missing here and there, NaN there."""
    rows = paired.rows(count, seed=2)
    for name, places in (("left", [1, 4]), ("right", [4, 7, 8])):
        rows[name][places] = np.nan
        rows[f"{name}_present"][places] = 0
    return rows


def test_pairs_find_each_other(model):
    assert model.before < 0.15  # by chance 1 in 64
    assert recall(model) > 0.9


def test_embeddings_have_length_one_and_absent_ones_are_zeros(model):
    rows = with_absent()
    for name, x in embeddings(model, rows).items():
        lengths = np.linalg.norm(x, axis=1)
        np.testing.assert_allclose(lengths, rows[f"{name}_present"], atol=1e-6)


def test_the_loss_is_info_nce_of_the_rows_with_both():
    model = mm.two_tower(paired.encoders(), 4)
    rows = with_absent()
    found = embeddings(model, rows)  # leaves its loss in model.losses
    both = (rows["left_present"] * rows["right_present"]) > 0
    scale = np.exp(float(model.get_layer("contrastive").log_scale))
    logits = scale * found["left"][both] @ found["right"][both].T
    rights = np.diag(logits)
    there = np.log(np.exp(logits - rights[:, None]).sum(1)).mean()
    back = np.log(np.exp(logits - rights[None]).sum(0)).mean()
    (loss,) = model.losses
    np.testing.assert_allclose(float(loss), (there + back) / 2, rtol=1e-5)


def test_nan_where_absent_reaches_no_weight_behind_the_encoder():
    import tensorflow as tf

    model = mm.two_tower(paired.encoders(), 4)
    with tf.GradientTape() as tape:
        model(with_absent(), training=True)
        loss = sum(model.losses)
    weights = [w.value for w in model.weights if "projection" in w.path]
    assert len(weights) == 4
    gradients = [np.asarray(x) for x in tape.gradient(loss, weights)]
    assert all(np.isfinite(x).all() for x in gradients)
    assert np.abs(gradients[0]).max() > 0


def test_tokens_are_averaged_without_padding():
    contract = tiny.Numbers(6)
    inputs = tensor_input(contract, "ids")
    tokens = keras.layers.Reshape((3, 2))(contract(inputs))
    mask = keras.layers.Lambda(_first_two, output_shape=(3,))(inputs)
    words = keras.Model(inputs, {"tokens": tokens, "mask": mask})
    made = {"words": words, "right": paired.encoder(5)}
    model = mm.two_tower(made, 3, normalize=False, dropout=0.5)
    rows = paired.rows(5)
    rows = {k.replace("left", "words"): x for k, x in rows.items()}
    kernel, bias = model.get_layer("words_projection").get_weights()
    wanted = rows["words"][:, :4].reshape(5, 2, 2).mean(1) @ kernel + bias
    found = embeddings(model, rows)["words"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def _first_two(x):
    return keras.ops.ones_like(x[:, :3]) * np.array([1.0, 1.0, 0.0], "float32")


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "towers.keras")
    wanted = embeddings(model, with_absent())
    loaded = mm.load_model(tmp_path / "towers.keras")
    assert sorted(mm.readers(loaded)) == ["left", "right"]
    found = embeddings(loaded, with_absent())
    for name, x in wanted.items():
        np.testing.assert_array_equal(found[name], x)
    left = mm.tower(loaded, "left")(paired.rows(3)["left"])
    wanted = embeddings(model, paired.rows(3))["left"]
    np.testing.assert_allclose(left, wanted, rtol=1e-5, atol=1e-5)


def test_trains_on_a_table_without_labels():
    rows = paired.rows(16)
    table = pandas.DataFrame(
        {x: [",".join(map(str, row)) for row in rows[x]] for x in paired.WIDTHS}
    )
    table.loc[3, "left"] = None
    model = mm.two_tower(paired.encoders(), 4, loss=mm.losses.SigLIP())
    model.compile("adam")
    before = tiny.values(model)
    model.fit(mm.data.from_table(table, model, batch_size=8), shuffle=False, verbose=0)
    after = tiny.values(model)
    assert all(np.isfinite(x).all() for x in after.values())
    still = {k for k in before if np.array_equal(before[k], after[k])}
    assert not still


def test_frozen_encoders_and_their_trunk():
    model = mm.two_tower(paired.encoders(), 4, dropout=0.2)
    mm.transfer.freeze(model, "left")
    model.compile("adam")
    rows = paired.rows(16)
    before = embeddings(model, rows)
    left = np.asarray(model.get_layer("left_encoder")(rows["left"]))
    features = {**rows, "left": left}
    behind = embeddings(mm.transfer.trunk(model), features)
    np.testing.assert_allclose(behind["left"], before["left"], rtol=1e-5, atol=1e-5)
    keys = dict(zip(map(id, model.weights), tiny.values(model), strict=True))
    moved = tiny.moved(model, (rows,))
    moves = {
        x.name: {keys[id(w)] in moved for w in x.weights}
        for x in model.layers
        if x.weights and x.built
    }
    assert moves.pop("left_encoder") == {False}
    assert {"left_projection", "right_encoder", "right_projection"} <= set(moves)
    assert all(True in x for x in moves.values())


def test_a_tower_begins_another_task(model, tmp_path):
    left = mm.tower(model, "left")
    rows = paired.rows(8)
    wanted = embeddings(model, rows)["left"]
    np.testing.assert_allclose(left(rows["left"]), wanted, rtol=1e-5, atol=1e-5)
    assert {w.path for w in left.weights} <= {w.path for w in model.weights}
    head = mm.heads.classification(3)
    encoders = {"left": left, "right": paired.encoder(5)}
    other = mm.multimodal(encoders, mm.fusion.Concat(), head.layer)
    other.save(tmp_path / "other.keras")
    loaded = mm.load_model(tmp_path / "other.keras")
    again = mm.model.encoder(loaded, "left")(rows["left"])
    np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-5)
    # and a tower of towers, under the same name
    encoders = {"left": left, "right": mm.tower(model, "right")}
    again = mm.tower(mm.two_tower(encoders, 3), "left")(rows["left"])
    assert again.shape == (8, 3)


def test_three_modalities_and_deep_cca():
    made = {**paired.encoders(), "third": paired.encoder(5)}
    cca = mm.losses.DeepCCA()
    model = mm.two_tower(made, 3, loss=cca, normalize=False)
    rows = paired.rows(20)
    rows |= {"third": rows["right"], "third_present": rows["right_present"]}
    assert sorted(embeddings(model, rows)) == ["left", "right", "third"]
    (loss,) = model.losses
    assert -3 - 1e-4 < float(loss) < 0


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        ("two modalities", {"encoders": {"left": None}}),
        ("`units` wants", {"units": 0}),
        ("`dropout` wants", {"dropout": 1.0}),
        ("`loss` wants", {"loss": "infonce"}),
        ("normalize=False", {"loss": mm.losses.DeepCCA()}),
        ("no ending", {"encoders": {"a": None, "a_present": None}}),
    ],
)
def test_what_is_refused(error, changed):
    given = {"units": 4, "encoders": dict.fromkeys(paired.WIDTHS), **changed}
    given["encoders"] = {x: paired.encoder(5) for x in given["encoders"]}
    with pytest.raises((ValueError, TypeError), match=error):
        mm.two_tower(**given)


def test_a_tower_of_what_has_none(model):
    with pytest.raises(ValueError, match="wants a model of `mmkeras.two_tower`"):
        mm.tower(tiny.encoder(), "left")
    with pytest.raises(ValueError, match=r"Valid names: \['left', 'right'\]"):
        mm.tower(model, "middle")
