"""Robustness: curves against the slow way, areas and Taori's line against scipy."""

import keras
import numpy as np
import pandas
import pytest
import tensorflow as tf
from scipy.integrate import trapezoid
from scipy.special import expit, logit
from scipy.stats import linregress

import mmkeras as mm
from mmkeras.analysis import RobustnessReport, modality_report, noise, robustness
from mmkeras.analysis.noise.level import generator
from mmkeras.modality import tensor_input
from tests.analysis import standins

ROWS = 50
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnop", "##s"]
LEVELS = (0.4, 1.0)


def encoder(contract, name):
    """A small network on the flattened tensor, whatever the kind."""
    x = tensor_input(contract, name)
    y = contract(x)
    if contract.kind == "text":
        y = keras.layers.Embedding(len(WORDS), 4)(y)
    y = keras.layers.Flatten()(y)
    return keras.Model(x, keras.layers.Dense(6, "tanh", bias_initializer="ones")(y))


@pytest.fixture(scope="module")
def model():
    contracts = {
        "photo": mm.image.Pixels((16, 16)),
        "clip": mm.audio.Waveform(sampling_rate=1000, seconds=0.1),
        "title": mm.text.TokenIds(WORDS, length=12),
    }
    encoders = {name: encoder(x, name) for name, x in contracts.items()}
    head = mm.heads.classification(list("xyz")).layer
    made = mm.multimodal(encoders, mm.fusion.GatedFusion(7), head)
    standins.stir(made)
    return made


@pytest.fixture(scope="module")
def strings():
    rng = np.random.default_rng(2)
    made = [" ".join(rng.choice(list("abcdefgh"), 6)) for _ in range(ROWS)]
    made[3] = made[11] = ""
    return made


@pytest.fixture(scope="module")
def inputs(model, strings):
    rng = np.random.default_rng(1)
    there = (rng.random((2, ROWS)) > 0.2).astype("float32")
    photo = rng.uniform(0, 255, (ROWS, 16, 16, 3)) * there[0, :, None, None, None]
    clip = rng.normal(0, 0.2, (ROWS, 100)).clip(-1, 1) * there[1, :, None]
    clip[:, 80:] = 0
    return {
        "photo": photo.astype("float32"),
        "photo_present": there[0],
        "clip": clip.astype("float32"),
        "clip_present": there[1],
        "title": mm.readers(model)["title"].read_cells(strings),
        "title_present": np.array([float(x != "") for x in strings], "float32"),
    }


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(3).integers(0, 3, ROWS)


@pytest.fixture(scope="module")
def report(model, inputs, labels, strings):
    data = inputs, labels
    texts = {"title": strings}
    return robustness(
        model, data, levels=LEVELS, texts=texts, metric=[first, "accuracy"]
    )


def first(labels, outputs):
    """Moves with any change of any output."""
    return float(np.abs(outputs * np.linspace(1, 2, len(outputs))[:, None]).mean())


def test_what_is_tried(report):
    pictures = ["noise", "blur", "jpeg", "occlusion", "missing"]
    sounds = ["noise", "reverberation", "clipping", "missing"]
    texts = ["typos", "word_drop", "word_swap", "missing"]
    expected = [("clip", x) for x in sounds] + [("photo", x) for x in pictures]
    assert list(report.curves) == expected + [("title", x) for x in texts]
    assert report.levels == (0.0, 0.4, 1.0)
    assert (report.rows, report.metrics) == (ROWS, ("first", "accuracy"))
    clean = report.clean()
    for key in report.curves:
        curve = report.curve(*key)
        assert curve[0] == clean and len(set(curve)) == 3  # each level has an effect


def test_clean_is_the_whole_models(report, model, inputs, labels):
    outputs = model.predict_on_batch(inputs)
    assert report.clean() == pytest.approx(first(labels, outputs), rel=1e-5)
    assert report.clean("accuracy") == (outputs.argmax(1) == labels).mean()


@pytest.mark.parametrize(
    ("name", "kind"), [("photo", "blur"), ("clip", "noise"), ("title", "typos")]
)
def test_a_curve_the_slow_way(report, model, inputs, labels, strings, name, kind):
    contract = mm.readers(model)[name]
    apply = noise.corruptions(contract, strings=True)[kind].apply
    changed = inputs[name].copy()
    for row in np.flatnonzero(inputs[f"{name}_present"]):
        rng = generator(0, name, kind, row)
        if name == "title":
            changed[row] = contract.read_cell(apply(strings[row], 0.4, rng))
        else:
            changed[row] = apply(inputs[name][row], 0.4, rng)
    outputs = model.predict_on_batch({**inputs, name: changed})
    expected = first(labels, outputs)
    assert report.table[name, kind, 0.4]["first"] == pytest.approx(expected, rel=1e-5)


def test_all_missing_is_the_subset_without(report, model, inputs, labels):
    subsets = modality_report(model, (inputs, labels), metric=first)
    for name, others in {
        "photo": ("clip", "title"),
        "title": ("clip", "photo"),
    }.items():
        found = report.table[name, "missing", 1.0]["first"]
        assert found == pytest.approx(subsets.score(others), rel=1e-5)


