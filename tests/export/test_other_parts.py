"""Every part beside supervised fusion: saved, read elsewhere, served, on devices."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.export import checks
from mmkeras.testing import process
from tests.export import other_parts

pytestmark = pytest.mark.slow
EXPORTED = list(other_parts.EXPORTED)
SAVED = [*EXPORTED, *other_parts.SAVED]


@pytest.fixture(scope="module")
def made():
    """Part -> `(model, raw values, tensors, answers)`, of weights that all count."""
    keras.utils.set_random_seed(0)
    rng, found = np.random.default_rng(1), {}
    for name, build in {**other_parts.EXPORTED, **other_parts.SAVED}.items():
        model = build()
        for w in model.weights:  # no bias, norm or statistic at its starting value
            if w.path.split("/")[-1] in ("bias", "gamma", "beta", "moving_mean"):
                w.assign_add(rng.normal(0, 0.1, w.shape))
        raw, tensors = other_parts.rows(model)
        answer = model(tensors, training=False)
        named = answer if isinstance(answer, dict) else {"outputs": answer}
        answers = {key: np.asarray(x) for key, x in named.items()}
        for x in answers.values():  # rows differ: the tests can fail
            assert np.isfinite(x).all() and np.ptp(x, axis=0).max() > 1e-3
        found[name] = model, raw, tensors, answers
    return found


@pytest.fixture(scope="module")
def loaded(made, tmp_path_factory):
    """Folder of what one other process read and answered."""
    folder = tmp_path_factory.mktemp("saved")
    for name, (model, _, tensors, _) in made.items():
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", **tensors)
    process.run("tests.export.fresh_models", folder)
    return folder


@pytest.fixture(scope="module")
def served(made, tmp_path_factory):
    """As `loaded`, of SavedModels and raw values."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        # the other process compares: doing it here as well takes a minute more
        none = checks.EndpointCheck("serve", (), (), {"": 0.0}, {"": 0.0})
        patch.setattr(checks, "compare", lambda *_: (none,))
        for name in EXPORTED:
            model, raw, _, _ = made[name]
            mm.export.saved_model(model, folder / name)
            asked = {k: [x.decode("latin1") for x in v] for k, v in raw.items()}
            (folder / f"{name}.json").write_text(json.dumps(asked), "utf8")
    process.run("tests.export.fresh_served", folder)
    return folder


def close(got, wanted):
    for key, x in wanted.items():
        limit = 1e-5 * max(1, np.abs(x).max())
        np.testing.assert_allclose(got[key], x, rtol=0, atol=limit, err_msg=key)


@pytest.mark.parametrize("name", SAVED)
def test_read_by_another_process(made, loaded, name):
    close(np.load(loaded / f"{name}.answers.npz"), made[name][3])


ENCODERS = {
    "graph": ("everything", "object"),
    "clip": ("joint", "title"),
    "siglip": ("joint", "photo"),
}


@pytest.mark.parametrize("part", [*ENCODERS, "tower"])
def test_encoders_keep_the_laws(made, part):
    name, modality = ENCODERS.get(part, ("remembering", "title"))
    model = made[name][0]
    alone = mm.tower if part == "tower" else mm.model.encoder
    mm.testing.check_encoder(alone(model, modality))


@pytest.mark.parametrize("name", EXPORTED)
def test_served_from_raw_values_by_tensorflow_alone(made, served, name):
    close(np.load(served / f"{name}.answers.npz"), made[name][3])


@pytest.mark.parametrize("name", EXPORTED)
def test_answers_from_a_tflite_file(made, tmp_path, name):
    model, _, tensors, answers = made[name]
    report = mm.export.tflite(
        model, tmp_path / "a.tflite", representative=tensors, tolerance=1e-5
    )
    assert set(report.max_differences) >= set(answers)
    assert not [x for x in report.ops if x.startswith(("CUSTOM", "Flex"))]


@pytest.mark.parametrize("name", EXPORTED)
def test_answers_from_an_onnx_file(made, tmp_path, name):
    model, _, tensors, answers = made[name]
    mm.export.onnx(model, tmp_path / "a.onnx")
    got = mm.export.load(tmp_path / "a.onnx").predict_on_batch(tensors)
    close(got if isinstance(got, dict) else {"outputs": got}, answers)


def test_no_memory_of_negatives_in_an_export(served):
    folder = served / "remembering/variables/variables"
    found = tf.train.list_variables(str(folder))
    assert found and not [shape for _, shape in found if 7 in shape]
