import keras
import numpy as np
import pytest

from mmkeras import dropout

X = np.random.default_rng(0).normal(size=(64, 6, 6, 4)).astype("float32")

LAYERS = {
    "Dropout": (keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 1)), X),
    "SpatialDropout1D": (keras.layers.SpatialDropout1D(0.5), X[:, 0]),
    "SpatialDropout2D": (keras.layers.SpatialDropout2D(0.5), X),
    "GaussianDropout": (keras.layers.GaussianDropout(0.5), X),
    "GaussianNoise": (keras.layers.GaussianNoise(0.5), X),
    "AlphaDropout": (keras.layers.AlphaDropout(0.5), X),
}


def block(x, name, noise):
    y = keras.layers.Conv2D(4, 1, name=f"{name}_conv")(x)
    y = keras.layers.BatchNormalization(name=f"{name}_norm")(y)
    return keras.layers.Add(name=f"{name}_add")([x, noise(y)])


@pytest.mark.parametrize("name", LAYERS)
def test_every_noise_layer_acts_as_keras_own_and_rests_while_frozen(name):
    original, x = LAYERS[name]
    inputs = keras.Input(x.shape[1:])
    copy = dropout.resting(keras.Model(inputs, original(inputs)))
    layer = copy.layers[-1]
    assert type(layer) is getattr(dropout, name)
    assert isinstance(layer, type(original)) and layer.name == original.name
    ours, theirs = layer.get_config(), original.get_config()
    assert {k: v for k, v in ours.items() if k != "dtype"} == {
        k: v for k, v in theirs.items() if k != "dtype"
    }
    noisy = np.array(copy(x, training=True))
    assert not np.allclose(noisy, x)
    np.testing.assert_array_equal(copy(x, training=False), x)
    copy.trainable = False
    np.testing.assert_array_equal(copy(x, training=True), x)
    copy.trainable = True
    assert not np.allclose(copy(x, training=True), x)


def test_spatial_dropout_drops_whole_channels():
    """A plain Dropout in its place would drop single values."""
    inputs = keras.Input(X.shape[1:])
    model = keras.Model(inputs, keras.layers.SpatialDropout2D(0.5)(inputs))
    dropped = np.array(dropout.resting(model)(X, training=True)) == 0
    by_channel = dropped.reshape(64, 36, 4)
    assert (by_channel == by_channel[:, :1]).all()
    assert 0.3 < dropped.mean() < 0.7


def test_stochastic_depth_drops_examples_and_keeps_the_mean():
    layer = dropout.StochasticDepth(0.25, seed=1)
    x = np.ones((4000, 2, 3), "float32")
    y = np.array(layer(x, training=True)).reshape(4000, -1)
    assert (y == y[:, :1]).all()
    assert set(np.unique(y).round(5)) == {0.0, np.float32(1 / 0.75).round(5)}
    # 4 standard errors of a Bernoulli mean
    assert abs((y[:, 0] == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    np.testing.assert_array_equal(layer(x), x)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), x)
    again = dropout.StochasticDepth.from_config(layer.get_config())
    assert (again.rate, again.seed, again.trainable) == (0.25, 1, False)


def test_stochastic_depth_of_keras_is_replaced():
    theirs = keras.src.applications.convnext.StochasticDepth(0.5, name="depth")
    inputs = keras.Input(X.shape[1:])
    copy = dropout.resting(keras.Model(inputs, block(inputs, "a", theirs)))
    layer = copy.get_layer("depth")
    assert type(layer) is dropout.StochasticDepth and layer.rate == 0.5
    copy.trainable = False
    np.testing.assert_array_equal(copy(X, training=True), copy(X))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=f"`rate` wants .* Received: rate={rate}"):
        dropout.StochasticDepth(rate)


def test_model_without_noise_is_given_back():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert dropout.resting(model) is model
    once = dropout.copy(model)
    assert dropout.resting(once) is once


