"""The laws that every fusion keeps, each one a small function over a `Case`."""

import json
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

from mmkeras.testing import process
from mmkeras.testing.case import ROWS, case, factory


def check_fusion(
    fusion,
    modalities=(1, 2, 3, 5),
    laws=None,
    export=True,
    fresh_process=True,
    tokens=None,
):
    """Checks a fusion against every law; raises at the first one that it breaks.

    Example:
    >>> mmkeras.testing.check_fusion(
    ...     mmkeras.fusion.Add(4), modalities=(2,), export=False, fresh_process=False
    ... )

    Args:
        fusion: a `Fusion` layer (its config is copied), or a function without
            arguments that makes one. Its modalities are called as in `DIMS`: photo,
            title, clip, price, map.
        modalities: numbers of modalities, each from 1 to 5, to check it with.
        laws: optional list of names from `LAWS`, to check these only.
        export: Boolean, whether to check XLA, SavedModel and TFLite as well (seconds).
        fresh_process: Boolean, whether to reload it in a new process (10 s).
        tokens: optional list of what `case` takes as `tokens`: the kinds of features
            to check it with. Vectors where None, and tokens too if it takes them.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for _, error in law_results(fusion, modalities, laws, export, tokens):
        if error:
            raise error
    if fresh_process:
        tried = _middle(factory(fusion), modalities)
        check_law("fresh process", lambda x: check_fresh_process({"fusion": x}), tried)


def law_results(fusion, modalities=(1, 2, 3, 5), laws=None, export=True, tokens=None):
    """Checks one law after the other, whatever the others gave.

    Args:
        fusion: as `check_fusion`.
        modalities: as `check_fusion`.
        laws: as `check_fusion`.
        export: as `check_fusion`, or a list of names from `EXPORT_LAWS`.
        tokens: as `check_fusion`.

    Yields:
        Pairs: name of the law, and None or the AssertionError that it is broken by.
    """
    make = factory(fusion)
    if tokens is None:
        tokens = (False, True) if make().takes_tokens else (False,)
    cases = [case(make, count, kind) for count in modalities for kind in tokens]
    for law in LAWS if laws is None else laws:
        yield law, _broken(law, LAWS[law], cases)
    middle = _middle(make, modalities)
    for law in EXPORT_LAWS if export is True else export or ():
        yield law, _broken(law, EXPORT_LAWS[law], [middle])


def _middle(make, modalities):
    """The one case for what takes long: three modalities, tokens among them."""
    return case(make, min(3, max(modalities)), make().takes_tokens and "mixed")


def _broken(name, law, cases):
    try:
        for tried in cases:
            check_law(name, law, tried)
    except AssertionError as error:
        return error
    return None


def check_law(name, law, tried):
    """Runs one law; whatever goes wrong becomes an AssertionError that names it."""
    try:
        law(tried)
    except Exception as error:
        kind = type(tried.make()).__name__
        raise AssertionError(
            f"`{kind}` of {len(tried.features)} modalities breaks the law '{name}': "
            f"{error}"
        ) from error


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def _precise():
    """The dtype for laws on two shapes, whose kernels round differently: float64."""
    # JAX computes in float32 unless it is started otherwise
    return None if keras.backend.backend() == "jax" else "float64"


def _same(got, y, message=""):
    """Equal but for rounding: some eighty float32 roundings of the largest value."""
    y = _numpy(y)
    limit = 1e-5 * np.max(np.abs(y), initial=0.0)
    np.testing.assert_allclose(_numpy(got), y, 1e-5, limit, err_msg=message)


def documented_shape(tried):
    fusion = tried.make()
    y = fusion(tried.features, tried.presence)
    shapes = keras.tree.map_structure(lambda x: tuple(x.shape), tried.features)
    assert len(y.shape) == 2, f"the output is of shape {tuple(y.shape)}"
    wanted = tuple(fusion.compute_output_shape(shapes))
    assert tuple(y.shape) == wanted, f"{tuple(y.shape)}, documented as {wanted}"
    symbolic = tried.model().output_shape
    assert symbolic == (None, y.shape[1]), f"{tuple(y.shape)}, symbolic {symbolic}"


def config_round_trip(tried):
    fusion = tried.make()
    y = fusion(tried.features, tried.presence)
    config = fusion.get_config()
    json.dumps(config)
    again = type(fusion).from_config(config)
    assert again.get_config() == config, f"{again.get_config()} is not {config}"
    again(tried.features)
    again.set_weights(fusion.get_weights())
    np.testing.assert_array_equal(again(tried.features, tried.presence), y)


def saved_and_reloaded(tried):
    model = tried.model()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        model.save(path)
        again = keras.models.load_model(path)
    np.testing.assert_array_equal(again(tried.arrays()), model(tried.arrays()))


def any_key_order(tried):
    fusion, other = tried.make(), tried.make()
    y = fusion(tried.features, tried.presence)
    features = dict(reversed(tried.features.items()))
    presence = dict(reversed(tried.presence.items()))
    other(features, presence)
    other.set_weights(fusion.get_weights())
    np.testing.assert_array_equal(fusion(features, presence), y)
    np.testing.assert_array_equal(other(features, presence), y)


def absent_is_not_read(tried):
    fusion = tried.make()
    y = _numpy(fusion(tried.features, tried.presence))
    assert np.isfinite(y).all(), "not finite"
    for value in (np.nan, np.inf, 7.0):
        spoilt = {}
        for name, x in tried.features.items():
            gone = tried.presence[name] == 0
            spoilt[name] = keras.tree.map_structure(np.copy, x)
            if isinstance(x, dict):
                spoilt[name]["tokens"][gone] = value
                spoilt[name]["tokens"][x["mask"] == 0] = value
            else:
                spoilt[name][gone] = value
        np.testing.assert_array_equal(fusion(spoilt, tried.presence), y, f"{value}")


def all_absent_is_finite(tried):
    nothing = {name: np.zeros_like(x) for name, x in tried.presence.items()}
    y = _numpy(tried.make()(tried.features, nothing))
    assert np.isfinite(y).all(), f"{y[0]}"
    assert (y == y[0]).all(), "rows without any modality differ"


def padding_does_not_count(tried):
    """Longer padding, whatever stands in it; a vector is a sequence of one token."""
    fusion = tried.fusion(_precise())
    if not fusion.takes_tokens:
        return
    y = fusion(tried.features, tried.presence)
    longer, alike = {}, {}
    for name, x in tried.features.items():
        if isinstance(x, dict):
            tokens = np.pad(x["tokens"], ((0, 0), (0, 3), (0, 0)))
            tokens[:, -3:] = np.nan
            mask = np.pad(x["mask"], ((0, 0), (0, 3)))
            longer[name], alike[name] = {"tokens": tokens, "mask": mask}, x
        else:
            ones = np.ones((len(x), 1), x.dtype)
            longer[name], alike[name] = x, {"tokens": x[:, None], "mask": ones}
    for what, features in {"padding": longer, "one token": alike}.items():
        _same(fusion(features, tried.presence), y, what)


def no_presence_means_present(tried):
    fusion = tried.make()
    ones = {name: np.ones_like(x) for name, x in tried.presence.items()}
    y = fusion(tried.features, ones)
    np.testing.assert_array_equal(fusion(tried.features), y)


def neighbours_do_not_count(tried):
    model = tried.model(_precise())
    y = _numpy(model(tried.arrays()))
    for i in range(3):
        _same(model(tried.rows(i, i + 1).arrays())[0], y[i])


def every_weight_moves(tried):
    model = tried.model()
    if not model.trainable_weights:
        return
    before = [_numpy(w) for w in model.trainable_weights]
    target = np.random.default_rng(1).normal(size=(ROWS, model.output_shape[-1]))
    # TensorFlow traces longer than three steps take, JAX compiles each op by itself
    eager = keras.backend.backend() != "jax"
    model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=eager)
    for _ in range(3):
        model.train_on_batch(tried.arrays(), target)
    moves = {
        weight.path: float(np.max(np.abs(_numpy(weight) - old)))
        for weight, old in zip(model.trainable_weights, before, strict=True)
    }
    wrong = {path: x for path, x in moves.items() if not np.isfinite(x)}
    assert not wrong, f"not finite: {wrong}"
    # a weight that cancels out still moves by rounding: 1e-5 of the others tells
    most = max(moves.values())
    still = {path: x for path, x in moves.items() if x <= 1e-5 * most}
    assert not still, f"these get no gradient: {still}; others move by up to {most}"


def mixed_float16_is_finite(tried):
    model = tried.model(dtype="mixed_float16")
    arrays = {
        key: x if x.ndim == 1 or key.endswith("_mask") else 10 * x
        for key, x in tried.arrays().items()
    }
    y = model(arrays)
    kind = keras.backend.standardize_dtype(y.dtype)
    assert kind == "float16", f"the output is {kind}"
    assert np.isfinite(_numpy(y)).all(), "not finite"


def inference_is_deterministic(tried):
    fusion = tried.make()
    y = fusion(tried.features, tried.presence, training=False)
    for _ in range(2):
        again = fusion(tried.features, tried.presence, training=False)
        np.testing.assert_array_equal(again, y)


def names_are_checked(tried):
    fusion = tried.make()
    fusion(tried.features)
    calls = {
        "an unknown name in presence": (tried.features, {"nobody": np.ones(ROWS)}),
        "another modality": ({**tried.features, "nobody": np.ones((ROWS, 2))}, None),
        "a tensor in place of the dict": (np.ones((ROWS, 2), "float32"), None),
    }
    for what, (features, presence) in calls.items():
        try:
            fusion(features, presence)
        except (ValueError, TypeError):
            continue
        raise AssertionError(f"{what} raises no error")


def jit_compiles(tried):
    tried = tried.without_dropout()
    fusion = tried.model()
    # a head, so that there is something to train behind every fusion
    model = keras.Model(fusion.input, keras.layers.Dense(1)(fusion.output))
    losses = []
    target = np.ones((ROWS, 1))
    start = model.get_weights()
    for jit in (False, True):
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit)
        losses += [[model.train_on_batch(tried.arrays(), target) for _ in range(2)]]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def saved_model_and_tflite_agree(tried):
    """One export serves both: TFLite is converted from the SavedModel."""
    import tensorflow as tf

    model = tried.model()
    arrays = tried.arrays()
    y = _numpy(model(arrays))
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        served = tf.saved_model.load(folder).signatures["serving_default"]
        (got,) = served(**{k: tf.constant(x) for k, x in arrays.items()}).values()
        _same(got, y, "SavedModel")
        flat = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    (got,) = run_tflite(flat, arrays).values()
    np.testing.assert_allclose(got, y, 1e-4, 1e-5, err_msg="TFLite")


def run_tflite(content, arrays):
    """Runs a TFLite file's only signature by name: positions get scrambled."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # it only says that the class will move to another package
        warnings.filterwarnings("ignore", message="[^A-Za-z]*Warning: tf.lite.Interp")
        interpreter = tf.lite.Interpreter(model_content=content)
    (name,) = interpreter.get_signature_list()
    return interpreter.get_signature_runner(name)(**arrays)


