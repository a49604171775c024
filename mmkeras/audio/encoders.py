"""Audio encoders: a waveform to one vector, or to one token a frame."""

import keras

from mmkeras.audio.features.frames import (
    BlankFrames,
    Delta,
    FrameNormalization,
    FrameStatistics,
)
from mmkeras.audio.features.mfcc import MFCC
from mmkeras.audio.front import normalized_features, pool, wave_features
from mmkeras.dropout import Dropout
from mmkeras.standardize import Standardize

#: Dilation of each convolution: 15 frames, half a second, are seen at the end.
_DILATIONS = (1, 2, 4)


def mfcc_cnn(
    sampling_rate=16000,
    seconds=2.0,
    num_coefficients=20,
    units=128,
    pooling="mean",
    dropout=0.1,
    front_end=None,
    augment=None,
    name="mfcc_cnn",
):
    """A small convolutional network over MFCC: the first choice for short sounds.

    wave -> MFCC -> batch normalisation -> 3 x (Conv1D, batch normalisation, ReLU,
    dropout) -> mean over the valid frames. Frames beyond a clip's end are blanked
    before every convolution: the result does not depend on the padding.

    Example:
    >>> encoder = mm.audio.mfcc_cnn(sampling_rate=16000, seconds=1.0, units=32)
    >>> encoder.predict(np.zeros((2, 16000)), verbose=0).shape
    (2, 32)

    Args:
        sampling_rate: Integer, in Hz.
        seconds: Float, length of the tensor; longer clips are cropped.
        num_coefficients: Integer, coefficients a frame.
        units: Integer, width of the output.
        pooling: "mean", or None for one token a frame.
        dropout: Float in [0, 1), rate after each block; rests while frozen.
        front_end: optional `MFCC` or `LogMel` layer in place of
            `MFCC(sampling_rate, num_coefficients)`.
        augment: optional layer of mmkeras.audio, or list of them: `TimeShift`, `Gain`,
            `AddNoise`, `MixClips` act on the wave, `SpecAugment` on the normalised
            features; in training alone, and not while frozen.
        name: name of the model.

    Returns:
        `keras.Model` with the input "wave" `(batch, samples)`. Its output is
        `(batch, units)`, or with `pooling=None` `{"tokens": (batch, frames, units),
        "mask": (batch, frames)}`.

    Raises:
        ValueError: an unknown pooling, a front end or an augmentation of another rate,
            or something in `augment` that is none.
    """
    front_end = front_end or MFCC(sampling_rate, num_coefficients, name="mfcc")
    wave, x, mask = normalized_features(sampling_rate, seconds, front_end, augment)
    for i, dilation in enumerate(_DILATIONS, start=1):
        x = BlankFrames(name=f"blank{i}")(x, mask)
        x = keras.layers.Conv1D(
            units,
            3,
            padding="same",
            dilation_rate=dilation,
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"conv{i}",
        )(x)
        x = FrameNormalization(name=f"conv{i}_norm")(x, mask)
        x = keras.layers.ReLU(name=f"conv{i}_relu")(x)
        x = Dropout(dropout, name=f"conv{i}_dropout")(x)
    return keras.Model(wave, pool(x, mask, pooling), name=name)


def mfcc_rnn(
    sampling_rate=16000,
    seconds=2.0,
    num_coefficients=20,
    units=128,
    pooling="mean",
    dropout=0.1,
    front_end=None,
    augment=None,
    name="mfcc_rnn",
):
    """A recurrent network (GRU) over MFCC: where the order of sounds matters.

    wave -> MFCC -> batch normalisation -> GRU -> dropout -> mean over the valid frames.
    The GRU reads forward, so that padding, which comes last, reaches no valid frame.

    Example:
    >>> encoder = mm.audio.mfcc_rnn(sampling_rate=16000, seconds=1.0, units=32)
    >>> encoder.predict(np.zeros((2, 16000)), verbose=0).shape
    (2, 32)

    Args:
        sampling_rate: Integer, in Hz.
        seconds: Float, length of the tensor; longer clips are cropped.
        num_coefficients: Integer, coefficients a frame.
        units: Integer, width of the output.
        pooling: "mean", or None for one token a frame.
        dropout: Float in [0, 1), rate after the GRU; rests while frozen.
        front_end: optional `MFCC` or `LogMel` layer in place of
            `MFCC(sampling_rate, num_coefficients)`.
        augment: optional layer of mmkeras.audio, or list of them: `TimeShift`, `Gain`,
            `AddNoise`, `MixClips` act on the wave, `SpecAugment` on the normalised
            features; in training alone, and not while frozen.
        name: name of the model.

    Returns:
        `keras.Model`, input and output as those of `mfcc_cnn`.

    Raises:
        ValueError: an unknown pooling, a front end or an augmentation of another rate,
            or something in `augment` that is none.

    Reference:
        Cho et al. 2014, arXiv:1406.1078.
    """
    front_end = front_end or MFCC(sampling_rate, num_coefficients, name="mfcc")
    wave, x, mask = normalized_features(sampling_rate, seconds, front_end, augment)
    x = keras.layers.GRU(units, return_sequences=True, name="gru")(x)
    x = Dropout(dropout, name="gru_dropout")(x)
    return keras.Model(wave, pool(x, mask, pooling), name=name)


def mfcc_statistics(
    sampling_rate=16000,
    seconds=2.0,
    num_coefficients=20,
    front_end=None,
    standardize=False,
    name="mfcc_statistics",
):
    """Mean and deviation of MFCC and of their slopes: the classical road, no weights.

    There is nothing to train in it, so it takes no augmentation either: features of
    such an encoder are computed once.

    Example:
    >>> encoder = mm.audio.mfcc_statistics(sampling_rate=16000, seconds=1.0)
    >>> encoder.predict(np.zeros((2, 16000)), verbose=0).shape, encoder.count_params()
    ((2, 80), 0)

    Args:
        sampling_rate: Integer, in Hz.
        seconds: Float, length of the tensor; longer clips are cropped.
        num_coefficients: Integer, coefficients a frame.
        front_end: optional `MFCC` or `LogMel` layer in place of
            `MFCC(sampling_rate, num_coefficients)`.
        standardize: True ends in a `Standardize` layer, whose columns
            `mmkeras.transfer.adapt` scales by the training rows.
        name: name of the model.

    Returns:
        `keras.Model` with the input "wave" `(batch, samples)` and the output
        `(batch, 4 * num_coefficients)`: means, deviations, means of the slopes,
        deviations of the slopes, over the valid frames.

    Raises:
        ValueError: a front end of another rate.
    """
    front_end = front_end or MFCC(sampling_rate, num_coefficients, name="mfcc")
    wave, x, mask = wave_features(sampling_rate, seconds, front_end)
    slope = Delta(name="delta")(x, mask)
    parts = [
        FrameStatistics(deviation=True, name="statistics")(x, mask),
        FrameStatistics(deviation=True, name="delta_statistics")(slope, mask),
    ]
    vector = keras.layers.Concatenate(name="vector")(parts)
    if standardize:
        vector = Standardize(name="standardize")(vector)
    return keras.Model(wave, vector, name=name)
