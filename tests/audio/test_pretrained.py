"""Modules of YAMNet's form: one wave in, frames out, made here and saved by TF."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import audio, export
from mmkeras.run import build, recipe
from mmkeras.testing import process

RATE = 1000
WINDOW, HOP = 200, 100
SECONDS, SAMPLES = 1.0, 1000


class Listener(tf.Module):
    """Windows of one wave through a convolution: scores, embeddings, spectrogram."""

    def __init__(self, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        kernel = rng.normal(size=(WINDOW, 1, 6)) / WINDOW**0.5
        self.kernel = tf.Variable(kernel.astype("float32"), name="conv/kernel")
        scores = rng.normal(size=(6, 4)).astype("float32")
        self.scores = tf.Variable(scores, name="scores/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, waveform):
        short = WINDOW - tf.shape(waveform)[0]
        # as a module that cannot hear less than a window
        tf.debugging.assert_less_equal(short, 0, "the wave is too short")
        x = tf.nn.conv1d(waveform[None, :, None], self.kernel, HOP, "VALID")[0]
        embeddings = tf.tanh(x)
        return tf.sigmoid(embeddings @ self.scores), embeddings, tf.abs(x)


def heard(wave, kernel):
    """The embeddings of one wave, by hand."""
    count = 1 + (len(wave) - WINDOW) // HOP
    frames = np.stack([wave[i * HOP : i * HOP + WINDOW] for i in range(count)])
    return np.tanh(frames @ kernel[:, 0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("listener") / "module")
    tf.saved_model.save(Listener(), path)
    return path


def listener(folder, **options):
    return audio.yamnet(folder, RATE, SECONDS, least=WINDOW / RATE, **options)


LENGTHS = (1000, 555, 80, 0)


def clips():
    rng = np.random.default_rng(0)
    waves = rng.uniform(-1, 1, (4, SAMPLES)).astype("float32")
    return np.where(np.arange(SAMPLES) < np.array(LENGTHS)[:, None], waves, 0)


def kernel_of(encoder):
    return encoder.get_layer("module").module_variables[0].numpy()


def test_each_clip_is_heard_at_its_own_length(folder):
    encoder = listener(folder, pooling=None)
    assert encoder.get_layer("module").frames == [9, 6]
    assert encoder.output["tokens"].shape == (None, 9, 6)
    found = {k: np.asarray(v) for k, v in encoder(clips()).items()}
    module = Listener()
    for i, length in enumerate(LENGTHS):
        if not length:
            assert not found["mask"][i].any() and not found["tokens"][i].any()
            continue
        wave = clips()[i, : max(length, WINDOW)]
        wanted = heard(wave, module.kernel.numpy())
        count = len(wanted)
        np.testing.assert_array_equal(found["mask"][i], np.arange(9) < count)
        np.testing.assert_allclose(found["tokens"][i, :count], wanted, atol=1e-6)
        np.testing.assert_array_equal(
            found["tokens"][i, :count], module(wave)[1].numpy()
        )
        assert not found["tokens"][i, count:].any()
        alone = np.asarray(encoder(clips()[i : i + 1])["tokens"])[0]
        np.testing.assert_array_equal(alone, found["tokens"][i])


def test_the_mean_and_the_other_outputs(folder):
    module = Listener()
    for output, place in (("scores", 0), ("log_mel_spectrogram", 2), (1, 1)):
        encoder = listener(folder, output=output)
        found = np.asarray(encoder(clips()))
        for i, length in enumerate(LENGTHS[:3]):
            wave = clips()[i, : max(length, WINDOW)]
            wanted = module(wave)[place].numpy().mean(axis=0)
            np.testing.assert_allclose(found[i], wanted, atol=1e-6)
        assert not found[3].any()


def test_trains_through_the_module_and_rests_while_frozen(folder):
    noise = audio.AddNoise(0.0)
    frozen = listener(folder, augment=noise)
    assert not frozen.trainable_weights
    np.testing.assert_array_equal(frozen(clips(), training=True), frozen(clips()))
    encoder = listener(folder, trainable=True, augment=noise)
    heard_twice = [np.asarray(encoder(clips(), training=x)) for x in (True, False)]
    assert (heard_twice[0] != heard_twice[1]).any()
    before = kernel_of(encoder).copy()
    model = keras.Sequential([encoder, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(clips(), np.ones((4, 1)), verbose=0)
    assert not np.array_equal(kernel_of(encoder), before)
    found = np.asarray(encoder(clips()))
    wanted = heard(clips()[0], kernel_of(encoder)).mean(axis=0)
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def test_gradient_is_that_of_the_module(folder):
    encoder = listener(folder, trainable=True)
    module, wave = Listener(), clips()[1, :555]
    with tf.GradientTape() as tape:
        wanted = tf.reduce_sum(tf.reduce_mean(module(wave)[1], axis=0))
    wanted = tape.gradient(wanted, module.kernel)
    with tf.GradientTape() as tape:
        found = tf.reduce_sum(encoder(clips()[1:2]))
    (found,) = tape.gradient(found, [encoder.get_layer("module").trainable_weights[0]])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a multimodal model and its rows, the module's folder gone."""
    work = tmp_path_factory.mktemp("saved")
    tf.saved_model.save(Listener(), str(work / "module"))
    encoder = listener(work / "module")
    head = mm.heads.classification(["one", "two"])
    model = mm.multimodal({"clip": encoder}, mm.fusion.Add(4), head.layer)
    inputs = {"clip": clips(), "clip_present": np.array([1, 1, 1, 0], "float32")}
    np.savez(work / "inputs.npz", **inputs)
    np.savez(work / "wanted.npz", logits=keras.ops.convert_to_numpy(model(inputs)))
    model.save(work / "model.keras")
    (work / "module").rename(work / "gone")
    return work