def test_batch_size_does_not_matter(report, model, inputs, labels, strings):
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(17)
    table = pandas.DataFrame({"title": [x or None for x in strings]})
    chosen = {"photo": ["noise", "missing"], "title": ["word_drop"]}
    other = robustness(model, data, chosen, [0.4], texts=table, metric=first)
    assert other.curves == (
        *[("photo", x) for x in chosen["photo"]],
        ("title", "word_drop"),
    )
    for key, x in other.table.items():
        assert x["first"] == pytest.approx(report.table[key]["first"], rel=1e-5)
    seeded = robustness(model, (inputs, labels), chosen, [0.4], metric=first, seed=1)
    for key in other.curves:
        assert seeded.curve(*key)[1] != pytest.approx(other.curve(*key)[1], rel=1e-5)


def test_ids_alone_give_what_strings_give(report, model, inputs, labels):
    # each word is one token here, and none is cut off
    chosen = {"title": ["word_drop", "word_swap"]}
    found = robustness(model, (inputs, labels), chosen, [0.4], metric=first)
    for key, x in found.table.items():
        assert x["first"] == pytest.approx(report.table[key]["first"], rel=1e-5)


def test_functions_and_a_modality_that_is_ignored(model, inputs, labels):
    def inverted(value, level, rng):
        return value + level * (255 - 2 * value)

    blind = keras.models.clone_model(model)
    blind.set_weights(model.get_weights())
    network = mm.model.encoders(blind)["photo"]
    network.layers[-1].kernel.assign(0 * network.layers[-1].kernel)
    chosen = {"photo": [inverted, "noise", "occlusion"]}
    for tried, flat in ((model, False), (blind, True)):
        found = robustness(tried, (inputs, labels), chosen, LEVELS, metric=first)
        for key in found.curves:
            assert (len(set(found.curve(*key))) == 1) == flat
            assert (found.area(*key) == 1.0) == flat


def test_progress(model, inputs, labels):
    class Progress:
        def track(self, items, total, text):
            self.said = total, text
            return items

    progress = Progress()
    chosen = {"photo": "missing"}
    robustness(model, (inputs, labels), chosen, [1.0], progress=progress)
    assert progress.said == (2, "Robustness")


def made(curves, metric="accuracy", modalities=("photo", "title"), rows=400):
    """A report with the curves of (modality, corruption)."""
    levels = (0.0, 0.25, 1.0)
    table = {
        (*key, level): {metric: value}
        for key, values in curves.items()
        for level, value in zip(levels, values, strict=True)
    }
    at_one = dict.fromkeys(curves, "quality 5")
    return RobustnessReport(modalities, (metric,), levels, table, rows, at_one)


KEY = ("photo", "jpeg")


def test_area_frames_and_text():
    report = made({KEY: (0.8, 0.6, 0.1), ("title", "typos"): (0.8, 0.8, 0.8)})
    expected = trapezoid([0.8, 0.6, 0.1], [0, 0.25, 1]) / 0.8
    assert report.area(*KEY) == pytest.approx(expected)
    assert report.area("title", "typos") == pytest.approx(1)
    assert report.areas().loc[KEY, "accuracy"] == report.area(*KEY)
    assert report.areas().loc[KEY, "level 1"] == "quality 5"
    assert report.to_frame().loc[(*KEY, 0.25), "accuracy"] == 0.6
    lines = str(report).splitlines()
    assert lines[0] == "accuracy by level of corruption (400 rows)"
    assert lines[2].split() == ["photo", "jpeg", "0.800", "0.600", "0.100", "0.547"]
    with pytest.raises(
        ValueError, match=r"\('title', 'typos'\).*Received: \('a', 'b'\)"
    ):
        report.curve("a", "b")
    with pytest.raises(ValueError, match=r"one of \('accuracy',\). Received: metric="):
        report.curve(*KEY, "mae")


def test_effective_robustness_is_taoris():
    report = made({KEY: (0.8, 0.7, 0.5)})
    clean, shifted = [0.5, 0.6, 0.9], [0.45, 0.4, 0.7]
    baselines = {
        f"b{i}": made({KEY: (x, 0.5, y)})
        for i, (x, y) in enumerate(zip(clean, shifted, strict=True))
    }
    found = report.against(baselines).table[*KEY, 1.0]
    line = linregress(logit(clean), logit(shifted))
    expected = expit(line.intercept + line.slope * logit(0.8))
    assert found["expected"] == pytest.approx(expected)
    assert found["effective"] == pytest.approx(0.5 - expected)
    for name, y in zip(baselines, shifted, strict=True):
        assert found[f"relative to {name}"] == pytest.approx(0.5 - y)


