"""ModalityDropout and MissingToken."""

import keras
import numpy as np
import pytest

from mmkeras.presence import MissingToken, ModalityDropout

ROWS = 4000


def there(**columns):
    return {k: np.full(ROWS, v, "float32") for k, v in columns.items()}


def numpy(presence):
    return {k: keras.ops.convert_to_numpy(v) for k, v in presence.items()}


def test_hides_at_its_rate_per_modality_and_example():
    layer = ModalityDropout({"photo": 0.5, "clip": 0.2}, seed=1)
    out = numpy(layer(there(photo=1, title=1, clip=1), training=True))
    # the title always stays, so that nothing has to be given back
    assert abs(out["photo"].mean() - 0.5) < 0.03
    assert abs(out["clip"].mean() - 0.8) < 0.03
    assert out["title"].all()
    both = (out["photo"] * out["clip"]).mean()
    assert abs(both - 0.5 * 0.8) < 0.03, "modalities are hidden independently"


def test_never_hides_all_that_is_there_and_never_invents():
    rng = np.random.default_rng(0)
    given = {k: rng.integers(0, 2, ROWS).astype("float32") for k in ("a", "b", "c")}
    out = numpy(ModalityDropout(0.9, seed=2)(given, training=True))
    before, after = np.stack(list(given.values())), np.stack(list(out.values()))
    assert (after <= before).all()
    assert (after.any(axis=0) == before.any(axis=0)).all()
    assert after.sum() < before.sum()
    alone = before.sum(axis=0) == 1
    np.testing.assert_array_equal(after[:, alone], before[:, alone])


@pytest.mark.parametrize("rate, training", [(0.9, False), (0.0, True), ({}, True)])
def test_is_the_identity(rate, training):
    given = there(a=1, b=0)
    out = numpy(ModalityDropout(rate)(given, training=training))
    for name, x in given.items():
        np.testing.assert_array_equal(out[name], x)


def test_a_seed_repeats_itself_and_draws_differ():
    first, second = (ModalityDropout(0.5, seed=3) for _ in range(2))
    given = there(a=1, b=1)
    a, b = first(given, training=True), second(given, training=True)
    np.testing.assert_array_equal(a["a"], b["a"])
    assert (numpy(first(given, training=True))["a"] != numpy(a)["a"]).any()


def test_key_order_does_not_matter():
    first, second = (ModalityDropout(0.5, seed=3) for _ in range(2))
    a = first(there(a=1, b=1), training=True)
    b = second(there(b=1, a=1), training=True)
    np.testing.assert_array_equal(a["a"], b["a"])


def test_saves_and_trains_inside_a_model(tmp_path):
    inputs = {k: keras.Input((), name=k) for k in ("a", "b")}
    out = ModalityDropout({"a": 0.5}, seed=0)(inputs)
    y = keras.ops.stack([out["a"], out["b"]], axis=1)
    model = keras.Model(inputs, keras.layers.Dense(1)(y))
    model.compile("sgd", "mse")
    data = {k: np.ones(8, "float32") for k in inputs}
    model.fit(data, np.ones(8), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(data), model(data))
    (layer,) = [x for x in again.layers if isinstance(x, ModalityDropout)]
    assert layer.get_config()["rate"] == {"a": 0.5}


@pytest.mark.parametrize("rate", [-0.1, 1.1, {"a": 2}])
def test_a_rate_outside_its_range(rate):
    with pytest.raises(ValueError, match=r"`rate` wants floats in \[0, 1\]"):
        ModalityDropout(rate)


def test_unknown_modality():
    with pytest.raises(ValueError, match=r"\['foto'\]. Valid names: \['photo'\]"):
        ModalityDropout({"foto": 0.5})(there(photo=1))
    with pytest.raises(ValueError, match="wants `presence` as a dict"):
        ModalityDropout(0.5)(np.ones(3))


def test_missing_token_stands_in_where_absent():
    layer = MissingToken()
    x = {"a": np.array([[1.0, 2.0], [np.nan, 0.0]]), "b": np.ones((2, 1))}
    presence = {"a": np.array([1.0, 0.0])}
    layer(x, presence)
    layer.set_weights([np.array([5.0, 6.0]), np.array([7.0])])
    out = numpy(layer(x, presence))
    np.testing.assert_array_equal(out["a"], [[1, 2], [5, 6]])
    np.testing.assert_array_equal(out["b"], [[1], [1]])
    assert sorted(w.name for w in layer.weights) == ["a_token", "b_token"]


def test_missing_token_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"\['c'\]. Valid names: \['a'\]"):
        MissingToken()({"a": np.ones((2, 2))}, {"c": np.ones(2)})
    with pytest.raises(ValueError, match="wants `features` as a dict"):
        MissingToken()({"a": np.ones((2, 2, 2))}, {"a": np.ones(2)})
