"""OGM-GE and AGM in a model: gradients by hand, forward as it was, nothing left."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import balance
from tests.balance import linear
from tests.balance.linear import NAMES

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return linear.model()


@pytest.fixture(scope="module")
def plain(model):
    """Gradients without any balance, by the encoders' and the head's weights."""
    return linear.gradients(model, model.trainable_variables, *linear.rows(), LOSS)


def own_scores(model, inputs, labels):
    """Log-likelihood of the truth by each modality alone, rows that have it."""
    found = {}
    for name, z in linear.shares(model, inputs).items():
        value = linear.log_softmax(z)[np.arange(len(labels)), labels]
        found[name] = value[inputs[f"{name}_present"] > 0]
    return found


def in_training(training, model):
    inputs, labels = linear.rows()
    x, y = balance.with_label((inputs, labels))
    return linear.gradients(training, model.trainable_variables, x, y, LOSS)


def compare(model, found, plain, scales, head):
    """Each encoder's gradient is its scale times the plain one, the head's `head`."""
    for variable, one, other in zip(
        model.trainable_variables, found, plain, strict=True
    ):
        (name,) = [x for x in (*NAMES, "head") if x in variable.path]
        factor = scales.get(name)
        wanted = head if factor is None else other * factor
        np.testing.assert_allclose(one, wanted, rtol=2e-5, atol=1e-7)


def head_gradient(model, plain):
    (index,) = [i for i, x in enumerate(model.trainable_variables) if "head" in x.path]
    return plain[index]


def test_ogm_slows_the_encoder_that_is_ahead_and_nothing_else(model, plain):
    inputs, labels = linear.rows()
    training = balance.ogm_ge(model, alpha=0.6, noise=False)
    found = in_training(training, model)
    s = {n: np.exp(x).mean() for n, x in own_scores(model, inputs, labels).items()}
    ratio = s["photo"] / s["title"]
    wanted = {
        "photo": 1 - np.tanh(0.6 * ratio) if ratio > 1 else 1.0,
        "title": 1 - np.tanh(0.6 / ratio) if ratio < 1 else 1.0,
    }
    assert min(wanted.values()) < 0.5
    for name, value in balance.scales(training).items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-5)
    compare(model, found, plain, wanted, head_gradient(model, plain))


def test_noise_changes_the_encoders_gradients_and_nothing_else(model, plain):
    training = balance.ogm_ge(model, alpha=0.0, seed=0)
    first, second = in_training(training, model), in_training(training, model)
    for variable, one, two, other in zip(
        model.trainable_variables, first, second, plain, strict=True
    ):
        if "head" in variable.path:
            np.testing.assert_array_equal(one, other)
        else:
            assert np.abs(one - other).max() > 1e-3
            assert np.abs(one - two).max() > 1e-3


def test_agm_scales_each_share_of_a_linear_model(model, plain):
    """In a linear model phi_m is x_m A_m W_m, by itself a modality's whole answer."""
    inputs, labels = linear.rows()
    training = balance.agm(model, alpha=0.8)
    found = in_training(training, model)
    s = {n: x.mean() for n, x in own_scores(model, inputs, labels).items()}
    lead = s["photo"] - s["title"]
    # before the first batch all are even: tau = exp(0)
    wanted = {
        "photo": np.exp(-0.8 * (np.exp(lead) - 1)),
        "title": np.exp(-0.8 * (np.exp(-lead) - 1)),
    }
    (index,) = [i for i, x in enumerate(model.trainable_variables) if "head" in x.path]
    rows = np.repeat([wanted["photo"], wanted["title"]], 2)[:, None]
    compare(model, found, plain, wanted, plain[index] * rows)
    layer = training.get_layer("adaptive")
    reference = [s["photo"], s["title"]]
    np.testing.assert_allclose(layer.reference.numpy(), reference, rtol=1e-5)


def test_agm_remembers_the_mean_over_the_batches(model):
    training = balance.agm(model)
    scores = []
    for seed in range(3):
        inputs, labels = linear.rows(seed=seed)
        training(balance.with_label((inputs, labels))[0], training=True)
        own = own_scores(model, inputs, labels)
        scores.append([own[name].mean() for name in NAMES])
    layer = training.get_layer("adaptive")
    np.testing.assert_allclose(
        layer.reference.numpy(), np.mean(scores, axis=0), rtol=1e-5
    )
    gone = {**inputs, "photo_present": np.zeros(12, "float32")}
    before = layer.reference.numpy()[0]
    training(balance.with_label((gone, labels))[0], training=True)
    assert layer.reference.numpy()[0] == before
    assert layer.batches.numpy().tolist() == [3, 4]


