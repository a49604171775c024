"""Mixing: row numbers in pixels, tokens, samples, cells and label stay in step."""

import types

import keras
import numpy as np
import pandas
import pytest
from scipy import stats

import mmkeras as mm

ROWS, LENGTH = 12, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60))]
CLS, SEP = 2, 3
#: Rows without the modality; row 5 has none at all but its numbers.
ABSENT = {"photo": [1, 4, 5], "title": [2, 4, 5], "clip": [3, 5], "facts": [6]}
CONTRACTS = {
    "photo": mm.image.Pixels((2, 3)),
    "title": mm.text.TokenIds(WORDS, LENGTH),
    "clip": mm.audio.Waveform(100, 0.2),
    "facts": mm.tabular.Columns(
        {"a": (0, 1), "b": (0, 1)}, {"c": [*"abcdefghijkl"], "d": [*"abcdefghijkl"]}
    ),
}


def sentence(i):
    """Row i's text: i % 7 + 1 tokens that only this row has."""
    return [4 + 4 * i + k % 4 for k in range(i % 7 + 1)]


def batch(absent=ABSENT):
    """One batch in which all that row i has says i."""
    rng = np.random.default_rng(0)
    x = {
        "photo": rng.uniform(0, 255, (ROWS, 2, 3, 3)),
        "title": np.zeros((ROWS, LENGTH), "int32"),
        "clip": rng.uniform(-1, 1, (ROWS, 20)),
        "facts": np.stack([np.arange(ROWS) ** k for k in (1.0, 2.0, 0, 0)], 1),
    }
    x["facts"][:, 2] = x["facts"][:, 3] = np.arange(1, ROWS + 1)
    x["facts"][3, 0] = x["facts"][7, 1] = np.nan
    for i in range(ROWS):
        row = [CLS, *sentence(i), SEP]
        x["title"][i, : len(row)] = row
        x["clip"][i, 20 - i :] = 0  # padding
    for name in CONTRACTS:
        there = np.ones(ROWS, "float32")
        there[absent.get(name, [])] = 0
        x[name] = x[name].astype(CONTRACTS[name].tensor_dtype)
        x[name][there == 0] = 0
        x[f"{name}_present"] = there
    return x


def data(x=None, label=None, *weight, batch_size=ROWS):
    import tensorflow as tf

    x = batch() if x is None else x
    label = np.arange(ROWS, dtype="int32") if label is None else label
    return tf.data.Dataset.from_tensor_slices((x, label, *weight)).batch(batch_size)


def mixed(*args, count=1, **kwargs):
    """The batch of one dataset mixed `count` times, in one pass, as numpy."""
    options = {"classes": ROWS, "alpha": 1.0, **kwargs}
    source = (args[0] if args else data()).repeat(count)
    found = [*mm.data.mix(source, CONTRACTS, **options).as_numpy_iterator()]
    assert len(found) == count
    return found if count > 1 else found[0]


def who(labels):
    """Partner and own share of each row, from its mixed one-hot label."""
    own = labels[np.arange(ROWS), np.arange(ROWS)]
    rest = labels.copy()
    rest[np.arange(ROWS), np.arange(ROWS)] = 0
    alone = rest.max(1) == 0
    assert ((rest > 0).sum(1) <= 1).all()
    return np.where(alone, np.arange(ROWS), rest.argmax(1)), own


def joined(i, j, share, whole):
    """Texts i and j as the documentation says, in plain Python."""
    first, second = sentence(i), sentence(j)
    if not whole:
        first = first[: int(np.ceil(np.float32(share) * len(first)))]
        second = second[: int(np.ceil((1 - np.float32(share)) * len(second)))]
    while len(first) + len(second) > LENGTH - 3:  # the longer one is cut
        (first if len(first) > len(second) else second).pop()
    row = [CLS, *first, SEP, *second, SEP]
    return row + [0] * (LENGTH - len(row))


