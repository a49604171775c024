"""The losses in a model: fit, temperature, presence, saving, replicas, JAX."""

import contextlib

import keras
import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

import mmkeras as mm
from mmkeras.testing import process
from tests.losses import reference
from tests.losses.test_formulas import correlated, pairs

LAYERS = {
    "InfoNCE": lambda: mm.losses.InfoNCE(0.2),
    "SigLIP": lambda: mm.losses.SigLIP(0.3, -1.5),
    "DeepCCA": lambda: mm.losses.DeepCCA(regularization=0.01),
}
NUMPY = {
    "InfoNCE": lambda a, b: reference.info_nce(a, b, 0.2),
    "SigLIP": lambda a, b: reference.siglip(a, b, 0.3, -1.5),
    "DeepCCA": lambda a, b: -reference.correlation(a, b, 0.01),
}
each = pytest.mark.parametrize("name", LAYERS)


def three(rows=12):
    a, b = pairs(rows)
    c = pairs(rows, seed=1)[1]
    return {name: x.astype("float32") for name, x in zip("abc", (a, b, c), strict=True)}


def towers(layers, units=3, widths=(3, 3)):
    """Linear towers of the modalities "a" and "b" into the loss layers."""
    inputs = {
        name: keras.Input((width,), name=name)
        for name, width in zip("ab", widths, strict=True)
    }
    features = {n: keras.layers.Dense(units)(x) for n, x in inputs.items()}
    for layer in layers:
        features = layer(features)
    return keras.Model(inputs, features)


@each
def test_the_mean_over_pairs_of_modalities_of_the_rows_that_have_both(name):
    x, layer = three(), LAYERS[name]()
    there = np.ones((2, 12), "float32")
    there[0, :3] = there[1, 2:6] = 0
    x["a"][:3] = np.nan
    passed = layer(x, {"a": there[0], "b": there[1]})
    for key in x:
        np.testing.assert_array_equal(passed[key], x[key])
    of_a, of_b = there > 0
    wanted = [
        NUMPY[name](*(x[k][rows].astype("float64") for k in two))
        for two, rows in (("ab", of_a & of_b), ("ac", of_a), ("bc", of_b))
    ]
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-5)


@contextlib.contextmanager
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="module")
def trained():
    """All losses on one pair of towers, in half precision; its rows."""
    keras.utils.set_random_seed(0)
    with half_precision():
        layers = [make() for make in LAYERS.values()]
        model = towers([*layers, mm.losses.InfoNCE(0.2, learned=False, name="kept")])
        model.compile(keras.optimizers.Adam(0.01))
    rows = {name: three(32)[name] for name in "ab"}
    history = model.fit(rows, epochs=20, batch_size=32, verbose=0).history["loss"]
    return model, rows, history


def test_fit_needs_no_labels_and_the_temperatures_learn(trained):
    model, _, history = trained
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    starts = [-np.log(0.2), -np.log(0.3), -1.5]
    learned = [x for x in model.trainable_weights if len(x.shape) == 0]
    for weight, start in zip(learned, starts, strict=True):
        assert weight.dtype == "float32"
        assert abs(float(weight) - start) > 0.01
    np.testing.assert_allclose(model.get_layer("kept").log_scale, -np.log(0.2))


def test_half_precision_features_give_a_float32_loss(trained):
    model, rows, _ = trained
    features = model({name: x * 500 for name, x in rows.items()})
    assert np.abs(features["a"]).max() > 1000  # their squares overflow half precision
    assert len(model.losses) == 4
    for loss in model.losses:
        assert loss.dtype == "float32"
        assert np.isfinite(loss)


def test_saved_and_reloaded_in_safe_mode(trained, tmp_path):
    model, rows, _ = trained
    model.save(tmp_path / "model.keras")
    with half_precision():
        again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert [x.get_config() for x in again.layers] == [
        x.get_config() for x in model.layers
    ]
    wanted = model.evaluate(rows, batch_size=32, verbose=0)
    again_loss = again.evaluate(rows, batch_size=32, verbose=0)
    np.testing.assert_allclose(again_loss, wanted, rtol=1e-5)
    model.export(tmp_path / "served", verbose=False)


def test_the_scale_stops_at_100_and_comes_back():
    """As CLIP's: a clip in the forward pass would stop the gradient for good."""
    layer = mm.losses.InfoNCE(0.0101)
    inputs = {name: keras.Input((3,), name=name) for name in "ab"}
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(10.0))
    x = 1 + 0.1 * np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    model.fit({"a": x, "b": x}, batch_size=16, epochs=3, verbose=0)
    np.testing.assert_allclose(layer.log_scale, np.log(100), rtol=1e-6)
    model.fit({"a": x, "b": x[::-1].copy()}, batch_size=16, verbose=0)
    assert layer.log_scale < np.log(99)


