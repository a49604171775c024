"""Calibration and temperature against scikit-learn, SciPy and theory."""

import json
import warnings
import zipfile

import keras
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, log_softmax, softmax
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

import mmkeras as mm
from mmkeras.analysis import calibration, fit_temperature
from mmkeras.analysis.plots import calibration as calibration_plot
from tests import tiny


def drawn(rows=3000, classes=4, seed=0, spread=2.0):
    """Logits, and labels drawn by their softmax: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (rows, classes))
    each = np.cumsum(softmax(logits, 1), axis=1)
    return logits, (rng.random((rows, 1)) > each[:, :-1]).sum(1)


def several(rows=1500, classes=3, seed=1):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, classes))
    return logits, (rng.random(logits.shape) < expit(logits)).astype("float32")


def by_hand(p, true, bins):
    """Guo's formula, a row at a time."""
    error, worst = 0.0, 0.0
    for i in range(bins):
        inside = [
            (x, y)
            for x, y in zip(p, true, strict=True)
            if i / bins < x <= (i + 1) / bins
        ]
        if inside:
            said, came = np.mean(inside, axis=0)
            error += len(inside) / len(p) * abs(said - came)
            worst = max(worst, abs(said - came))
    return error, worst


def test_single_scores_equal_the_formulas_and_scikit_learn():
    logits, labels = drawn()
    found = calibration(2.5 * logits, labels, bins=10)
    p = softmax(2.5 * logits, 1)
    right = p.argmax(1) == labels
    error, worst = by_hand(p.max(1), right, 10)
    assert found.ece == pytest.approx(error, rel=1e-9)
    assert found.mce == pytest.approx(worst, rel=1e-9)
    for i in range(4):
        error, _ = by_hand(p[:, i], labels == i, 10)
        assert found.classwise[str(i)] == pytest.approx(error, rel=1e-9)
    assert found.classwise_ece == np.mean(list(found.classwise.values()))
    assert found.nll == pytest.approx(sk.log_loss(labels, p), rel=1e-9)
    each = [sk.brier_score_loss(labels == i, p[:, i]) for i in range(4)]
    assert found.brier == pytest.approx(sum(each), rel=1e-9)
    assert found.accuracy == sk.accuracy_score(labels, p.argmax(1))
    assert found.confidence == pytest.approx(p.max(1).mean(), rel=1e-9)
    frame = found.to_frame()
    full = frame[frame.rows > 0]
    observed, predicted = calibration_curve(right, p.max(1), n_bins=10)
    np.testing.assert_allclose(full.observed, observed, rtol=1e-9)
    np.testing.assert_allclose(full.predicted, predicted, rtol=1e-9)
    assert frame.share.sum() == pytest.approx(1) and len(frame) == 10
    assert (full.gap < 0).mean() > 0.7  # too sure: less came true than was said


def test_multilabel_scores_equal_scikit_learn():
    logits, labels = several()
    found = calibration(1.7 * logits, labels, bins=12)
    p = expit(1.7 * logits)
    error, worst = by_hand(p.ravel(), labels.ravel(), 12)
    assert (found.kind, found.rows) == ("multi", 1500)
    assert found.ece == pytest.approx(error, rel=1e-9)
    assert found.mce == pytest.approx(worst, rel=1e-9)
    each = [sk.log_loss(labels[:, i], p[:, i]) for i in range(3)]
    assert found.nll == pytest.approx(np.mean(each), rel=1e-9)
    each = [sk.brier_score_loss(labels[:, i], p[:, i]) for i in range(3)]
    assert found.brier == pytest.approx(np.mean(each), rel=1e-9)
    assert found.accuracy == pytest.approx(((p >= 0.5) == labels).mean())
    assert found.confidence == pytest.approx(np.maximum(p, 1 - p).mean())
    observed, predicted = calibration_curve(labels.ravel(), p.ravel(), n_bins=12)
    np.testing.assert_allclose(found.table["observed"], observed, rtol=1e-9)
    np.testing.assert_allclose(found.table["predicted"], predicted, rtol=1e-9)


