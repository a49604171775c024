"""Attention, its block and the fusions made of it, against numpy in float64."""

import math

import keras
import numpy as np
import pytest

from mmkeras import fusion
from mmkeras.fusion.attention import Attention, Block

RNG = np.random.default_rng(0)


def shaken(layer):
    """`layer`, built, with random weights: formulas show, initial zeros do not."""
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(scale=0.5, size=w.shape) for w in layer.weights])
    return layer


def weights(layer):
    """Weights by the end of their path: 'attention/query/kernel'."""
    return {
        w.path.split("/", 1)[1] if "/" in w.path else w.path: np.asarray(
            keras.ops.convert_to_numpy(w), "float64"
        )
        for w in layer.weights
    }


def under(w, prefix):
    prefix = prefix + "/"
    return {k.removeprefix(prefix): x for k, x in w.items() if k.startswith(prefix)}


def dense(w, name, x):
    return x @ w[f"{name}/kernel"] + w.get(f"{name}/bias", 0.0)


def norm(w, name, x):
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
    return x * w[f"{name}/gamma"] + w[f"{name}/beta"]


def attend(w, x, context, mask, heads):
    """One example's attention, head by head and query by query."""
    keep = mask > 0
    if not keep.any():
        return np.zeros_like(x)
    q, k, v = dense(w, "query", x), dense(w, "key", context), dense(w, "value", context)
    size = x.shape[1] // heads
    y = np.zeros_like(x)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for i in range(len(x)):
            scores = k[keep, part] @ q[i, part] / np.sqrt(size)
            e = np.exp(scores - scores.max())
            y[i, part] = (e / e.sum()) @ v[keep, part]
    return dense(w, "output", y)


def block(w, x, context, mask, heads):
    inner = under(w, "attention")
    x = x + attend(inner, norm(w, "norm", x), norm(w, "norm", context), mask, heads)
    y = dense(w, "wide", norm(w, "wide_norm", x))
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / np.sqrt(2)))
    return x + dense(w, "narrow", y)


@pytest.fixture(scope="module")
def batch():
    """Queries, context, mask; the last example has no key at all."""
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], "float32")
    x = RNG.normal(size=(3, 4, 6)).astype("float32")
    return x, RNG.normal(size=(3, 5, 6)).astype("float32"), mask


@pytest.mark.parametrize("heads", [1, 3])
def test_attention(batch, heads):
    layer = Attention(6, heads)
    layer.build((None, None, 6))
    shaken(layer)
    w = weights(layer)
    got = layer(*batch).numpy()
    for i, (x, context, mask) in enumerate(zip(*batch, strict=True)):
        wanted = attend(w, x, context, mask, heads)
        np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-5)
    assert (got[-1] == 0).all()


@pytest.mark.parametrize("single, keys", [(False, 1), (True, 1), (False, 5)])
def test_attention_to_one_token_is_a_linear_map(batch, single, keys):
    """Whether it stands alone or beside padding."""
    layer = Attention(6, 2, single)
    layer.build((None, None, 6))
    w = weights(shaken(layer))
    x, context, mask = batch
    mask = mask[:, :keys] * (np.arange(keys) == 0)
    got = layer(x, context[:, :keys], mask.astype("float32")).numpy()
    wanted = dense(w, "output", dense(w, "value", context[:, :1])) * mask[:, :1, None]
    np.testing.assert_allclose(got, wanted + 0 * got, rtol=1e-4, atol=1e-5)
    assert ("query/kernel" in w) is not single


@pytest.mark.parametrize("with_context", [True, False])
def test_block(batch, with_context):
    layer = Block(6, 2)
    layer.build((None, None, 6))
    w = weights(shaken(layer))
    x, context, mask = batch
    if not with_context:
        context, mask = x, mask[:, :4]
    got = layer(x, mask, context if with_context else None).numpy()
    for i in range(3):
        wanted = block(w, x[i], context[i], mask[i], 2)
        np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-4)


def test_nothing_to_attend_to_is_finite_in_float16(batch):
    x, context, mask = batch
    layer = Attention(6, 2, dtype="mixed_float16")
    layer.build((None, None, 6))
    y = layer(30 * x, 30 * context, keras.ops.cast(mask, "float16")).numpy()
    assert y.dtype == "float16" and np.isfinite(y).all()
    assert (y[-1] == 0).all()


# -- the fusions

FEATURES = {
    "clip": {
        "tokens": RNG.normal(size=(3, 4, 3)).astype("float32"),
        "mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]], "float32"),
    },
    "photo": RNG.normal(size=(3, 5)).astype("float32"),
    "title": {
        "tokens": RNG.normal(size=(3, 2, 4)).astype("float32"),
        "mask": np.ones((3, 2), "float32"),
    },
}
#: row 0 has all, row 1 no title, row 2 just the title
PRESENCE = {
    "clip": np.array([1, 1, 0], "float32"),
    "photo": np.array([1, 1, 0], "float32"),
    "title": np.array([1, 0, 1], "float32"),
}
NAMES = sorted(FEATURES)