def test_agm_with_alpha_0_gives_the_models_own_gradients(model, plain):
    for one, other in zip(
        in_training(balance.agm(model, alpha=0.0), model), plain, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", [balance.ogm_ge, balance.agm])
def test_forward_is_the_models_own_bit_for_bit(model, method):
    inputs, labels = linear.rows()
    training = method(model)
    x, _ = balance.with_label((inputs, labels))
    wanted = np.asarray(model(inputs))
    np.testing.assert_array_equal(training(x, training=True), wanted)
    np.testing.assert_array_equal(training(x), wanted)


@pytest.mark.parametrize("method", [balance.ogm_ge, balance.agm])
def test_in_mixed_precision(method):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = linear.model()
        training = method(made)
    finally:
        keras.config.set_dtype_policy(policy)
    x, y = balance.with_label(linear.rows())
    np.testing.assert_array_equal(training(x, training=True), made(linear.rows()[0]))
    for value in linear.gradients(training, made.trainable_variables, x, y, LOSS):
        assert np.isfinite(value).all() and np.abs(value).max() > 0


@pytest.mark.parametrize("method", [balance.ogm_ge, balance.agm])
def test_an_absent_modality_has_no_gradient(model, method):
    inputs, labels = linear.rows()
    inputs["photo_present"][:] = 0
    x, y = balance.with_label((inputs, labels))
    training = method(model)
    found = linear.gradients(training, model.trainable_variables, x, y, LOSS)
    for variable, value in zip(model.trainable_variables, found, strict=True):
        assert np.isfinite(value).all()
        assert (np.abs(value).max() > 0) == ("photo" not in variable.path)


def tokens_model():
    """One modality of tokens, one of vectors, through a fusion with attention."""
    encoders = {}
    for name in NAMES:
        contract = linear.tiny.Numbers(6, name="numbers")
        inputs = mm.modality.tensor_input(contract, "in")
        x = contract(inputs)
        if name == "title":
            x = keras.layers.Reshape((3, 2))(x)
            mask = keras.ops.cast(keras.ops.abs(x[..., 0]) > 0.3, "float32")
            x = {"tokens": keras.layers.Dense(4, name=f"{name}_dense")(x), "mask": mask}
        else:
            x = keras.layers.Dense(4, name=f"{name}_dense")(x)
        encoders[name] = keras.Model(inputs, x, name=name)
    fusion = mm.fusion.TransformerFusion(4, heads=2, layers=1)
    return mm.multimodal(encoders, fusion, keras.layers.Dense(3, name="head"))


def test_tokens_are_slowed_too():
    made = tokens_model()
    rng = np.random.default_rng(0)
    inputs = {n: rng.normal(size=(8, 6)).astype("float32") for n in NAMES}
    inputs |= {f"{n}_present": np.ones(8, "float32") for n in NAMES}
    labels = rng.integers(0, 3, 8).astype("int32")
    variables = made.trainable_variables
    plain = linear.gradients(made, variables, inputs, labels, LOSS)
    training = balance.ogm_ge(made, alpha=1.0, noise=False)
    x, y = balance.with_label((inputs, labels))
    found = linear.gradients(training, variables, x, y, LOSS)
    scales = balance.scales(training)
    assert min(scales.values()) < 0.3
    for variable, one, other in zip(variables, found, plain, strict=True):
        name = variable.path.split("_")[0]
        factor = scales[name] if "_dense" in variable.path else 1.0
        np.testing.assert_allclose(one, other * factor, rtol=1e-4, atol=1e-6)


def test_several_classes_a_row():
    made = linear.model(kind="multi")
    inputs, _ = linear.rows()
    labels = np.random.default_rng(0).integers(0, 2, (12, 3)).astype("float32")
    x, y = balance.with_label((inputs, labels))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    training = balance.ogm_ge(made, alpha=0.5, noise=False)
    linear.gradients(training, made.trainable_variables, x, y, loss)
    s = {}
    for name, z in linear.shares(made, inputs).items():
        p = 1 / (1 + np.exp(-z))
        mean = np.log(np.where(labels, p, 1 - p)).mean(axis=1)
        s[name] = np.exp(mean[inputs[f"{name}_present"] > 0]).mean()
    ahead = max(s, key=s.get)
    ratio = s[ahead] / min(s.values())
    wanted = dict.fromkeys(NAMES, 1.0) | {ahead: 1 - np.tanh(0.5 * ratio)}
    for name, value in balance.scales(training).items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-5)


@pytest.mark.parametrize("method", [balance.ogm_ge, balance.agm])
def test_fit_trains_the_model_and_leaves_nothing_in_it(method, tmp_path):
    made = linear.model(modality_dropout=0.2)
    inputs, labels = linear.rows(count=32)
    size, before = made.count_params(), linear.weights(made)[0]
    training = method(made, alpha=0.5)
    training.compile("sgd", LOSS)
    x, y = balance.with_label((inputs, labels))
    training.fit(x, y, batch_size=16, verbose=0)
    for name in NAMES:
        assert np.abs(linear.weights(made)[0][name] - before[name]).max() > 0
    made.save(tmp_path / "model.keras")
    loaded = mm.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == made.count_params() == size
    assert sorted(loaded.input) == sorted(inputs)
    np.testing.assert_array_equal(loaded(inputs), made(inputs))
    assert not [x.name for x in loaded.layers if x.name in ("on_the_fly", "adaptive")]


@pytest.mark.parametrize("method", [balance.ogm_ge, balance.agm])
def test_refuses(model, method):
    with pytest.raises(ValueError, match="regression"):
        method(linear.model(1, "number"))
    with pytest.raises(ValueError, match="`alpha` wants a number of 0 or more"):
        method(model, alpha=-1)
    several = keras.Model(model.input, {"kind": model.output})
    with pytest.raises(ValueError, match="wants one output"):
        method(several)
    dense = keras.layers.Dense(2)
    inputs = keras.Input((3,), name="x")
    with pytest.raises(ValueError, match="wants a fusion"):
        method(keras.Model({"x": inputs}, dense(inputs)))


def test_scales_and_data_refuse(model):
    with pytest.raises(ValueError, match="ogm_ge` or `agm`"):
        balance.scales(model)
    with pytest.raises(TypeError, match="`data` wants"):
        balance.with_label([1, 2])