def test_bins_of_equal_mass_are_scikit_learns_quantiles():
    logits, labels = several()
    p = expit(logits).ravel()
    found = calibration(logits, labels, bins=9, equal_mass=True)
    curve = calibration_curve(labels.ravel(), p, n_bins=9, strategy="quantile")
    np.testing.assert_allclose(found.table["observed"], curve[0], rtol=1e-9)
    np.testing.assert_allclose(found.table["predicted"], curve[1], rtol=1e-9)
    assert np.ptp(found.table["rows"]) <= 1
    same = calibration(np.zeros((8, 2)), np.arange(8) % 2, equal_mass=True)
    assert same.ece == 0 and same.table["rows"].sum() == 8  # ties share a bin


def test_probabilities_instead_of_logits():
    logits, labels = drawn(400)
    wanted = calibration(logits, labels)
    found = calibration(softmax(logits, 1), labels, from_logits=False)
    for name in ("ece", "mce", "classwise_ece", "brier", "nll", "confidence"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9)
    assert found.temperature is None and wanted.temperature == 1.0
    logits, labels = several(400)
    wanted = calibration(logits, labels).nll
    found = calibration(expit(logits), labels, from_logits=False)
    assert found.nll == pytest.approx(wanted, rel=1e-9)


def test_a_calibrated_model_errs_as_chance_does():
    """The mean over draws of the labels is what `by_chance` says; 0 in the limit."""
    found = [calibration(*drawn(2000, seed=x), bins=10) for x in range(20)]
    errors = np.array([x.ece for x in found])
    expected = np.mean([x.by_chance for x in found])
    assert abs(errors.mean() - expected) < 4 * errors.std() / np.sqrt(20)
    many = calibration(*drawn(200_000), bins=10)
    assert many.ece < 0.004 and many.by_chance < 0.004
    assert calibration(3 * drawn()[0], drawn()[1]).ece > 0.1


@pytest.mark.parametrize("factor", [0.3, 1.0, 6.0])
def test_temperature_is_the_factor_of_the_logits(factor):
    """scipy finds the optimum of the plain logits; k times them want k times it."""
    logits, labels = drawn(1200)

    def loss(log_t):
        z = log_softmax(logits / np.exp(log_t), 1)
        return -z[np.arange(len(labels)), labels].mean()

    best = np.exp(optimize.minimize_scalar(loss, (-1, 1), tol=1e-9).x)
    search = mm.analysis.certainty.temperature.search
    found = search(factor * logits, labels, "single")
    assert found == pytest.approx(factor * best, rel=1e-3)
    assert found / factor == pytest.approx(1, abs=0.1)  # calibrated: near 1
    assert found == pytest.approx(factor * search(logits, labels, "single"), rel=1e-9)


def test_temperature_of_several_labels():
    logits, labels = several()

    def loss(log_t):
        z = logits / np.exp(log_t)
        return np.logaddexp(0, np.where(labels > 0, -z, z)).mean()

    best = np.exp(optimize.minimize_scalar(loss, (-1, 1), tol=1e-9).x)
    found = mm.analysis.certainty.temperature.search(4 * logits, labels, "multi")
    assert found == pytest.approx(4 * best, rel=1e-3)


@pytest.fixture(scope="module")
def model():
    """Far too sure: the kernel of its head is large."""
    keras.utils.set_random_seed(1)
    made = tiny.model()
    rng = np.random.default_rng(2)
    made.set_weights([x + rng.uniform(0.1, 0.4, x.shape) for x in made.get_weights()])
    head = mm.heads.output_contract(made)
    head.kernel.assign(rng.normal(0, 30, head.kernel.shape))
    return made


@pytest.fixture(scope="module")
def rows(model):
    """Labels drawn by the softmax of the logits over 8."""
    inputs, _ = tiny.rows(600)
    p = np.cumsum(softmax(model.predict_on_batch(inputs) / 8.0, 1), axis=1)
    draw = np.random.default_rng(3).random((600, 1))
    return inputs, (draw > p[:, :-1]).sum(1)