def test_copy_has_weights_statistics_names_and_flags(tmp_path):
    inputs = keras.Input(X.shape[1:])
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(X * 3 + 1)  # its mean is cached beside its weights
    x = block(scale(inputs), "a", keras.layers.Dropout(0.5, name="a_drop"))
    x = block(x, "b", keras.layers.Dropout(0.5, name="b_drop"))
    model = keras.Model(inputs, x, name="given")
    norm = model.get_layer("a_norm")
    norm.moving_mean.assign([1.0, 2, 3, 4])
    for name in ("a_conv", "b_norm", "a_drop"):
        model.get_layer(name).trainable = False
    copy = dropout.resting(model)

    np.testing.assert_array_equal(copy(X), model(X))
    assert copy.name == "given"
    assert [x.name for x in copy.layers] == [x.name for x in model.layers]
    assert [x.trainable for x in copy.layers] == [x.trainable for x in model.layers]
    assert len(copy.trainable_weights) == len(model.trainable_weights) == 4
    copy.get_layer("a_conv").kernel.assign(np.zeros((1, 1, 4, 4)))
    assert np.any(model.get_layer("a_conv").kernel)

    copy.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(loaded(X), copy(X))
    assert type(loaded.get_layer("a_drop")) is dropout.Dropout
    assert not loaded.get_layer("a_drop").trainable


def test_only_the_frozen_half_rests():
    inputs = keras.Input(X.shape[1:])
    first = block(inputs, "a", keras.layers.Dropout(0.5, name="a_drop"))
    second = block(first, "b", keras.layers.Dropout(0.5, name="b_drop"))
    copy = dropout.resting(keras.Model(inputs, [first, second]))
    for layer in copy.layers:
        layer.trainable = not layer.name.startswith("a_")
    trained, resting = copy(X, training=True), copy(X)
    np.testing.assert_array_equal(trained[0], resting[0])
    assert not np.allclose(trained[1], resting[1])


def test_shared_layers_stay_shared_also_across_levels():
    shared = keras.layers.Conv2D(4, 1, name="shared")
    drop = keras.layers.Dropout(0.5, name="drop")
    body = keras.Sequential([shared, drop], name="body")
    x = inputs = keras.Input(X.shape[1:])
    model = keras.Model(inputs, body(drop(shared(shared(body(x))))))
    copy = dropout.resting(model)
    assert len(copy.weights) == len(model.weights)
    assert copy.get_layer("shared") is copy.get_layer("body").layers[0]
    assert copy.get_layer("drop") is copy.get_layer("body").layers[1]
    np.testing.assert_array_equal(copy(X), model(X))


def test_nested_models_rest_and_keep_their_flags():
    inner_in = keras.Input(X.shape[1:])
    inner = keras.Model(
        inner_in,
        block(inner_in, "a", keras.layers.Dropout(0.5, name="a_drop")),
        name="inner",
    )
    inputs = keras.Input(X.shape[1:])
    x = block(inner(inputs), "b", keras.layers.Dropout(0.5, name="b_drop"))
    model = keras.Model(inputs, x)
    inner.trainable = False
    inner.get_layer("a_norm").trainable = True
    copy = dropout.resting(model)
    twin = copy.get_layer("inner")
    assert twin is not inner and type(twin.get_layer("a_drop")) is dropout.Dropout
    assert not twin.trainable and twin.get_layer("a_norm").trainable
    assert not twin.get_layer("a_drop").trainable
    np.testing.assert_array_equal(copy(X), model(X))
    np.testing.assert_array_equal(twin(X, training=False), inner(X, training=False))
    twin.trainable = True  # False on a part that says False would do nothing
    copy.trainable = False
    np.testing.assert_array_equal(copy(X, training=True), copy(X))


def test_fit_of_a_frozen_copy_sees_what_predict_gives():
    inputs = keras.Input(X.shape[1:])
    body = dropout.resting(
        keras.Model(inputs, block(inputs, "a", keras.layers.Dropout(0.9)))
    )
    body.trainable = False
    model = keras.Sequential([body, keras.layers.Flatten(), keras.layers.Dense(1)])
    y = np.zeros((64, 1), "float32")
    model.compile(keras.optimizers.SGD(0.0), "mse")
    loss = model.fit(X, y, batch_size=64, verbose=0).history["loss"][0]
    want = np.mean(model.predict(X, verbose=0) ** 2)
    np.testing.assert_allclose(loss, want, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.902])
def test_dropout_drops_each_element_with_its_rate(rate):
    """Also between two steps of 1/256, and each byte of an integer by itself."""
    layer = dropout.Dropout(rate, seed=1)
    calls = [np.array(layer(np.ones((500, 8)), training=True)) for _ in range(40)]
    values = np.concatenate(calls)
    kept = values != 0
    np.testing.assert_allclose(values[kept], 1 / (1 - rate), rtol=1e-5)
    error = np.sqrt(rate * (1 - rate) / len(kept))
    assert np.abs(1 - kept.mean(0) - rate).max() < 5 * error
    together = np.corrcoef(kept.T) - np.eye(8)
    assert np.abs(together).max() < 5 / np.sqrt(len(kept))
    assert not np.array_equal(calls[0], calls[1])
