"""The whole model: inputs, names, saving, errors."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras.model import encoder, encoders, fusion
from tests import tiny


def test_flat_named_inputs():
    model = tiny.model()
    assert set(model.input) == {"left", "right", "left_present", "right_present"}
    assert model.input["left_present"].shape == (None,)


def test_prediction_equals_its_parts():
    model = tiny.model()
    inputs, _ = tiny.rows()
    features = {n: x.predict(inputs[n], verbose=0) for n, x in encoders(model).items()}
    presence = {n: inputs[f"{n}_present"] for n in features}
    expected = model.get_layer("head")(fusion(model)(features, presence))
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), expected, rtol=1e-5, atol=1e-6
    )


def test_an_absent_modality_changes_nothing():
    model = tiny.model()
    inputs, _ = tiny.rows()
    inputs["left_present"][:] = 0
    before = model.predict(inputs, verbose=0)
    inputs["left"] = inputs["left"] * 100 - 7
    np.testing.assert_array_equal(model.predict(inputs, verbose=0), before)


def test_save_and_load_predicts_the_same_and_knows_its_contracts(tmp_path):
    model = tiny.model(modality_dropout=0.3)
    inputs, labels = tiny.rows()
    model.fit(inputs, labels, verbose=0)
    model.save(tmp_path / "m.keras")
    again = mm.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        again.predict(inputs, verbose=0), model.predict(inputs, verbose=0)
    )
    assert {k: x.tensor_shape for k, x in mm.readers(again).items()} == {
        "left": (6,),
        "right": (4,),
    }
    assert again.evaluate(inputs, labels, verbose=0) == pytest.approx(
        model.evaluate(inputs, labels, verbose=0)
    )


def test_the_users_encoder_keeps_its_name_and_shares_its_weights():
    own = tiny.encoder(name="mine")
    model = mm.multimodal({"left": own}, mm.fusion.Concat(), keras.layers.Dense(2))
    own.get_layer("block1_dense").kernel.assign(np.full((6, 5), 0.5))
    inside = encoder(model, "left").get_layer("block1_dense").kernel
    assert own.name == "mine"
    assert np.all(inside.numpy() == 0.5)


def test_a_frozen_encoder_stays_frozen_inside():
    own = tiny.encoder()
    own.trainable = False
    model = mm.multimodal({"left": own}, mm.fusion.Concat(), keras.layers.Dense(2))
    assert not encoder(model, "left").trainable_weights


def test_several_heads():
    heads = {"kind": keras.layers.Dense(3), "price": keras.layers.Dense(1)}
    model = mm.multimodal({"left": tiny.encoder()}, mm.fusion.Concat(), heads)
    assert {k: x.shape for k, x in model.output.items()} == {
        "kind": (None, 3),
        "price": (None, 1),
    }


def test_modality_dropout_acts_in_training_only():
    model = tiny.model(modality_dropout=0.5)
    inputs, _ = tiny.rows()
    still = [np.array(keras.ops.convert_to_numpy(model(inputs))) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    layer = model.get_layer("modality_dropout")
    ones = {n: np.ones(4000, "float32") for n in ("left", "right")}
    hidden = layer(ones, training=True)
    kept = sum(keras.ops.convert_to_numpy(x) for x in hidden.values())
    # both stay in 1 of 4, and in the 1 of 4 where both would have gone
    assert kept.min() == 1 and kept.mean() == pytest.approx(1.5, abs=0.04)


@pytest.mark.parametrize(
    "encoders, message",
    [
        ({}, "at least one"),
        ({"two words": tiny.encoder()}, "two words"),
        ({"größe": tiny.encoder()}, r"letters \(a to z\).*'größe'"),
        ({"left_present": tiny.encoder()}, "_present"),
        ({"left": keras.layers.Dense(2)}, r"encoders\['left'\]"),
    ],
)
def test_wrong_encoders(encoders, message):
    with pytest.raises(ValueError, match=message):
        mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(2))


def test_one_encoder_under_two_names_is_refused():
    one = tiny.encoder()
    with pytest.raises(ValueError, match="two names"):
        mm.multimodal({"a": one, "b": one}, mm.fusion.Concat(), keras.layers.Dense(2))


def test_an_encoder_wants_a_contract():
    x = keras.Input((3,))
    plain = keras.Model(x, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="contract layer"):
        mm.multimodal({"left": plain}, mm.fusion.Concat(), keras.layers.Dense(2))


def test_fusion_must_be_one_of_ours():
    with pytest.raises(TypeError, match="mmkeras.fusion"):
        mm.multimodal(
            {"left": tiny.encoder()}, keras.layers.Add(), keras.layers.Dense(2)
        )


def test_unknown_modality_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"\['left', 'right'\]"):
        encoder(tiny.model(), "middle")


def test_a_model_without_encoders_is_told():
    with pytest.raises(ValueError, match="mmkeras.multimodal"):
        mm.readers(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