def test_the_model_keeps_its_temperature(model, rows, tmp_path):
    logits = model.predict_on_batch(rows[0])
    found = fit_temperature(model, rows)
    head = mm.heads.output_contract(model)
    assert found.temperature == head.temperature == pytest.approx(8, rel=0.15)
    assert found.after.nll < found.before.nll and found.after.ece < found.before.ece
    assert found.before == calibration_of(logits, rows[1], 1.0, found.before)
    assert f"NLL {found.before.nll:.4f} -> {found.after.nll:.4f}" in str(found)
    assert list(found.to_frame().temperature) == [1.0, found.temperature]
    again = fit_temperature(model, rows)  # from the logits: no drift
    assert again.temperature == found.temperature
    assert again.before.ece == found.before.ece
    np.testing.assert_array_equal(model.predict_on_batch(rows[0]), logits)
    wanted = softmax(logits.astype("float64") / found.temperature, 1)
    decoded = head.decode(logits)
    np.testing.assert_allclose([list(x.values())[1:] for x in decoded], wanted, 1e-5)
    assert [x["class"] for x in decoded] == [str(i) for i in logits.argmax(1)]

    model.save(tmp_path / "m.keras")
    loaded = mm.load_model(tmp_path / "m.keras")
    assert mm.heads.output_contract(loaded).temperature == found.temperature
    report = calibration(loaded, rows)
    assert report.temperature == found.temperature
    assert report.ece == pytest.approx(found.after.ece, abs=1e-6)
    assert calibration(loaded, rows, temperature=1.0).ece == pytest.approx(
        found.before.ece, abs=1e-6
    )
    older = tmp_path / "older.keras"
    without_temperature(tmp_path / "m.keras", older)
    assert mm.heads.output_contract(mm.load_model(older)).temperature == 1.0


def test_a_temperature_of_numpy_is_a_float():
    logits, labels = drawn(rows=50)
    found = calibration(logits, labels, temperature=np.float64(2))
    assert found.ece == calibration(logits, labels, temperature=2.0).ece


def calibration_of(logits, labels, temperature, like):
    """The report of logits, with the arrays of another, so that == can be asked."""
    made = calibration(logits, labels, temperature=temperature)
    np.testing.assert_equal(made.table, like.table)
    return type(made)(**{**vars(made), "table": like.table})