LAWS = {
    "shape": documented_shape,
    "config": config_round_trip,
    ".keras": saved_and_reloaded,
    "key order": any_key_order,
    "absent unread": absent_is_not_read,
    "all absent": all_absent_is_finite,
    "padding": padding_does_not_count,
    "no presence": no_presence_means_present,
    "neighbours": neighbours_do_not_count,
    "weights move": every_weight_moves,
    "float16": mixed_float16_is_finite,
    "deterministic": inference_is_deterministic,
    "names": names_are_checked,
}
EXPORT_LAWS = {"XLA": jit_compiles, "export": saved_model_and_tflite_agree}


def check_fresh_process(cases):
    """Saves each case's model, reloads all in one new process, compares predictions.

    Args:
        cases: dict, name -> `Case`.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = {}
        for name, tried in cases.items():
            model = tried.model()
            model.save(str(Path(folder) / f"{name}.keras"))
            np.savez(Path(folder) / f"{name}.npz", **tried.arrays())
            wanted[name] = _numpy(model(tried.arrays()))
        modules = sorted({type(x.make()).__module__ for x in cases.values()})
        process.run("mmkeras.testing.fresh", folder, *modules)
        for name, y in wanted.items():
            got = np.load(Path(folder) / f"{name}.npy")
            np.testing.assert_allclose(got, y, 1e-6, 1e-6, err_msg=name)


def check_replicas(cases):
    """Two replicas (logical CPUs, in a new process) train as one device does.

    Args:
        cases: dict, name -> `Case`.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, tried in cases.items():
            tried = tried.without_dropout()
            # float64: a few steps of training make float32's rounding visible
            model = tried.model(dtype="float64")
            model.save(str(Path(folder) / f"{name}.keras"))
            np.savez(Path(folder) / f"{name}.npz", **tried.arrays())
        modules = sorted({type(x.make()).__module__ for x in cases.values()})
        process.run("mmkeras.testing.replicas", folder, *modules)
        for name in cases:
            one = np.load(Path(folder) / f"{name}.1.npy")
            two = np.load(Path(folder) / f"{name}.2.npy")
            np.testing.assert_allclose(two, one, 1e-5, 1e-6, err_msg=name)