def test_lives_without_the_folder_and_is_served(saved, tmp_path):
    with np.load(saved / "wanted.npz") as arrays:
        wanted = arrays["logits"]
    model = mm.load_model(saved / "model.keras", safe_mode=False)
    with np.load(saved / "inputs.npz") as inputs:
        np.testing.assert_allclose(model(dict(inputs)), wanted, rtol=1e-6)
    export.saved_model(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    pairs = zip(clips(), LENGTHS, strict=True)
    wavs = [audio.encode_wav(x[:n], RATE) for x, n in pairs if n]
    answer = served.signatures["serving_default"](clip=tf.constant([*wavs, b""]))
    wanted = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    # the 16 bits of a WAV file
    np.testing.assert_allclose(answer["scores"], wanted, atol=1e-3)


@pytest.mark.slow
def test_loads_in_a_fresh_process(saved):
    process.run("tests.audio.fresh_listener", saved)
    with np.load(saved / "found.npz") as found, np.load(saved / "wanted.npz") as wanted:
        np.testing.assert_allclose(found["loaded"], wanted["logits"], rtol=1e-6)


def test_the_command_line_knows_it(folder):
    options = {"sampling_rate": RATE, "seconds": SECONDS, "least": 0.2}
    source = recipe.Source("audio", "yamnet", folder, options=options)
    encoder = build.encoder("clip", source)
    assert encoder.output_shape == (None, 6) and build.is_pretrained(source)
    with pytest.raises(ValueError, match="'yamnet' wants the folder or URL of a mod"):
        build.encoder("clip", recipe.Source("audio", "yamnet"))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"output": "words"}, r"`output` wants one of \['scores', 'embeddings', "),
        ({"output": 3}, "`output` wants one of .*Received: output=3"),
        ({"pooling": "max"}, "`pooling` wants one of"),
        ({"augment": audio.SpecAugment()}, "`augment` wants layers for waves"),
    ],
)
def test_errors(folder, wrong, message):
    with pytest.raises(ValueError, match=message):
        listener(folder, **wrong)


class Batched(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def __call__(self, waves):
        return waves


class Flat(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, wave):
        return {"loudness": tf.reduce_mean(wave), "wave": wave[:, None]}


def test_modules_of_another_form(tmp_path):
    tf.saved_model.save(Batched(), str(tmp_path / "batched"))
    with pytest.raises(ValueError, match="does not take one wave.*hub.saved_model"):
        listener(tmp_path / "batched")
    tf.saved_model.save(Flat(), str(tmp_path / "flat"))
    with pytest.raises(ValueError, match=r"`output` wants one of \['loudness', 'wave'"):
        listener(tmp_path / "flat")
    with pytest.raises(ValueError, match=r"wants frames .*'loudness' of shape \(\)"):
        listener(tmp_path / "flat", output="loudness")
    assert listener(tmp_path / "flat", output="wave").output_shape == (None, 1)