def without_temperature(path, older):
    """The file as it was before heads had one."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                assert drop(config) == 1
                content = json.dumps(config)
            target.writestr(name, content)


def drop(config):
    values = config.values() if isinstance(config, dict) else config
    inside = sum(drop(x) for x in values if isinstance(x, dict | list))
    if isinstance(config, dict) and config.pop("temperature", None) is not None:
        inside += 1
    return inside


def test_nonsense_is_refused(model, rows):
    inputs, labels = rows
    head = mm.heads.output_contract(model)
    head.temperature = 3.0
    with pytest.raises(ValueError, match="two classes or more.*all labels 1"):
        fit_temperature(model, (inputs, np.ones(600, int)))
    assert head.temperature == 3.0  # left as it was
    right = model.predict_on_batch(inputs).argmax(1)
    with pytest.warns(UserWarning, match="all are right"):
        found = fit_temperature(model, (inputs, right))
    assert found.temperature == head.temperature == 1.0
    with pytest.warns(UserWarning, match="say nothing of the labels"):
        worst = (right + 1) % 3
        assert fit_temperature(model, (inputs, worst)).temperature == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_temperature(model, rows)
    plain = keras.Model(model.input, keras.layers.Dense(3)(model.layers[-2].output))
    with pytest.raises(ValueError, match="wants a head of `mmkeras.heads`"):
        fit_temperature(plain, rows)


def test_a_modality_report_has_it_where_there_are_probabilities():
    from mmkeras.analysis.certainty.calibration import of_head

    for kind, (logits, labels) in (("single", drawn(200)), ("multi", several(200))):
        names = [f"c{i}" for i in range(logits.shape[1])]
        head = mm.heads.Outputs(names, kind, temperature=2.0)
        found = of_head(head, labels, logits.astype("float32"), kind)
        wanted = calibration(logits, labels, temperature=2.0)
        assert found.classes == tuple(names)
        assert found.nll == pytest.approx(wanted.nll, rel=1e-6)
        assert found.classwise_ece == pytest.approx(wanted.classwise_ece, rel=1e-5)
        assert of_head(None, labels, logits, kind) is None
        assert of_head(head, labels, logits * np.nan, kind) is None
    shares = of_head(head, labels * 0.5, logits, kind)
    number = of_head(mm.heads.Outputs(["x"], "number"), labels, logits, "number")
    assert shares is None and number is None


def test_one_of_several_heads(rows):
    """By the model of that head alone, which shares its layers."""
    parts = {"kind": mm.heads.classification(3).layer, "size": keras.layers.Dense(1)}
    both = mm.multimodal({"left": tiny.encoder(6)}, mm.fusion.Concat(), parts)
    inputs = {key: rows[0][key] for key in ("left", "left_present")}
    alone = keras.Model(both.input, both.output["kind"])
    parts["kind"].temperature = 7.0
    found = calibration(alone, (inputs, rows[1]))
    assert found.temperature == 7.0
    with pytest.raises(ValueError, match="wants one output.*'kind', 'size'"):
        calibration(both, (inputs, rows[1]))


def test_numbers_have_no_calibration():
    x = keras.Input((2,))
    model = keras.Model(x, mm.heads.regression().layer(x))
    rows = np.ones((4, 2)), np.ones(4)
    for ask in (calibration, fit_temperature):
        with pytest.raises(ValueError, match="'number'.*'mae', 'rmse'"):
            ask(model, rows)


@pytest.mark.parametrize(
    "outputs, labels, options, message",
    [
        ([[0.3, 0.7]], [1], {}, "say from_logits=False"),
        ([[3.0, 0.7]], [1], {"from_logits": False}, "numbers from 0 to 1"),
        ([[0.3, 0.7]], [1], {"from_logits": False, "temperature": 2.0}, "above 0"),
        ([[3.0, 0.7]], [1], {"temperature": 0.0}, "`temperature` wants"),
        ([[3.0, 0.7]], [1], {"bins": 0}, "`bins` wants"),
        ([[3.0, 0.7]], [2], {}, "integers from 0 below 2"),
        ([[3.0, 0.7]], [0.5], {}, "integers from 0 below 2"),
        ([[3.0, 0.7]], [[0.4, 0.6]], {}, "want 0 and 1 of shape"),
        ([[3.0, np.nan]], [1], {}, "1 not finite"),
        ([[3.0, 0.7]], [1], {"kind": "number"}, "Calibration wants probabilities"),
    ],
)
def test_wrong_arguments(outputs, labels, options, message):
    with pytest.raises(ValueError, match=message):
        calibration(np.array(outputs), np.array(labels), **options)


def test_the_reliability_plot(tmp_path, monkeypatch):
    import matplotlib.figure

    figures = []
    save = calibration_plot.save

    def spy(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(calibration_plot, "save", spy)
    logits, labels = drawn(500)
    report = calibration(3 * logits, labels, bins=10)
    calibration_plot.reliability(report, tmp_path / "reliability.png")
    assert [x.name for x in tmp_path.iterdir()] == ["reliability.png"]
    (figure,) = figures
    assert isinstance(figure, matplotlib.figure.Figure)
    above, below = figure.axes
    full = report.to_frame().query("rows > 0")
    bars, shares = above.containers[0], below.containers[0]
    np.testing.assert_allclose([x.get_height() for x in bars], full.observed)
    np.testing.assert_allclose([x.get_height() for x in shares], full.share)
    assert f"{report.ece:.3f}" in above.get_title()