def built(layer, names=NAMES):
    layer({n: FEATURES[n] for n in names})
    return shaken(layer)


def embedded(w, i):
    """One example's tokens in the common width, and masks."""
    z, masks = {}, {}
    for n in NAMES:
        x = FEATURES[n]
        tokens = x["tokens"][i] if isinstance(x, dict) else x[i : i + 1]
        mask = x["mask"][i] if isinstance(x, dict) else np.ones(1)
        z[n] = dense(w, f"{n}_projection", tokens)
        masks[n] = mask * PRESENCE[n][i]
    return z, masks


def joined(parts, names):
    return np.concatenate([parts[n] for n in names])


def by_row(layer, formula):
    w = weights(layer)
    got = layer(FEATURES, PRESENCE).numpy()
    for i in range(3):
        wanted = formula(w, *embedded(w, i))
        np.testing.assert_allclose(got[i], wanted, rtol=1e-3, atol=1e-4)


def means(w, z, masks, name="norm"):
    return [norm(w, name, z[n])[masks[n] > 0].mean(0) for n in z if masks[n].any()]


def test_transformer_fusion():
    def formula(w, z, masks):
        x = np.concatenate([w["fusion_token"], joined(z, NAMES)])
        mask = np.concatenate([[1], joined(masks, NAMES)])
        for i in range(2):
            x = block(under(w, f"block_{i}"), x, x, mask, 2)
        return norm(w, "norm", x[0])

    by_row(built(fusion.TransformerFusion(6, heads=2)), formula)


def test_cross_attention_fusion():
    def formula(w, z, masks):
        for i in range(2):
            asked = {}
            for n in NAMES:
                others = [o for o in NAMES if o != n]
                context, mask = joined(z, others), joined(masks, others)
                asked[n] = block(under(w, f"{n}_{i}"), z[n], context, mask, 2)
            z = asked
        return np.mean(means(w, z, masks), axis=0)

    by_row(built(fusion.CrossAttentionFusion(6, heads=2)), formula)


def test_bottleneck_fusion():
    def formula(w, z, masks):
        shared = w["bottlenecks"]
        there = [n for n in NAMES if masks[n].any()]
        for i in range(2):
            told = []
            for n in there:
                x = np.concatenate([shared, z[n]])
                mask = np.concatenate([[1, 1], masks[n]])
                x = block(under(w, f"{n}_{i}"), x, x, mask, 2)
                told.append(x[:2])
                z[n] = x[2:]
            shared = np.mean(told, axis=0)
        return np.mean(means(w, z, masks), axis=0)

    by_row(built(fusion.BottleneckFusion(6, heads=2, bottlenecks=2)), formula)


def test_perceiver_fusion():
    def formula(w, z, masks):
        x, mask = joined(z, NAMES), joined(masks, NAMES)
        latents = w["latents"]
        for i in range(2):
            latents = block(under(w, f"read_{i}"), latents, x, mask, 2)
            latents = block(under(w, f"latent_{i}"), latents, latents, np.ones(3), 2)
        return norm(w, "norm", latents.mean(axis=0))

    by_row(built(fusion.PerceiverFusion(6, heads=2, latents=3)), formula)


def test_mult():
    def formula(w, z, masks):
        parts = []
        for m in NAMES:
            y = []
            for n in NAMES:
                if n != m:
                    single = f"{n}_to_{m}_0"
                    y.append(pair(under(w, single), z[m], z[n], masks[n]))
            y = np.concatenate(y, axis=-1)
            y = pair(under(w, f"/{m}_0/"[1:-1]), y, y, masks[m])
            mask = masks[m] > 0
            parts.append(
                norm(w, f"{m}_norm", y)[mask].mean(0) if mask.any() else 0 * y[0]
            )
        return np.concatenate(parts) @ w["output/kernel"]

    def pair(w, x, context, mask):
        if "attention/query/kernel" not in w:  # one key: any weights give softmax 1
            like = w["attention/value/kernel"]
            w = {**w, "attention/query/kernel": like, "attention/key/kernel": like}
        return block(w, x, context, mask, 2)

    by_row(built(fusion.MulT(6, heads=2, layers=1)), formula)


ALIKE = {
    "TransformerFusion": fusion.TransformerFusion(6, 2),
    "CrossAttentionFusion": fusion.CrossAttentionFusion(6, 2),
    "BottleneckFusion": fusion.BottleneckFusion(6, 2),
    "PerceiverFusion": fusion.PerceiverFusion(6, 2),
}