def test_what_is_mixed_with_an_absent_label_has_none():
    label = np.arange(ROWS, dtype="int32")
    label[3] = -1
    for _, labels in mixed(data(label=label), count=3):
        absent = np.isnan(labels).all(axis=1)
        assert absent[3] and absent.sum() <= 2  # itself, and whose partner it was
        np.testing.assert_allclose(labels[~absent].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("method", ["mixup", "mixgen"])
def test_all_modalities_the_label_and_the_weight_move_together(method):
    x = batch()
    weight = np.linspace(0.5, 2, ROWS).astype("float32")
    source = data(x, None, weight)
    seen = []
    for y, label, w in mixed(source, method=method, count=4):
        partner, share = who(label)
        assert sorted(partner) == list(range(ROWS))
        assert method == "mixup" or set(share) <= {np.float32(0.5), np.float32(1)}
        np.testing.assert_allclose(
            w, share * weight + (1 - share) * weight[partner], rtol=1e-6
        )
        for i, (j, s) in enumerate(zip(partner, share, strict=True)):
            for name in CONTRACTS:
                mine, other = (k not in ABSENT[name] for k in (i, j))
                assert y[f"{name}_present"][i] == float(mine or other)
                got, a, b = y[name][i], x[name][i], x[name][j]
                if i == j or not other:
                    np.testing.assert_array_equal(got, a)
                elif not mine:  # whole, not halved with zeros
                    np.testing.assert_array_equal(got, b)
                elif name == "title":
                    wanted = joined(i, j, s, method == "mixgen")
                    np.testing.assert_array_equal(got, wanted)
                elif name == "facts":
                    left, right = a[:2].copy(), b[:2].copy()
                    left[np.isnan(left)] = b[:2][np.isnan(left)]
                    right[np.isnan(right)] = a[:2][np.isnan(right)]
                    wanted = s * left + (1 - s) * right
                    np.testing.assert_allclose(got[:2], wanted, rtol=1e-5)
                    assert got[2:].tolist() in (a[2:].tolist(), b[2:].tolist())
                else:
                    wanted = s * a + (1 - s) * b
                    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
                    length = max(np.flatnonzero(k)[-1] for k in (a, b))
                    assert np.flatnonzero(got)[-1] == length  # padding stays
            seen.append(i != j)
    assert np.mean(seen) > 0.7


@pytest.mark.parametrize("method", ["mixup", "mixgen"])
def test_inputs_alone_are_mixed_as_with_a_label(method):
    """Who is whose partner is told by the text, whose words only one row has."""
    x = batch({})
    pair = {k: CONTRACTS[k] for k in ("photo", "title")}
    x = {k: v for k, v in x.items() if k.removesuffix("_present") in pair}
    options = {"method": method, "alpha": 1.0, "seed": 3}
    rows = data(x)
    alone = mm.data.mix(rows.map(lambda x, y: x), pair, **options)
    (found,) = alone.as_numpy_iterator()
    assert alone.element_spec.keys() == x.keys() and len(alone) == 1
    (single,) = mm.data.mix(rows.map(lambda x, y: (x,)), pair, **options)
    labelled = mm.data.mix(rows, pair, classes=ROWS, **options)
    ((same, label),) = labelled.as_numpy_iterator()
    for key in x:
        np.testing.assert_array_equal(found[key], same[key])
        np.testing.assert_array_equal(single[0][key], same[key])
    apart = 0
    for i, row in enumerate(found["title"]):
        first = 1 + list(row[1:]).index(SEP)
        others = {(w - 4) // 4 for w in row[first:] if w > SEP} or {i}
        (j,) = others
        share = label[i, i]
        apart += i != j
        if i != j:
            assert row.tolist() == joined(i, j, share, method == "mixgen")
        wanted = share * x["photo"][i] + (1 - share) * x["photo"][j]
        np.testing.assert_allclose(found["photo"][i], wanted, rtol=1e-5, atol=1e-4)
    assert apart > ROWS / 2


def test_shares_are_beta_and_categories_follow_them():
    x = batch({})
    for alpha in (0.2, 1.0):
        shares, own = [], []
        for y, label in mixed(data(x), alpha=alpha, count=150):
            partner, share = who(label)
            apart = partner != np.arange(ROWS)
            shares.append(share[apart])
            mine = y["facts"][:, 2] == np.arange(1, ROWS + 1)
            own.append(mine[apart])
            np.testing.assert_array_equal(y["facts"][:, 2], y["facts"][:, 3])
        shares, own = np.concatenate(shares), np.concatenate(own)
        assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
        low, high = shares < 0.3, shares > 0.7
        for part in (low, high):
            spread = np.sqrt((shares[part] * (1 - shares[part])).sum()) / part.sum()
            assert abs(own[part].mean() - shares[part].mean()) < 5 * spread


@pytest.mark.parametrize("none", [{"alpha": 0}, {"probability": 0.0}])
@pytest.mark.parametrize("method", ["mixup", "mixgen"])
def test_nothing_mixed_is_the_identity_bit_for_bit(none, method):
    if method == "mixgen" and "alpha" in none:
        none = {"probability": 0.0}
    x = batch()
    x["clip"][0, 0], x["photo"][0, 0, 0, 0], x["photo"][7] = -0.0, np.nan, np.inf
    weight = np.linspace(0.1, 1, ROWS).astype("float32")
    y, label, w = mixed(data(x, None, weight), method=method, **none)
    for name, value in x.items():
        assert y[name].dtype == value.dtype
        assert y[name].tobytes() == value.tobytes(), name
    np.testing.assert_array_equal(label, np.eye(ROWS, dtype="float32"))
    np.testing.assert_array_equal(w, weight)


def test_a_share_of_the_rows():
    found = mixed(data(batch({})), probability=0.3, count=150)
    apart = [(p != np.arange(ROWS)).mean() for p, _ in (who(y) for _, y in found)]
    wanted = 0.3 * (1 - 1 / ROWS)  # a permutation leaves one row where it is
    assert abs(np.mean(apart) - wanted) < 5 * np.sqrt(0.3 / (150 * ROWS))


def test_each_pass_anew_from_the_seed():
    def passes(**kwargs):
        dataset = mm.data.mix(
            data(batch_size=6), CONTRACTS, alpha=1.0, classes=ROWS, **kwargs
        )
        assert len(dataset) == 2
        return [np.concatenate([y for _, y in dataset]) for _ in range(3)]

    first, again, other = passes(seed=1), passes(seed=1), passes(seed=2)
    np.testing.assert_array_equal(first, again)
    everything = np.concatenate([first, other])
    assert len({x.tobytes() for x in everything}) == 6
    shares = np.sort(first[0].max(1))
    assert (shares[1:] > shares[:-1]).sum() > 8  # the steps differ, too
    # goes on in the epoch that `Resume` says
    resume = types.SimpleNamespace(epoch=2)
    np.testing.assert_array_equal(passes(seed=1, resume=resume)[0], first[2])


def test_rows_of_one_worker_stay_among_themselves():
    together = []
    for _, label in mixed(data(batch({})), worker=(1, 3), count=20):
        partner, _ = who(label)
        np.testing.assert_array_equal(partner // 4, np.arange(ROWS) // 4)
        together.append(partner.tolist())
    assert len({tuple(x) for x in together}) == 20


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [((5, 5), (5, 5)), ((12, 3), (10, 3)), ((2, 14), (2, 11)), ((14, 14), (7, 6))],
)
def test_texts_that_do_not_fit_both_keep_a_share(lengths, kept):
    """By hand: 16 places, 13 for words."""
    x = {"title": np.zeros((2, LENGTH), "int32")}
    for row, count, first in zip(x["title"], lengths, (4, 30), strict=True):
        row[: count + 2] = [CLS, *range(first, first + count), SEP]
    x["title_present"] = np.ones(2, "float32")
    text = {"title": CONTRACTS["title"]}
    label = np.array([0, 1], "int32")
    for seed in range(20):
        options = {"classes": 2, "seed": seed}
        dataset = mm.data.mix(data(x, label), text, "mixgen", **options)
        y, shares = next(dataset.as_numpy_iterator())
        if shares[0, 0] == 0.5:
            break
    a, b = kept
    wanted = [CLS, *range(4, 4 + a), SEP, *range(30, 30 + b), SEP]
    assert y["title"][0].tolist() == wanted + [0] * (LENGTH - len(wanted))


def test_several_outputs_multilabel_and_numbers():
    rng = np.random.default_rng(0)
    labels = {
        "row": np.arange(ROWS, dtype="int32"),
        "tags": rng.integers(0, 2, (ROWS, 3)).astype("float32"),
        "price": rng.normal(size=(ROWS, 1)).astype("float32"),
    }
    weight = {key: np.arange(1.0, ROWS + 1, dtype="float32") for key in labels}
    _, y, w = mixed(data(None, labels, weight), classes={"row": ROWS})
    partner, share = who(y["row"])
    share = share[:, None]
    for key in ("tags", "price"):
        wanted = share * labels[key] + (1 - share) * labels[key][partner]
        np.testing.assert_allclose(y[key], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(w[key], w["row"])


@pytest.mark.slow
def test_a_model_trains_on_it_and_its_metrics_hold(tmp_path):
    """One fit of mixed rows, judged on whole ones with integer labels."""
    frame = pandas.DataFrame(
        {"title": ["w1 w2", "w3", "w2 w1", "w4"] * 6, "sort": [*"abac"] * 6}
    )
    head = mm.heads.classification(["a", "b", "c"])
    encoder = mm.text.embedding_mean(WORDS, LENGTH, units=8)
    model = mm.multimodal({"title": encoder}, mm.fusion.Add(8), head.layer)
    model.compile(keras.optimizers.Adam(0.1), head.loss, metrics=head.metrics)
    rows = mm.data.from_table(frame, model, "sort", batch_size=8)
    history = model.fit(
        mm.data.mix(rows, model, alpha=0.4), epochs=6, shuffle=False, verbose=0
    ).history
    assert {"accuracy", "macro_f1", "auc_roc"} < set(history)
    scores = model.evaluate(rows, return_dict=True, verbose=0)
    assert scores["accuracy"] == 1.0
    model.save(tmp_path / "model.keras")
    again = mm.load_model(tmp_path / "model.keras")
    assert again.evaluate(rows, return_dict=True, verbose=0) == scores


def test_errors():
    x, contracts = batch(), CONTRACTS
    rows = data()
    wrong = [
        (rows.unbatch(), {}, r"wants batches, 'photo' of shape \(None, 2, 3, 3\)"),
        (rows.map(lambda x, y: (x, y, y, y)), {}, "wants elements inputs, "),
        (rows.map(lambda x, y: x), {}, "`classes` wants a `label`"),
        (data(np.zeros((ROWS, 2))), {}, "unknown .*missing .*'photo_present'"),
        (data({**x, "smell": x["clip"]}), {}, r"unknown \['smell'\].*Valid names: "),
        (data({"photo": x["photo"]}), {}, r"missing \['clip', 'clip_present', 'fa"),
        (rows, {"classes": None}, "`classes` wants the number of classes, to"),
        (rows, {"method": "cutmix"}, r"`method` wants one of \['mixup', 'mixgen'\]"),
        (rows, {"alpha": -1.0}, "`alpha` wants .* alpha=-1.0"),
        (rows, {"probability": 2}, "`probability` one in .*probability=2"),
    ]
    for dataset, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            mm.data.mix(dataset, contracts, **{"classes": ROWS, **options})
    labels = {"sort": np.arange(ROWS, dtype="int32")}
    with pytest.raises(ValueError, match="classes of output 'sort', to make rows"):
        mm.data.mix(data(None, labels), contracts)
