"""Layers over frames, against numpy and librosa."""

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm

RNG = np.random.default_rng(0)
FRAMES = RNG.normal(size=(3, 12, 4)).astype("float32")
COUNTS = (12, 9, 1)
MASK = np.array([[1.0] * n + [0.0] * (12 - n) for n in COUNTS], "float32")


def spoiled():
    """Frames with NaN beyond each clip's valid ones."""
    return np.where(MASK[..., None] > 0, FRAMES, np.nan)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("n_fft, hop", [(512, 128), (441, 147), (400, 160)])
def test_mask_counts_the_frames_of_librosa(n_fft, hop, center):
    lengths = np.array([n_fft, 1000, 1279, 1280, 1281, 4000])
    layer = mm.audio.FrameMask(n_fft, hop, center)
    mask = np.asarray(layer(np.zeros((len(lengths), 40, 1)), lengths))
    for row, n in zip(mask, lengths, strict=True):
        frames = librosa.stft(
            np.ones(n, "float32"), n_fft=n_fft, hop_length=hop, center=center
        ).shape[1]
        np.testing.assert_array_equal(row, np.arange(40) < frames)


@pytest.mark.parametrize("front_end", ["librosa", "speech", "kaldi", "yamnet"])
def test_mask_of_a_preset_counts_its_frames(front_end):
    layer = mm.audio.LogMel.from_preset(front_end)
    lengths = np.array([1, 399, 400, 511, 512, 560, 4000], "int32")
    mask = mm.audio.FrameMask(layer.frame_length, layer.hop_length, layer.center)
    got = np.asarray(mask(np.zeros((7, 60, 1)), lengths)).sum(axis=1)
    wanted = [layer(np.zeros((1, n))).shape[1] for n in lengths]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("mode", ["nearest", "interp"])
@pytest.mark.parametrize("width, order", [(9, 1), (9, 2), (5, 1), (3, 1), (7, 3)])
def test_delta_equals_librosa(width, order, mode):
    layer = mm.audio.Delta(width, order, mode)
    got = np.asarray(layer(spoiled(), MASK))
    for row, frames, n in zip(got, FRAMES, COUNTS, strict=True):
        # librosa refuses clips shorter than the width in "interp"
        whole = mode if n >= width else "nearest"
        wanted = librosa.feature.delta(
            frames[:n], width=width, order=order, axis=0, mode=whole
        )
        np.testing.assert_allclose(row[:n], wanted, atol=1e-5)
        assert not row[n:].any()
    assert layer(keras.Input((None, 4)), keras.Input((None,))).shape == (None, None, 4)


def test_delta_of_frames_fewer_than_its_width():
    frames, mask = FRAMES[:, :4], MASK[:, :4]
    wanted = mm.audio.Delta()(frames, mask)
    np.testing.assert_array_equal(mm.audio.Delta(mode="interp")(frames, mask), wanted)


@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("offset", [0.0, -500.0])
def test_cepstral_normalisation_equals_numpy(variance, offset):
    layer = mm.audio.CepstralNormalization(variance, epsilon=1e-4)
    moved = (spoiled() + np.float32(offset)).astype("float32")
    got = np.asarray(layer(moved, MASK))
    for row, frames, n in zip(got, moved, COUNTS, strict=True):
        x = frames[:n].astype("float64")
        wanted = x - x.mean(axis=0)
        if variance:
            wanted = wanted / np.sqrt(x.var(axis=0) + 1e-4)
        np.testing.assert_allclose(row[:n], wanted, atol=2e-6)
        assert not row[n:].any()
    alone = np.asarray(layer(moved[1:2, :9], MASK[1:2, :9]))
    np.testing.assert_allclose(alone[0], got[1, :9], atol=1e-6)
    assert not np.asarray(layer(moved, 0 * MASK)).any()


def test_cepstral_normalisation_config_policy_gradient():
    layer = mm.audio.CepstralNormalization(dtype="mixed_float16", epsilon=1e-3)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    constant = tf.fill((1, 300, 2), 500.1)
    with tf.GradientTape() as tape:
        tape.watch(constant)
        y = again(constant, tf.ones((1, 300)))
    assert y.dtype == "float32"
    np.testing.assert_allclose(y, np.zeros((1, 300, 2)), atol=1e-6)
    assert np.isfinite(tape.gradient(y, constant)).all()
    with pytest.raises(ValueError, match="`epsilon` wants .*Received: epsilon=0"):
        mm.audio.CepstralNormalization(epsilon=0)


def test_delta_refuses():
    with pytest.raises(ValueError, match="`mode` wants one of .*Received: mode='mirr"):
        mm.audio.Delta(mode="mirror")
    for width in (1, 4):
        with pytest.raises(ValueError, match="`width` wants an odd number"):
            mm.audio.Delta(width)
    with pytest.raises(ValueError, match="`order` wants 1 to width - 1"):
        mm.audio.Delta(3, 3)


def test_statistics_equal_numpy():
    got = np.asarray(mm.audio.FrameStatistics(deviation=True)(spoiled(), MASK))
    mean = np.asarray(mm.audio.FrameStatistics()(spoiled(), MASK))
    for row, short, frames, n in zip(got, mean, FRAMES, COUNTS, strict=True):
        wanted = [frames[:n].mean(axis=0), frames[:n].std(axis=0)]
        np.testing.assert_allclose(row, np.concatenate(wanted), atol=1e-6)
        np.testing.assert_allclose(short, wanted[0], atol=1e-6)
    none = mm.audio.FrameStatistics(deviation=True)(spoiled(), np.zeros_like(MASK))
    np.testing.assert_array_equal(none, np.zeros((3, 8)))


def test_normalisation_counts_valid_frames():
    layer = mm.audio.FrameNormalization(momentum=0.0, epsilon=1e-6)
    x = np.where(MASK[..., None] > 0, FRAMES, 1e3)
    got = np.asarray(layer(x, MASK, training=True))
    valid = FRAMES[MASK > 0]
    np.testing.assert_allclose(layer.moving_mean, valid.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, valid.var(axis=0), atol=1e-5)
    np.testing.assert_allclose(got[MASK > 0].mean(axis=0), np.zeros(4), atol=1e-5)
    assert not hasattr(layer(x, MASK), "_keras_mask")
    layer.trainable = False
    before = np.asarray(layer.moving_mean)
    layer(x + 1, MASK, training=True)
    np.testing.assert_array_equal(before, layer.moving_mean)


def test_blank_frames():
    got = mm.audio.BlankFrames()(spoiled(), MASK)
    np.testing.assert_array_equal(got, FRAMES * MASK[..., None])
