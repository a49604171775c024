"""Knowledge graphs: scores, losses and ranks by hand, entities as a modality."""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import graph
from mmkeras.graph.models import corrupted
from tests import tiny

ROWS = [
    ("frog", "lives-in", "pond"),
    ("duck", "lives-in", "pond"),
    ("frog", "eats", "fly"),
    ("duck", "has", "beak"),
]
NAMES = ["frog", "penguin", "spider"]


def built(kind, entities=5, relations=2, units=4):
    layer = kind(entities, relations, units)
    layer.build()
    rng = np.random.default_rng(0)
    layer.vectors.assign(rng.normal(size=(entities, units)))
    layer.links.assign(rng.normal(size=(relations, units)))
    return layer


def test_triples_have_numbers_and_repeats_count_once():
    found = graph.Triples.of([*ROWS, ROWS[0]])
    assert found.entities == ("beak", "duck", "fly", "frog", "pond")
    assert found.relations == ("eats", "has", "lives-in")
    rows = [
        (found.entities[h], found.relations[r], found.entities[t])
        for h, r, t in found.ids
    ]
    assert set(rows) == set(ROWS) and len(rows) == 4
    frame = pandas.DataFrame(ROWS, columns=["head", "relation", "tail"])
    np.testing.assert_array_equal(graph.Triples.of(frame).ids, found.ids)


def test_a_split_keeps_a_triple_of_each_entity_and_relation():
    rng = np.random.default_rng(0)
    rows = {(f"e{a}", f"r{b}", f"e{c}") for a, b, c in rng.integers(0, 9, (150, 3))}
    whole = graph.Triples.of(rows)
    kept, held = whole.split(0.2, seed=1)
    assert kept.known | held.known == whole.known and not kept.known & held.known
    assert len(held.ids) == np.ceil(0.2 * len(whole.ids))
    assert set(held.ids[:, [0, 2]].ravel()) <= set(kept.ids[:, [0, 2]].ravel())
    assert set(held.ids[:, 1]) <= set(kept.ids[:, 1])


def test_scores_by_hand():
    ids = np.array([[[0, 1, 2], [3, 0, 3]]])
    for kind in (graph.TransE, graph.DistMult):
        layer = built(kind)
        e, r = layer.vectors.numpy(), layer.links.numpy()
        wanted = []
        for h, k, t in ids[0]:
            if kind is graph.TransE:
                wanted.append(-np.abs(e[h] + r[k] - e[t]).sum())
            else:
                wanted.append((e[h] * r[k] * e[t]).sum())
        np.testing.assert_allclose(layer(ids)[0], wanted, rtol=1e-5)


def test_loss_by_hand():
    scores = np.array([[1.0, 0.5, 3.0], [2.0, -1.0, 0.0]])
    margin = np.maximum(0, 1 - scores[:, :1] + scores[:, 1:]).mean()
    found = graph.LinkLoss(margin=1.0)(np.zeros(2), scores)
    assert float(found) == pytest.approx(margin)
    logistic = np.logaddexp(0, -scores[:, 0]) + np.logaddexp(0, scores[:, 1:]).mean(1)
    found = graph.LinkLoss()(np.zeros(2), scores)
    assert float(found) == pytest.approx(logistic.mean())


def test_a_corrupted_triple_differs_in_its_head_or_tail_alone():
    ids = np.array([[0, 1, 2], [3, 0, 3]] * 50)
    rows = corrupted(ids, 5, 7, np.random.default_rng(0))
    assert rows.shape == (100, 8, 3)
    np.testing.assert_array_equal(rows[:, 0], ids)
    apart = rows[:, 1:] != ids[:, None]
    assert not apart[..., 1].any()
    assert (apart.sum(axis=2) == 1).all()
    assert apart[..., 0].mean() == pytest.approx(0.5, abs=0.1)
    assert rows.min() == 0 and rows.max() == 4


def test_filtered_ranks_against_a_loop():
    rng = np.random.default_rng(2)
    rows = {(f"e{a}", f"r{b}", f"e{c}") for a, b, c in rng.integers(0, 6, (60, 3))}
    whole = graph.Triples.of(rows)
    kept, held = whole.split(0.3)
    layer = built(graph.DistMult, whole.size, len(whole.relations))
    found = graph.ranks(layer, held, known=[kept], batch_size=5)
    wanted = []
    for h, r, t in held.ids.tolist():
        pair = []
        for place, own in ((0, h), (2, t)):
            better = ties = 0
            for other in range(whole.size):
                ids = [h, r, t]
                ids[place] = other
                if other != own and tuple(ids) not in whole.known:
                    gap = float(layer(np.array(ids))) - float(
                        layer(np.array([h, r, t]))
                    )
                    better, ties = better + (gap > 0), ties + (gap == 0)
            pair.append(1 + better + ties / 2)
        wanted.append(pair)
    np.testing.assert_allclose(found, wanted)
    alike = graph.ranks(lambda ids: np.zeros(ids.shape[:-1]), held, known=[kept])
    assert alike.min() > 1  # a constant is not the best


