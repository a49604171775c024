"""Classes by prompts against the formula; saved, analysed, trained on.

Exported: tests/retrieval/test_joint.py.
"""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import retrieval
from tests import paired
from tests.retrieval.colours import numbers, words

CLASSES = {"warm": ["red"], "cold": ["blue", "green square"], "pale": ["white"]}
PROMPTS = ("a {}.", "{}")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    encoders = {"photo": numbers(), "title": words()}
    return mm.two_tower(encoders, 5)


@pytest.fixture(scope="module")
def zero(model):
    return retrieval.zero_shot(model, CLASSES, "photo", "title", prompts=PROMPTS)


def tensors(count=6):
    return np.random.default_rng(0).uniform(0, 1, (count, 3)).astype("float32")


def inputs(count=6):
    return {"photo": tensors(count), "photo_present": np.ones(count, "float32")}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_hand(model, scale=None):
    """s cos(x, mean of the prompts' vectors), in float64, from the towers alone."""
    title = mm.tower(model, "title")
    read = mm.modality.contract(title).read_cells
    said = [
        ["a red.", "red"],
        ["a blue.", "blue", "a green square.", "green square"],
        ["a white.", "white"],
    ]
    centres = [unit(np.asarray(title(read(x)), "float64")).mean(0) for x in said]
    x = np.asarray(mm.tower(model, "photo")(tensors()), "float64")
    scale = scale or np.exp(float(model.get_layer("contrastive").log_scale))
    return scale * unit(x) @ unit(np.array(centres)).T


def test_logits_are_scaled_cosines(model, zero):
    wanted = by_hand(model)
    found = np.asarray(zero(inputs()))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    blind = {**inputs(), "photo_present": np.zeros(6, "float32")}
    assert not np.asarray(zero(blind)).any()
    scaled = retrieval.zero_shot(
        model, CLASSES, "photo", "title", prompts=PROMPTS, scale=3
    )
    wanted = by_hand(model, 3.0)
    np.testing.assert_allclose(scaled(inputs()), wanted, atol=1e-5)


def test_encoders_that_do_not_normalise(model):
    wide = mm.two_tower(
        {"photo": numbers(), "title": words()},
        5,
        normalize=False,
    )
    encoders = {x: mm.tower(wide, x) for x in ("photo", "title")}
    made = retrieval.zero_shot(encoders, CLASSES, "photo", "title", prompts=PROMPTS)
    wanted = by_hand(wide, 100.0)
    np.testing.assert_allclose(made(inputs()), wanted, atol=1e-3)


def test_a_list_of_names_is_prompted_by_its_names(model):
    found = retrieval.prompt_embeddings(model, ["red", "blue"], "title", "a {}")
    wanted = retrieval.embed(model, "title", ["a red", "a blue"])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_saved_with_its_classes(zero, tmp_path):
    wanted = np.asarray(zero(inputs()))
    zero.save(tmp_path / "zero.keras")
    loaded = mm.load_model(tmp_path / "zero.keras")
    np.testing.assert_allclose(loaded(inputs()), wanted, atol=1e-6)
    assert mm.heads.output_contract(loaded).classes == list(CLASSES)


def test_reported_and_trained_on(zero):
    table = pandas.DataFrame({"photo": ["1,0,0"] * 4, "label": ["warm", "cold"] * 2})
    rows = mm.data.from_table(table, zero, label="label", batch_size=4)
    report = mm.analysis.modality_report(zero, rows)
    assert report.classes == tuple(CLASSES)
    mm.transfer.freeze(zero)
    before = zero.get_layer("head").get_weights()[0]
    zero.compile(keras.optimizers.SGD(0.01), mm.heads.ClassCrossentropy())
    zero.train_on_batch(*next(iter(rows)))
    assert np.abs(zero.get_layer("head").get_weights()[0] - before).max() > 0
    zero.get_layer("head").set_weights([before, np.zeros(3)])


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        ("a place '{}'", {"prompts": ("a picture",)}),
        ("a place '{}'", {"prompts": ()}),
        ("a list of phrases .* for 'a'", {"classes": {"a": "red", "b": ["blue"]}}),
        ("two or more classes", {"classes": ["red"]}),
        ("`scale` wants", {"scale": 0}),
        ("Valid names", {"modality": "clip"}),
    ],
)
def test_what_is_refused(model, error, changed):
    given = {"classes": CLASSES, "modality": "photo", "prompts": PROMPTS, **changed}
    with pytest.raises(ValueError, match=error):
        retrieval.zero_shot(model, words="title", **given)


def test_two_spaces_are_refused():
    encoders = {"left": paired.encoder(6, 8)}
    encoders["title"] = words()
    with pytest.raises(ValueError, match="want one space"):
        retrieval.zero_shot(encoders, ["red", "blue"], "left", "title")
