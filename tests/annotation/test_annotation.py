"""Which rows to label next: scores and spread by hand, the file's way out and back."""

import numpy as np
import pandas
import pytest
import scipy.stats

import mmkeras as mm
from tests import tiny


@pytest.fixture(scope="module")
def p():
    return np.random.default_rng(0).dirichlet(np.full(4, 0.5), 30)


def test_scores(p):
    np.testing.assert_allclose(
        mm.annotation.entropy(p), scipy.stats.entropy(p, axis=1), rtol=1e-12
    )
    wanted = [1 - (sorted(x)[-1] - sorted(x)[-2]) for x in p.tolist()]
    np.testing.assert_allclose(mm.annotation.margin(p), wanted, rtol=1e-12)
    assert mm.annotation.entropy([[0.0, 1.0]]) == 0


def test_k_center_takes_the_farthest_each_time():
    x = np.random.default_rng(0).normal(size=(40, 3))
    known = x[:3]
    found = mm.annotation.k_center(x, 12, known)
    centres = list(known)
    for row in found:
        gaps = [min(np.linalg.norm(a - c) for c in centres) for a in x]
        assert gaps[row] == pytest.approx(max(gaps))
        centres.append(x[row])
    first = mm.annotation.k_center(x, 1)[0]
    gaps = np.linalg.norm(x - x.mean(0), axis=1)
    assert gaps[first] == gaps.min()


def test_k_means_pp_draws_by_squared_distance():
    x = np.array([[10.0], [8.0], [4.0], [10.0]])
    drawn = [mm.annotation.k_means_pp(x, 2, seed)[1] for seed in range(2000)]
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == counts[3] == 0  # where the first is, nothing is drawn
    # 36 / 40 of the draws; five standard errors
    assert abs(counts[2] / 2000 - 0.9) < 5 * np.sqrt(0.9 * 0.1 / 2000)
    every = mm.annotation.k_means_pp(np.ones((5, 2)), 5)
    assert sorted(every) == [0, 1, 2, 3, 4]


def test_gradient_embedding_is_the_gradient(p):
    import tensorflow as tf

    h = np.random.default_rng(1).normal(size=(30, 3))
    found = mm.annotation.gradient_embedding(p, h)
    for row in range(3):
        # logits log p at the kernel 0, and a bias that holds them
        kernel = tf.Variable(np.zeros((3, 4)))
        with tf.GradientTape() as tape:
            logits = tf.matmul(h[row : row + 1], kernel)[0] + np.log(p[row])
            loss = -tf.nn.log_softmax(logits)[p[row].argmax()]
        wanted = tape.gradient(loss, kernel).numpy().T.ravel()
        np.testing.assert_allclose(found[row], wanted, atol=1e-12)


@pytest.mark.parametrize("method", mm.annotation.METHODS)
def test_picked_rows_are_different_and_repeat(p, method):
    x = np.random.default_rng(1).normal(size=(30, 3))
    found = mm.annotation.pick(p, x, 7, method, labelled=x[:2], seed=3)
    assert len(set(found.tolist())) == 7
    again = mm.annotation.pick(p, x, 7, method, labelled=x[:2], seed=3)
    np.testing.assert_array_equal(found, again)


def test_picked_rows_are_unsure_and_far(p):
    x = np.random.default_rng(1).normal(size=(30, 3))
    unsure = np.argsort(-mm.annotation.margin(p))
    np.testing.assert_array_equal(mm.annotation.pick(p, x, 5, "margin"), unsure[:5])
    both = mm.annotation.pick(p, x, 5, "margin_k_center", labelled=x[unsure[20:]])
    assert set(both) < set(unsure[:20])
    wanted = unsure[:20][mm.annotation.k_center(x[unsure[:20]], 5, x[unsure[20:]])]
    np.testing.assert_array_equal(both, wanted)


def test_threshold_and_pseudo_labels(p):
    rng = np.random.default_rng(2)
    labels = np.array([rng.choice(4, p=x) for x in p])
    right, sure = p.argmax(1) == labels, p.max(1)
    for wanted in (0.8, 0.95, 1.0):
        enough = [c for c in sure if right[sure >= c].mean() >= wanted]
        found = mm.annotation.threshold(p, labels, wanted)
        assert found == min(enough, default=np.inf)
        rows, classes = mm.annotation.pseudo_labels(p, found)
        np.testing.assert_array_equal(rows, np.flatnonzero(sure >= found))
        assert np.mean(classes == labels[rows]) >= wanted
    # two rows of one confidence, one of them wrong
    tied = [[0.9, 0.1], [0.9, 0.1]]
    assert mm.annotation.threshold(tied, [0, 1], 1.0) == np.inf


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    rows, labels = tiny.rows(20)
    frame = pandas.DataFrame(
        {x: [",".join(map(str, row)) for row in rows[x]] for x in ("left", "right")}
    )
    frame["label"] = [f"c{i}" for i in labels]
    frame.to_csv(folder / "rows.csv", index=False)
    return mm.data.read_table(folder / "rows.csv")