def test_linear_towers_reach_the_cca_of_scikit_learn():
    a, b = (x.astype("float32") for x in correlated(2000))
    model = towers([mm.losses.DeepCCA(regularization=1e-5)], units=2)
    model.compile(keras.optimizers.Adam(0.05), steps_per_execution=50)
    rows = {
        "a": np.tile(a, (150, 1)),
        "b": np.tile(b, (150, 1)),
    }  # one batch, 150 times
    model.fit(rows, batch_size=2000, shuffle=False, verbose=0)
    u, v = CCA(2, max_iter=5000, tol=1e-10).fit_transform(a, b)
    best = sum(np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2))
    x = model.predict({"a": a, "b": b}, batch_size=2000, verbose=0)
    ours = reference.correlation(*(x[k].astype("float64") for k in "ab"), 0.0)
    np.testing.assert_allclose(ours, best, atol=1e-4)


def test_supervised_contrastive_from_fit():
    """The loss that `fit` shows, with rows of weight 0; then it learns."""
    x, labels = three(12)["a"], np.arange(12) % 3
    weights = np.ones(12)
    weights[[0, 7]] = 0
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    loss = mm.losses.SupervisedContrastive(0.5)
    model.compile(keras.optimizers.Adam(0.1), loss=loss)
    y = model.predict(x, verbose=0).astype("float64")[weights > 0]
    wanted = reference.supervised_contrastive(y, labels[weights > 0], 0.5)
    arguments = {"sample_weight": weights, "batch_size": 12, "verbose": 0}
    history = model.fit(x, labels, epochs=30, **arguments).history["loss"]
    np.testing.assert_allclose(history[0], wanted, rtol=1e-5)
    assert history[-1] < history[0] - 0.05
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss), safe_mode=True
    )
    assert again.get_config() == loss.get_config()


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one_device(tmp_path):
    """Also with unequal parts, rows without a side, and a replica without a row."""
    process.run("tests.losses.on_replicas", tmp_path)
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        assert set(one) == set(two)
        for name in one:
            atol = 1e-5 if name.endswith("loss") else 1e-6  # the losses are about 10
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=atol)
        for name in (x for x in one if x.startswith("1/") and "bias" not in x):
            if "loss" not in name:
                assert np.abs(one[name] - one[f"0{name[1:]}"]).max() > 1e-3, name


@pytest.mark.slow
def test_on_jax(tmp_path, monkeypatch):
    from tests.losses import on_jax

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    process.run("tests.losses.on_jax", tmp_path)
    a, b = on_jax.A.astype("float64"), on_jax.B.astype("float64")
    with np.load(tmp_path / "jax.npz") as found:
        wanted = [
            reference.info_nce(a, b, 0.2),
            reference.siglip(a, b, 0.3, -1.5),
            reference.supervised_contrastive(a, on_jax.LABELS, 0.4),
            reference.correlation(a, b, 0.01),
        ]
        np.testing.assert_allclose(found["values"], wanted, rtol=1e-5)
        assert found["history"][-1] < found["history"][0]
        assert abs(found["last"] + np.log(0.2)) > 0.01
        # the queue holds six of the eight rows of the last step, of length 1
        gaps = np.abs(found["past"][:, None] - _unit(found["before"])[None]).max(axis=2)
        assert gaps.min(axis=1).max() < 1e-5
        assert len(set(gaps.argmin(axis=1))) == 6


def _unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: mm.losses.InfoNCE(0.001), "`temperature` wants .* 0.01 or more"),
        (lambda: mm.losses.InfoNCE(0.0, learned=False), "`temperature` wants"),
        (lambda: mm.losses.DeepCCA(regularization=0), "`regularization` wants"),
        (lambda: mm.losses.SupervisedContrastive(0), "`temperature` wants"),
        (lambda: mm.losses.InfoNCE()({"a": np.ones((2, 3))}), "two modalities or more"),
        (lambda: mm.losses.InfoNCE()(np.ones((2, 3))), "as a dict"),
        (
            lambda: mm.losses.SigLIP()({"a": np.ones((2, 3)), "b": np.ones((2, 4))}),
            "`SigLIP` wants features of one width",
        ),
        (
            lambda: mm.losses.DeepCCA(9)({"a": np.ones((2, 3)), "b": np.ones((2, 4))}),
            "from 1 to 3",
        ),
        (
            lambda: mm.losses.DeepCCA()(
                {"a": np.ones((2, 3)), "b": np.ones((2, 4, 5))}
            ),
            r"features\['b'\] of shape \(2, 4, 5\)",
        ),
        (
            lambda: mm.losses.InfoNCE()(three(), {"d": np.ones(12)}),
            r"unknown names \['d'\]. Valid names: \['a', 'b', 'c'\]",
        ),
        (
            lambda: mm.losses.SupervisedContrastive()(np.eye(3), np.eye(3)),
            "Pass the index of the class",
        ),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