@pytest.mark.parametrize("name", ALIKE)
def test_an_absent_modality_is_as_one_that_was_never_there(name):
    """Not even its embedding is felt."""
    features = {
        "a": {"tokens": RNG.normal(size=(2, 3, 4)), "mask": np.ones((2, 3))},
        "b": {"tokens": RNG.normal(size=(2, 2, 5)), "mask": np.ones((2, 2))},
        "c": {"tokens": RNG.normal(size=(2, 4, 3)), "mask": np.ones((2, 4))},
    }
    config = ALIKE[name].get_config()
    three = type(ALIKE[name]).from_config({**config, "name": "one"})
    two = type(ALIKE[name]).from_config({**config, "name": "other"})
    three(features)
    shaken(three)
    two({n: features[n] for n in "ab"})
    values = weights(three)
    two.set_weights([values[w.path.split("/", 1)[1]] for w in two.weights])
    gone = three(features, {"c": np.zeros(2)})
    alone = two({n: features[n] for n in "ab"})
    np.testing.assert_allclose(gone, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bottlenecks", [0, 2])
def test_modalities_see_each_other_through_the_bottlenecks_only(bottlenecks):
    """Each modality's tokens, behind the blocks, by what the other's were."""
    layer = fusion.BottleneckFusion(6, heads=2, bottlenecks=bottlenecks)
    built(layer)
    x = keras.tree.map_structure(np.copy, FEATURES)

    def mixed():
        """d^2 h / dclip dphoto by differences: zero for a sum of parts."""
        y = {}
        for a in (0, 1):
            for b in (0, 1):
                x["clip"]["tokens"] = FEATURES["clip"]["tokens"] + a
                x["photo"] = FEATURES["photo"] * (1 - 2 * b)
                y[a, b] = layer(x).numpy()
        return np.abs(y[1, 1] - y[1, 0] - y[0, 1] + y[0, 0]).max()

    if bottlenecks:
        assert mixed() > 1e-3
    else:
        assert mixed() < 1e-5


def test_the_latents_do_not_grow_with_the_sequence():
    layer = built(fusion.PerceiverFusion(6, heads=2, latents=3))
    count = layer.count_params()
    for length in (2, 50):
        tokens = RNG.normal(size=(3, length, 3)).astype("float32")
        clip = {"tokens": tokens, "mask": np.ones((3, length), "float32")}
        z = {n: layer._prepare(x, np.ones(3, "float32")) for n, x in FEATURES.items()}
        z["clip"] = clip
        assert layer.latents_of(z, np.ones((3, 3), "float32")).shape == (3, 3, 6)
        layer({**FEATURES, "clip": clip})
    assert layer.count_params() == count


@pytest.mark.parametrize(
    "kind, zeros",
    [
        (fusion.CrossAttentionFusion, True),
        (fusion.MulT, True),
        (fusion.BottleneckFusion, True),
        (fusion.TransformerFusion, False),
        (fusion.PerceiverFusion, False),
    ],
)
def test_nothing_there_is_zeros_or_a_learned_vector(kind, zeros):
    y = built(kind(6, 2))(FEATURES, {n: 0 * x for n, x in PRESENCE.items()}).numpy()
    assert (y == y[0]).all()
    assert (y == 0).all() == zeros


def test_a_plain_sequence_needs_no_mask():
    layer = built(fusion.TransformerFusion(6, heads=2))
    tokens = FEATURES["title"]["tokens"]
    y = layer({**FEATURES, "title": tokens})
    np.testing.assert_array_equal(y, layer(FEATURES))


def test_frozen_rests_dropout_everywhere():
    layer = built(fusion.TransformerFusion(6, heads=2, dropout=0.5))
    y = layer(FEATURES)
    assert np.abs(layer(FEATURES, training=True) - y).max() > 1e-2
    layer.trainable = False
    np.testing.assert_array_equal(layer(FEATURES, training=True), y)


@pytest.mark.parametrize(
    "make, match",
    [
        (
            lambda: fusion.MulT(6, heads=4),
            r"`heads` wants a divisor of units=6.*heads=4. Valid: \[1, 2, 3, 6\]",
        ),
        (lambda: fusion.MulT(6, heads=2, layers=0), "`layers` wants a positive"),
        (lambda: fusion.BottleneckFusion(8, layers=1), "`layers` wants 2 or more"),
        (lambda: fusion.BottleneckFusion(8, bottlenecks=-1), "`bottlenecks` wants"),
        (lambda: fusion.PerceiverFusion(8, latents=1), "`latents` wants 2 or more"),
    ],
)
def test_arguments(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_tokens_where_a_vector_was():
    layer = built(fusion.MulT(6, heads=2, layers=1))
    with pytest.raises(
        ValueError, match=r"features\['photo'\] as a vector.*\(3, 4, 5\)"
    ):
        layer({**FEATURES, "photo": np.ones((3, 4, 5))})