def test_out_into_a_file_and_back(table, tmp_path):
    model = tiny.model(["c0", "c1", "c2"])
    pool = table.drop(columns="label")
    pool.attrs.update(table.attrs)
    found = mm.annotation.suggest(model, pool, 6, labelled=table[:3], method="entropy")
    logits = np.concatenate(
        [model(x) for x in mm.data.from_table(pool, model, batch_size=20)]
    ).astype("float64")
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = found.row.to_numpy()
    entropies = scipy.stats.entropy(p, axis=1)
    assert set(rows) == set(np.argsort(-entropies)[:6])
    np.testing.assert_allclose(found.score, entropies[rows], rtol=1e-5)
    np.testing.assert_allclose(found.confidence, p[rows].max(1), rtol=1e-5)
    assert list(found.suggestion) == [f"c{i}" for i in p[rows].argmax(1)]

    path = f"{table.attrs['root']}/to_label.csv"
    mm.annotation.write(found, path)
    with pytest.raises(ValueError, match="no row with a 'label' yet"):
        mm.annotation.labelled(path)
    written = pandas.read_csv(path, dtype=str)
    written.loc[[1, 4], "label"] = ["c2", "c0"]  # what a person does
    written.to_csv(path, index=False)
    back = mm.annotation.labelled(path)
    assert list(back.columns) == ["label", "left", "right"]
    assert list(back.label) == ["c2", "c0"]
    assert list(back.left) == list(pool.left.iloc[rows[[1, 4]]])
    whole = mm.annotation.labelled(path, table=table)
    pandas.testing.assert_frame_equal(whole[:20], table, check_like=True)
    assert list(whole.index) == list(range(22))
    assert whole.attrs["root"] == table.attrs["root"]  # paths start from there
    batch = next(iter(mm.data.from_table(whole, model, label="label", batch_size=22)))
    assert list(batch[1][-2:]) == [2, 0]
    with pytest.raises(ValueError, match=r"other names for its columns \['row'\]"):
        mm.annotation.suggest(model, pool.assign(row=1), 6)
    with pytest.raises(ValueError, match="table's folder"):
        mm.annotation.write(found, tmp_path / "elsewhere.csv")


@pytest.mark.parametrize(
    ("error", "do"),
    [
        ("`method` wants one of", lambda p: mm.annotation.pick(p, p, 2, "best")),
        ("`count` wants", lambda p: mm.annotation.pick(p, p, 31)),
        ("same rows", lambda p: mm.annotation.pick(p, p[1:], 2)),
        ("sum to 1", lambda p: mm.annotation.entropy(p * 2)),
        ("two classes or more", lambda p: mm.annotation.margin(p[0])),
        ("`count` wants", lambda p: mm.annotation.k_center(p, 0)),
        (r"shape \(rows, dim\)", lambda p: mm.annotation.k_means_pp(p[0], 1)),
        ("`precision` wants", lambda p: mm.annotation.threshold(p, p[:, 0], 0)),
        ("one for each of 30", lambda p: mm.annotation.threshold(p, [0])),
    ],
)
def test_what_is_refused(p, error, do):
    with pytest.raises(ValueError, match=error):
        do(p)


def test_models_refused(table):
    import keras

    head = mm.heads.regression(1)
    model = mm.multimodal(
        {"left": tiny.encoder()}, mm.fusion.Concat(), keras.layers.Dense(2)
    )
    with pytest.raises(ValueError, match=r"mmkeras\.heads\.classification"):
        mm.annotation.suggest(model, table, 2)
    model = mm.multimodal({"left": tiny.encoder()}, mm.fusion.Concat(), head.layer)
    with pytest.raises(ValueError, match="with 'number'"):
        mm.annotation.suggest(model, table, 2)
    with pytest.raises(TypeError, match=r"pandas\.DataFrame"):
        mm.annotation.suggest(tiny.model(), "rows.csv", 2)