def test_scores_that_are_no_numbers_have_no_rank():
    graph = mm.graph.Triples.of([("a", "likes", "b"), ("b", "likes", "c")])
    with pytest.raises(ValueError, match="finite scores"):
        mm.graph.ranks(lambda ids: np.full(ids.shape[:-1], np.nan), graph)
    with pytest.raises(ValueError, match="triples of names"):
        mm.graph.Triples.of([("a", "likes", float("nan")), ("b", "likes", "c")])


def test_link_scores_by_hand():
    found = graph.link_scores([[1, 2], [4, 20]], k=[1, 3])
    assert found == {
        "mrr": pytest.approx((1 + 0.5 + 0.25 + 0.05) / 4),
        "hits@1": 0.25,
        "hits@3": 0.5,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", [graph.TransE, graph.DistMult])
def test_learned_vectors_predict_links_that_were_held_out(kind):
    """Two kinds of things, each with its own places: the rest of a block is known."""
    rows = []
    for group in range(3):
        for a in range(8):
            rows += [(f"{group}-{a}", "in", f"place {group}-{b}") for b in range(6)]
    whole = graph.Triples.of(rows)
    kept, held = whole.split(0.2)
    keras.utils.set_random_seed(0)
    layer = kind(whole.size, len(whole.relations), units=8)
    history = graph.fit(layer, kept, epochs=60, batch_size=32, rate=0.05)
    assert history[-1] < history[0]
    found = graph.link_scores(graph.ranks(layer, held, [kept]))["mrr"]
    even = graph.link_scores(
        graph.ranks(lambda ids: np.zeros(ids.shape[:-1]), held, [kept])
    )["mrr"]
    assert found > 5 * even
    if kind is graph.TransE:
        assert np.linalg.norm(layer.vectors, axis=1).max() <= 1 + 1e-5


def test_entities_keep_the_laws_of_a_contract():
    entities = graph.Entities(NAMES, length=2)
    raw = ["penguin", " spider ;unicorn; frog", "frog;frog;spider", "unicorn", ";"]
    mm.testing.check_modality_input(entities, raw[:3])
    wanted = [[2, 0], [3, 1], [1, 1], [0, 0], [0, 0]]
    np.testing.assert_array_equal(entities.read(raw), wanted)
    np.testing.assert_array_equal(entities.presence([*raw, ""]), [1, 1, 1, 0, 0, 0])


def test_the_encoder_gives_the_mean_of_the_vectors_and_is_frozen():
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    entities = graph.Entities(NAMES)
    made = graph.encoder(entities, vectors)
    ids = entities.read(["spider;frog", "penguin", ""])
    wanted = [(vectors[2] + vectors[0]) / 2, vectors[1], np.zeros(5)]
    np.testing.assert_allclose(made(ids), wanted, rtol=1e-6)
    assert not made.trainable_weights
    assert graph.encoder(entities, vectors, trainable=True).trainable_weights
    assert graph.encoder(NAMES, 4).output.shape == (None, 4)


@pytest.fixture(scope="module")
def model():
    vectors = np.random.default_rng(1).normal(size=(3, 5))
    encoders = {
        "left": tiny.encoder(),
        "object": graph.encoder(NAMES, vectors),
    }
    head = mm.heads.classification(["a", "b"])
    return mm.multimodal(encoders, mm.fusion.GatedFusion(6), head.layer)


def test_one_more_modality_of_a_table(model):
    table = pandas.DataFrame(
        {"left": ["1,2,3,4,5,6"] * 3, "object": ["frog", None, "unicorn"]}
    )
    inputs = next(iter(mm.data.from_table(table, model, batch_size=3)))
    np.testing.assert_array_equal(inputs["object"], [[1, 0, 0, 0], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(inputs["object_present"], [1, 0, 0])
    outputs = model(inputs).numpy()
    np.testing.assert_allclose(outputs[1], outputs[2])
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


@pytest.mark.slow
def test_saved_and_served_by_name(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = mm.load_model(tmp_path / "m.keras")
    assert mm.readers(again)["object"].vocabulary == NAMES
    raw = {"left": ["1,2,3,4,5,6"] * 3, "object": ["frog;spider", "unicorn", ""]}
    report = mm.export.saved_model(again, tmp_path / "1", examples=raw)
    assert report.max_difference < 1e-5
    served = mm.export.load(tmp_path / "1", trust=True)
    contract = mm.readers(served)["object"]
    np.testing.assert_array_equal(contract.read(["spider"]), [[3, 0, 0, 0]])


def test_wrong_arguments():
    for wrong in ([], ["a", "a"], ["a;b"], [" a"], [""]):
        with pytest.raises(ValueError, match="`vocabulary` wants different names"):
            graph.Entities(wrong)
    with pytest.raises(ValueError, match="`length` wants 1"):
        graph.Entities(["a"], length=0)
    for vectors in (np.zeros((2, 4)), np.zeros(3), np.full((3, 1), np.nan)):
        with pytest.raises(ValueError, match="`vectors` wants 3 rows"):
            graph.encoder(NAMES, vectors)
    for rows in ([], [("a", "b")], [("a", "", "c")]):
        with pytest.raises(ValueError, match="`rows` wants triples"):
            graph.Triples.of(rows)
    with pytest.raises(ValueError, match="`entities` wants 1"):
        graph.TransE(0, 1)
    with pytest.raises(ValueError, match="graph's 5 entities and 3 relations"):
        graph.fit(graph.DistMult(4, 3), graph.Triples.of(ROWS))
