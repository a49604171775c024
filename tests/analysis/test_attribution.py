"""Integrated gradients against hand-worked integrals, and their laws."""

import keras
import numpy as np
import pytest
from keras import ops

import mmkeras as mm
from mmkeras.analysis import attribution
from mmkeras.analysis.attributing.graph import run
from mmkeras.analysis.attributing.points import point
from mmkeras.analysis.plots import attribution as attribution_plot
from mmkeras.fusion.base import Fusion
from mmkeras.modality import tensor_input
from tests.analysis.standins import Numbers, stir, vector_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cup", "##s", "hat"]


@keras.saving.register_keras_serializable("tests")
class Product(Fusion):
    """The product of two one-entry features."""

    def fused_dim(self):
        return 1

    def fuse(self, features, presence):
        return features["left"] * features["right"]


def identity(width):
    contract = Numbers((width,))
    x = tensor_input(contract, "x")
    return keras.Model(x, contract(x))


def photo_encoder():
    pixels = mm.image.Pixels((8, 8))
    image = tensor_input(pixels, "image")
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(pixels(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def table_encoder():
    columns = mm.tabular.Columns({"age": (30, 10)}, {"colour": ["red", "blue"]})
    return mm.tabular.mlp(columns, units=4, activation="tanh")


def joined(encoders):
    head = mm.heads.classification(["cat", "dog", "fox"]).layer
    model = mm.multimodal(encoders, mm.fusion.GatedFusion(6), head)
    stir(model)
    return model


def real():
    """Pictures, texts, sounds and tables through small encoders of their kinds."""
    bert = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert["intermediate_size"] = 8
    made = {
        "clip": mm.audio.mfcc_cnn(
            seconds=0.1,
            units=5,
            front_end=mm.audio.MFCC(
                num_coefficients=6, n_fft=256, hop_length=200, num_mel_bins=12
            ),
        ),
        "photo": photo_encoder(),
        "table": table_encoder(),
        "title": mm.text.bert(config=bert, vocabulary=WORDS, length=8, weights=None),
    }
    return joined(made)


def rows(count=4):
    rng = np.random.default_rng(3)
    wave = rng.normal(0, 0.1, (count, 1600)).astype("float32")
    wave[0, 900:] = 0
    texts = ["a red cups", "cups", "a hat a hat a hat", "red"] * count
    contract = mm.text.TokenIds(WORDS, 8)
    table = rng.normal(40, 10, (count, 2)).astype("float32")
    table[:, 1] = np.arange(count) % 3
    table[1] = np.nan, 1
    return {
        "photo": rng.uniform(0, 255, (count, 8, 8, 3)).astype("float32"),
        "title": contract.read_cells(texts[:count]),
        "clip": wave,
        "table": table,
    }


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return real()


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(1)
    return joined({"photo": photo_encoder(), "table": table_encoder()})


def small_rows(count=2):
    return {name: x[:count] for name, x in rows().items() if name in ("photo", "table")}


@pytest.fixture(scope="module")
def result(model):
    present = {"photo_present": np.array([1, 1, 0, 1])}
    return attribution(model, rows() | present, max_steps=2048)


def test_linear_model_gives_weight_times_input():
    head = mm.heads.regression(2).layer
    linear = mm.multimodal(
        {"left": identity(3), "right": identity(2)}, mm.fusion.Concat(), head
    )
    rng = np.random.default_rng(0)
    x = {"left": rng.normal(size=(2, 3)), "right": rng.normal(size=(2, 2))}
    base = np.array([0.5, -1.0, 2.0])
    found = attribution(linear, x, [0, 1], baseline={"left": base})
    w = np.asarray(head.kernel)
    for row, target in enumerate([0, 1]):
        for name, part, b in (("left", w[:3], base), ("right", w[3:], 0)):
            wanted = part[:, target] * (x[name][row] - b)
            np.testing.assert_allclose(found.maps[name][row], wanted, rtol=1e-5)
    assert (found.steps == 16).all()


def test_product_has_its_known_integral():
    """X y from 0: the integral of t y dt is y / 2, so each gets half of x y."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    made = mm.multimodal({"left": identity(1), "right": identity(1)}, Product(), layer)
    x = {"left": np.array([[3.0]]), "right": np.array([[4.0]])}
    found = attribution(made, x)
    assert found.totals()["left"] == pytest.approx(6.0, rel=1e-6)
    assert found.totals()["right"] == pytest.approx(6.0, rel=1e-6)
    # from (1, 0) on: left gets 2 * integral of 4 t = 4, right 4 * integral of 1 + 2 t
    found = attribution(made, x, baseline={"left": np.array([1.0])})
    assert found.totals()["left"] == pytest.approx(4.0, rel=1e-6)
    assert found.totals()["right"] == pytest.approx(8.0, rel=1e-6)


def test_completes_to_one_percent(model, result):
    inputs = rows() | {"photo_present": np.array([1, 1, 0, 1.0])}
    inputs |= {f"{name}_present": np.ones(4) for name in ("title", "clip", "table")}
    inputs["photo"][2] = 0
    logits = np.asarray(model({k: ops.convert_to_tensor(x) for k, x in inputs.items()}))
    np.testing.assert_array_equal(result.target, logits.argmax(1))
    np.testing.assert_allclose(result.output, logits.max(1), rtol=1e-5)
    change = result.output - result.baseline_output
    total = sum(result.totals().values())
    outputs = np.abs([result.output, result.baseline_output, np.ones(4)])
    assert (np.abs(change) > 0.01 * outputs.max(0)).all()  # no guard at work
    assert (np.abs(total - change) <= 0.01 * np.abs(change)).all()
    np.testing.assert_allclose(
        result.error, np.abs(total - change) / np.abs(change), atol=1e-4
    )


def test_baseline_output_is_the_models_own(small):
    """Grey pictures and the means of a table, put into the model itself."""
    found = attribution(small, small_rows(), 1)
    wanted = small(
        {
            "photo": np.full((2, 8, 8, 3), 128.0, "float32"),
            "table": np.array([[30.0, np.nan]] * 2, "float32"),
            "photo_present": np.ones(2, "float32"),
            "table_present": np.ones(2, "float32"),
        }
    )
    np.testing.assert_allclose(found.baseline_output, wanted[:, 1], rtol=1e-5)


def test_absent_is_exactly_zero(result):
    assert (result.maps["photo"][2] == 0).all()
    assert (np.abs(result.maps["photo"][[0, 1, 3]]).sum((1, 2, 3)) > 0).all()
    assert "absent" not in str(result)


def test_ignored_modality_is_exactly_zero():
    """A head whose weights for one modality are 0."""
    made = mm.multimodal(
        {"photo": vector_encoder(4, 5), "title": vector_encoder(3, 5)},
        mm.fusion.Concat(),
        mm.heads.regression(1).layer,
    )
    stir(made)
    kernel = made.get_layer("head").kernel
    kernel.assign(np.concatenate([np.ones((5, 1)), np.zeros((5, 1))]))
    rng = np.random.default_rng(0)
    x = {"photo": rng.normal(size=(3, 4)), "title": rng.normal(size=(3, 3))}
    found = attribution(made, x)
    assert (found.maps["title"] == 0).all() and (found.maps["photo"] != 0).any()


def test_rows_do_not_depend_on_neighbours(model, result):
    alone = {name: x[1:2] for name, x in rows().items()}
    found = attribution(model, alone, max_steps=2048)
    for name, wanted in result.maps.items():
        largest = np.abs(wanted[1]).max()
        np.testing.assert_allclose(
            found.maps[name][0], wanted[1], atol=1e-4 * largest, err_msg=name
        )
    assert found.steps[0] == result.steps[1]


def test_pieces_become_words(result):
    found = result.words(0)
    assert [word for word, _ in found] == ["a", "red", "cups"]
    pieces = result.maps["title"][0]  # [CLS] a red cup ##s [SEP]
    assert found[2][1] == pytest.approx(pieces[3] + pieces[4], rel=1e-5)
    assert pieces[0] == 0 and (pieces[5:] == 0).all()
    total = sum(value for _, value in found)
    assert total == pytest.approx(result.totals()["title"][0], rel=1e-5)


def test_sound_is_zero_behind_the_clip(model, result):
    assert result.maps["clip"].shape == (4, 9, 12)
    # 900 samples: frames 0 to 4 (hop 200), the rest is padding
    assert (result.maps["clip"][0, 5:] == 0).all()
    assert (result.maps["clip"][0, :5] != 0).any(1).all()


def test_columns_sum_their_places(model, result):
    frame = result.cells()
    assert list(frame) == ["age", "colour"]
    total = frame.sum(axis=1).to_numpy()
    np.testing.assert_allclose(total, result.totals()["table"], rtol=1e-5)


def test_frame_and_text(result):
    frame = result.to_frame()
    assert list(frame)[:5] == ["class", "clip", "photo", "table", "title"]
    assert frame["class"].tolist() == [result.classes[i] for i in result.target]
    assert len(str(result).splitlines()) == 6


def test_frozen_and_saved(model, result, tmp_path):
    """Frozen, partly frozen or reloaded: the same model, the same attributions."""
    path = tmp_path / "model.keras"
    encoders = mm.model.encoders(model)
    encoders["photo"].trainable = False
    mm.transfer.freeze(model, "title", until="layer_0_attention_norm")
    try:
        model.save(path)
        inputs = {name: x[:1] for name, x in rows().items()}
        found = attribution(mm.load_model(path), inputs, max_steps=2048)
    finally:
        model.trainable = True
    for name, x in result.maps.items():
        tolerance = 1e-4 * np.abs(x[0]).max()
        np.testing.assert_allclose(found.maps[name][0], x[0], atol=tolerance)


def test_warns_of_incomplete_rows(small):
    small.trainable = False  # gradients by inputs do not ask for it
    with pytest.warns(UserWarning, match="rows are not complete.*16 gradients"):
        found = attribution(
            small, small_rows(), "dog", probabilities=True, max_steps=16, tolerance=1e-9
        )
    assert (found.steps == 16).all() and (found.target == 1).all()
    assert (found.output > 0).all() and (found.output < 1).all()


def test_errors(small):
    x = small_rows()
    with pytest.raises(ValueError, match="`target` wants one of.*'cat'.*'cow'"):
        attribution(small, x, "cow")
    with pytest.raises(ValueError, match=r"baseline\['photo'\].*'grey', 'black'"):
        attribution(small, x, baseline={"photo": "pink"})
    with pytest.raises(ValueError, match="`baseline` wants a dict.*'photo'"):
        attribution(small, x, baseline={"foto": "grey"})
    with pytest.raises(ValueError, match="without.*'photo'"):
        attribution(small, {"table": x["table"]})
    with pytest.raises(ValueError, match=r"inputs\['photo'\] wants shape"):
        attribution(small, x | {"photo": x["photo"][:, :4]})


def test_plots(result, tmp_path):
    for row in (0, 2):
        path = tmp_path / f"{row}.png"
        attribution_plot.row_attribution(result, path, row)
        assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="`row` wants 0 to 3"):
        attribution_plot.row_attribution(result, path, 4)


def test_graph_stops_at_given_tensors():
    x = keras.Input((2,))
    y = keras.layers.Dense(2)(x)
    with pytest.raises(ValueError, match="wants a value for the input"):
        run(y, [])


def wave_encoder():
    """Takes the wave itself, and the clip's length."""
    contract = mm.audio.Waveform(16000, 0.05)
    wave = tensor_input(contract, "wave")
    x = contract(wave)
    length = mm.audio.ClipLength()(x)
    x = keras.layers.Conv1D(3, 20, strides=10, activation="tanh")(x[..., None])
    total = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(wave, total * ops.cast(length, "float32")[:, None])


def masked_encoder():
    """An embedding with Keras' own mask, which a GRU counts on."""
    contract = mm.text.TokenIds(WORDS, 8)
    ids = tensor_input(contract, "text")
    x = keras.layers.Embedding(len(WORDS), 4, mask_zero=True)(contract(ids))
    return keras.Model(ids, keras.layers.GRU(3)(x))


@pytest.mark.parametrize("kind", ["mean", "rnn", "masked", "wave"])
def test_cut_encoders_are_the_encoders(kind):
    """At the input's own point every encoder gives what it gives whole."""
    name = "clip" if kind == "wave" else "title"
    made = {
        "mean": lambda: mm.text.embedding_mean(WORDS, length=8, units=4),
        "rnn": lambda: mm.text.rnn(WORDS, length=8, units=3, embedding=4),
        "masked": masked_encoder,
        "wave": wave_encoder,
    }[kind]()
    x = rows()[name]
    x = x[:, :800] if kind == "wave" else x
    cut = point(made, name)
    whole = np.asarray(made(x))
    found = np.asarray(cut.feature(x, ops.convert_to_tensor(cut.start(x))))
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(cut.feature(x, cut.reference(x))) - whole).max() > 1e-3
    if kind == "wave":  # 10 ms of 160 samples
        product = np.arange(800.0)[None]
        frames = cut.map(product, np.ones((1, 800)))
        np.testing.assert_allclose(frames[0], product.reshape(5, 160).sum(1))


def test_bands_and_coefficients_add_up_alike(model):
    """A frame gets as much by log-mel bands as by the MFCC themselves."""
    made = point(mm.model.encoders(model)["clip"], "clip")
    x = rows()["clip"]
    gradient = np.random.default_rng(0).normal(size=made.start(x).shape)
    bands = made.map(made.difference(x), gradient).sum(-1)
    wanted = ((made.start(x) - made.reference(x)) * gradient).sum(-1)
    np.testing.assert_allclose(bands, wanted, atol=1e-5 * np.abs(wanted).max())