def test_a_model_on_the_baselines_line_has_no_effective_robustness():
    def on_line(clean):
        shifted = [expit(-0.7 + k * logit(clean)) for k in (0.8, 1.3)]
        return made({KEY: (clean, *shifted)})

    found = on_line(0.8).against([on_line(x) for x in (0.55, 0.7, 0.93)])
    assert found.effective() == pytest.approx(0, abs=1e-12)
    assert found.slope == "least squares"


def test_one_baseline():
    report = made({KEY: (0.8, 0.7, 0.5)})
    other = made({KEY: (0.6, 0.5, 0.3)})
    for baselines in (other, [other], {"b": other}, [other, other]):
        found = report.against(baselines)
        expected = expit(logit(0.3) + logit(0.8) - logit(0.6))
        assert found.table[*KEY, 1.0]["expected"] == pytest.approx(expected)
        assert found.slope == "1: one clean score"
    assert report.against(report).effective("photo") == pytest.approx(0, abs=1e-12)
    assert "relative to baseline 1" in found.to_frame()
    assert str(found).splitlines()[1].split()[:4] == [
        "modality",
        "corruption",
        "score",
        "effective",
    ]
    with pytest.raises(ValueError, match=r"one of \[\('photo', 'jpeg'\)\]. Received"):
        found.effective("title")


def test_perfect_scores_and_baselines_without_the_modality():
    report = made({KEY: (1.0, 1.0, 0.0)})
    blind = made({("title", "typos"): (0.7, 0.6, 0.5)}, modalities=("title",))
    found = report.against({"blind": blind})
    assert found.table[*KEY, 0.25]["relative to blind"] == pytest.approx(0.3)
    assert np.isfinite(found.to_frame().to_numpy()).all()


def test_errors_are_fitted_without_logits():
    report = made({KEY: (0.2, 0.3, 0.5)}, "mae")
    baselines = [made({KEY: (x, x, 2 * x + 0.1)}, "mae") for x in (0.1, 0.3, 0.4)]
    found = report.against(baselines).table[*KEY, 1.0]
    assert found["expected"] == pytest.approx(0.5)
    worse = made({KEY: (0.2, 0.3, 0.7)}, "mae").against(baselines).table[*KEY, 1.0]
    assert worse["effective"] == pytest.approx(-0.2)  # above 0 is better
    assert worse["relative to baseline 1"] == pytest.approx(0.3 - 0.7)


def test_wrong_baselines():
    report = made({KEY: (0.8, 0.7, 0.5)})
    with pytest.raises(ValueError, match="at least one. Received: none"):
        report.against([])
    with pytest.raises(ValueError, match="same 400 rows. Received: 'b' .* on 7 rows"):
        report.against({"b": made({KEY: (0.8, 0.7, 0.5)}, rows=7)})
    other = made({("photo", "blur"): (0.8, 0.7, 0.5)})
    with pytest.raises(
        ValueError, match=r"'baseline 1' without \[\('photo', 'jpeg', 0"
    ):
        report.against([other])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"corruptions": {"smell": ["noise"]}},
            r"\['smell'\]. Valid names: \['clip', ",
        ),
        (
            {"corruptions": {"photo": ["rain"]}},
            r"\['noise', 'blur', .*Received: 'rain'",
        ),
        ({"corruptions": {"title": ["typos"]}}, "Received: 'typos'.* give `texts`"),
        ({"corruptions": {"photo": ["blur"] * 2}}, "different names. Received"),
        ({"corruptions": {}}, r"at least one.* Received: \[\]"),
        ({"levels": [0.5, 0.2]}, r"increasing .* Received: levels=\[0.5, 0.2\]"),
        ({"levels": [0.5, 1.2]}, "at most 1"),
        ({"levels": [0]}, "above 0"),
        ({"metric": "mae"}, "`metric` wants .* Received: 'mae'"),
        ({"texts": {"photo": ["a"]}}, r"modalities \['title'\].*Received: \['photo'\]"),
        ({"texts": {}}, "Received: none"),
        ({"texts": pandas.DataFrame({"a": ["b"]})}, "Received: none"),
        ({"texts": {"title": ["a"]}}, "Received: 1 strings, and more rows"),
    ],
)
def test_wrong_arguments(model, inputs, labels, kwargs, message):
    few = {key: x[:3] for key, x in inputs.items()}
    kwargs = {"corruptions": {"photo": ["missing"]}, "levels": [1.0], **kwargs}
    with pytest.raises(ValueError, match=message):
        robustness(model, (few, labels[:3]), **kwargs)


def test_texts_of_other_rows(model, inputs, labels, strings):
    chosen = {"title": ["missing"]}
    with pytest.raises(ValueError, match="Row 1 differs: 'other'.* without `shuffle`"):
        texts = {"title": [strings[0], "other", *strings[2:]]}
        robustness(model, (inputs, labels), chosen, [1.0], texts=texts)
    with pytest.raises(ValueError, match="Received: 51 strings, and 50 rows"):
        texts = {"title": [*strings, "more"]}
        robustness(model, (inputs, labels), chosen, [1.0], texts=texts)
