"""What a fusion refuses, and what its messages say."""

import keras
import numpy as np
import pytest

from mmkeras.fusion import Add, Concat, GatedFusion, WeightedSum

X = {"image": np.ones((2, 3), "float32"), "text": np.ones((2, 4), "float32")}
ONES = np.ones(2, "float32")


def refuses(match, features, presence=None, layer=None):
    with pytest.raises(ValueError, match=match):
        (layer or GatedFusion(4))(features, presence)


def built():
    layer = GatedFusion(4)
    layer(X)
    return layer


def test_tokens_where_vectors_are_wanted():
    match = (
        r"`GatedFusion` wants vectors \(batch, dim\). Received: features\['image'\] of "
        r"shape \(2, 16, 48\). Give its encoder `pooling='mean'`"
    )
    refuses(match, {"image": np.ones((2, 16, 48))})
    tokens = {"tokens": np.ones((2, 16, 48)), "mask": np.ones((2, 16))}
    refuses(match, {"image": tokens})
    refuses(r"with the keys \['mask'\]", {"image": {"mask": np.ones((2, 16))}})


def test_ranks():
    refuses(r"shape \(2,\). Flatten or pool", {"image": np.ones(2)})
    refuses("Flatten or pool", {"image": np.ones((2, 3, 4, 5))})


def test_features_are_a_dict():
    refuses(r"one tensor of shape \(2, 3\)", X["image"])
    refuses("Name them", [X["image"], X["text"]])


def test_unknown_width():
    with pytest.raises(ValueError, match="features of known width"):
        Concat()({"image": keras.Input((None,))})


def test_the_same_modalities_at_every_call():
    refuses(
        r"\['image', 'text'\]. Received: \['image'\]",
        {"image": X["image"]},
        None,
        built(),
    )
    more = {**X, "clip": X["text"]}
    refuses(r"Received: \['clip', 'image', 'text'\]", more, None, built())
    wider = {**X, "text": np.ones((2, 5), "float32")}
    refuses(r"features\['text'\] of width 4", wider, None, built())


@pytest.mark.parametrize("layer", [None, built])
def test_presence(layer):
    def fresh():
        return layer() if layer else GatedFusion(4)

    match = r"unknown names \['txt'\]. Valid names: \['image', 'text'\]"
    refuses(match, X, {"txt": ONES}, fresh())
    refuses("wants `presence` as a dict", X, ONES, fresh())
    refuses(
        r"presence\['text'\] of shape \(2, 1\)", X, {"text": ONES[:, None]}, fresh()
    )


def test_presence_of_some_modalities_leaves_the_others_present():
    layer = built()
    some = layer(X, {"text": 0 * ONES})
    np.testing.assert_array_equal(some, layer(X, {"text": 0 * ONES, "image": ONES}))


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: Concat(normalize="batch"), "`normalize` wants one of .*'layer'"),
        (lambda: Concat(missing="mean"), "`missing` wants 'zeros' or 'token'"),
        (lambda: Add(0), "`units` wants a positive integer"),
        (lambda: Add(2.5), "`units` wants a positive integer"),
        (lambda: GatedFusion(None), "`units` wants a positive integer"),
        (lambda: WeightedSum("4"), "`units` wants a positive integer"),
        (
            lambda: Concat(dropout=1.5),
            "Expected `rate` to be between 0 and 1|`dropout`",
        ),
    ],
)
def test_arguments(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_symbolic_calls_are_checked_too():
    layer = built()
    image = keras.Input((3,))
    with pytest.raises(ValueError, match="Pass all of them"):
        layer({"image": image})
    assert layer({"text": keras.Input((4,)), "image": image}).shape == (None, 4)


def test_weights_are_named_by_modality():
    layer = built()
    assert {w.path for w in layer.weights} == {
        f"{layer.name}/{m}_{part}/{kind}"
        for m in ("image", "text")
        for part in ("projection", "gate")
        for kind in ("kernel", "bias")
    }
