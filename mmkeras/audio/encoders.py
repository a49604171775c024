"""Audio encoders: a waveform to one vector, or to one token a frame."""

import keras

from mmkeras.audio.frames import (
    BlankFrames,
    Delta,
    FrameMask,
    FrameNormalization,
    FrameStatistics,
)
from mmkeras.audio.mfcc import MFCC
from mmkeras.audio.waveform import ClipLength, Waveform
from mmkeras.dropout import Dropout
from mmkeras.modality import tensor_input
from mmkeras.standardize import Standardize

_POOLINGS = ("mean", None)
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
        name: name of the model.

    Returns:
        `keras.Model` with the input "wave" `(batch, samples)`. Its output is
        `(batch, units)`, or with `pooling=None` `{"tokens": (batch, frames, units),
        "mask": (batch, frames)}`.

    Raises:
        ValueError: an unknown pooling, or a front end of another rate.
    """
    wave, x, mask = _features(sampling_rate, seconds, num_coefficients, front_end)
    x = FrameNormalization(name="coefficients_norm")(x, mask)
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
    return keras.Model(wave, _pool(x, mask, pooling), name=name)


def mfcc_rnn(
    sampling_rate=16000,
    seconds=2.0,
    num_coefficients=20,
    units=128,
    pooling="mean",
    dropout=0.1,
    front_end=None,
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
        name: name of the model.

    Returns:
        `keras.Model`, input and output as those of `mfcc_cnn`.

    Raises:
        ValueError: an unknown pooling, or a front end of another rate.

    Reference:
        Cho et al. 2014, arXiv:1406.1078.
    """
    wave, x, mask = _features(sampling_rate, seconds, num_coefficients, front_end)
    x = FrameNormalization(name="coefficients_norm")(x, mask)
    x = keras.layers.GRU(units, return_sequences=True, name="gru")(x)
    x = Dropout(dropout, name="gru_dropout")(x)
    return keras.Model(wave, _pool(x, mask, pooling), name=name)


def mfcc_statistics(
    sampling_rate=16000,
    seconds=2.0,
    num_coefficients=20,
    front_end=None,
    standardize=False,
    name="mfcc_statistics",
):
    """Mean and deviation of MFCC and of their slopes: the classical road, no weights.

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
    wave, x, mask = _features(sampling_rate, seconds, num_coefficients, front_end)
    slope = Delta(name="delta")(x, mask)
    parts = [
        FrameStatistics(deviation=True, name="statistics")(x, mask),
        FrameStatistics(deviation=True, name="delta_statistics")(slope, mask),
    ]
    vector = keras.layers.Concatenate(name="vector")(parts)
    if standardize:
        vector = Standardize(name="standardize")(vector)
    return keras.Model(wave, vector, name=name)


def _features(sampling_rate, seconds, num_coefficients, front_end):
    """Input, features `(batch, frames, dim)` and mask `(batch, frames)`."""
    if front_end is None:
        front_end = MFCC(sampling_rate, num_coefficients, name="mfcc")
    if front_end.sampling_rate != sampling_rate:
        raise ValueError(
            f"`front_end` wants the rate of the encoder, {sampling_rate} Hz. Received: "
            f"{type(front_end).__name__} at {front_end.sampling_rate} Hz. Give both "
            f"the same `sampling_rate`."
        )
    contract = Waveform(sampling_rate, seconds, name="waveform")
    wave = tensor_input(contract, "wave")
    x = contract(wave)
    lengths = ClipLength(name="clip_length")(x)
    features = front_end(x, lengths)
    mask = FrameMask(
        n_fft=front_end.n_fft,
        hop_length=front_end.hop_length,
        center=front_end.center,
        name="frame_mask",
    )
    return wave, features, mask(features, lengths)


def _pool(x, mask, pooling):
    if pooling not in _POOLINGS:
        raise ValueError(
            f"`pooling` wants one of {_POOLINGS}. Received: pooling={pooling!r}"
        )
    if pooling is None:
        return {"tokens": BlankFrames(name="tokens")(x, mask), "mask": mask}
    return FrameStatistics(name="pool")(x, mask)
