"""Pictures of what an encoder hears: spectrograms and cepstra over seconds.

They look as `librosa.display.specshow` draws them. matplotlib is an extra
(`mmkeras[cli]`), imported on the first plot and used without its global state.
"""

import numpy as np

from mmkeras.audio.features.mel import LogMel
from mmkeras.audio.features.mfcc import MFCC


def spectrogram(x, front_end=None, length=None, ax=None, title=None):
    """Draws the mel spectrogram of a clip: seconds, Hz on the mel scale, dB by colour.

        mmkeras.audio.plot.spectrogram(wave).figure.savefig("wave.png")

    Args:
        x: array `(samples,)`, a wave, which `front_end` makes features of; or
            `(frames, dim)`, features that it made.
        front_end: `LogMel` or `MFCC` layer; default: `LogMel()`, at 16 kHz.
        length: optional integer, samples of the clip: padding behind it is not drawn.
            Default: all of `x`.
        ax: optional matplotlib `Axes` to draw into; default: those of a new figure.
        title: optional string.

    Returns:
        matplotlib `Axes`, `.figure` has the picture with its colour bar.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `x` is neither a wave nor features of `front_end`.
    """
    front_end = front_end or LogMel()
    features = _features(x, front_end, length)
    cepstrum = isinstance(front_end, MFCC)
    axes = _axes() if ax is None else ax
    width = front_end.num_coefficients if cepstrum else front_end.num_mel_bins
    picture = axes.pcolormesh(
        *_edges(len(features), width, front_end),
        features.T,
        rasterized=True,
        edgecolors="none",
        # librosa's colours; the sign of a level in dB has no meaning
        cmap="coolwarm" if cepstrum else "magma",
    )
    axes.set_xlabel("Time (s)")
    axes.set_ylabel("MFCC" if cepstrum else "Hz")
    if cepstrum:
        axes.yaxis.get_major_locator().set_params(integer=True)
    else:
        _mel_ticks(axes, front_end)
    if title:
        axes.set_title(title)
    unit = "%+2.0f dB" if not cepstrum and _in_decibels(front_end) else None
    axes.figure.colorbar(picture, ax=axes, format=unit)
    return axes


def mfcc(x, front_end=None, length=None, ax=None, title=None):
    """Draws the cepstral coefficients of a clip: seconds, coefficients from 0 upwards.

    Args:
        x: array `(samples,)`, a wave; or `(frames, num_coefficients)`.
        front_end: `MFCC` layer; default: `MFCC()`, at 16 kHz.
        length: as `spectrogram`.
        ax: as `spectrogram`.
        title: as `spectrogram`.

    Returns:
        matplotlib `Axes`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `x` is neither a wave nor features of `front_end`.
    """
    return spectrogram(x, front_end or MFCC(), length, ax, title)


def _features(x, front_end, length):
    """The frames to draw, `(frames, dim)`, as numpy."""
    x = np.asarray(x)
    cepstrum = isinstance(front_end, MFCC)
    width = front_end.num_coefficients if cepstrum else front_end.num_mel_bins
    if x.ndim == 1 and len(x):
        x = x if length is None else x[:length]
        return np.asarray(front_end(x[None].astype("float32")))[0]
    if x.ndim == 2 and x.shape[1] == width and len(x):
        return x if length is None else x[: max(front_end.frame_count(length), 1)]
    raise ValueError(
        f"`x` wants a wave (samples,) or features (frames, {width}) of "
        f"`{type(front_end).__name__}`. Received: x of shape {x.shape}. Give one clip "
        f"of the batch, and the layer that made its features as `front_end`."
    )


def _edges(frames, width, front_end):
    """Where the cells end, in seconds and in bands; frame t stands at t hops."""
    hop = front_end.hop_length / front_end.sampling_rate
    seconds = (np.arange(frames + 1) - 0.5) * hop
    if not front_end.center:
        seconds = seconds + front_end.frame_length / 2 / front_end.sampling_rate
    return seconds, np.arange(width + 1) - 0.5


def _mel_ticks(axes, front_end):
    """0 Hz, 512 Hz and its octaves, at the bands whose peaks they are."""
    import librosa

    low, high = librosa.hz_to_mel(
        [front_end.fmin, front_end.fmax or front_end.sampling_rate / 2],
        htk=front_end.htk,
    )
    octaves = [0, *(2**i for i in range(9, 18))]
    mels = librosa.hz_to_mel(octaves, htk=front_end.htk)
    # peak of band i: (i + 1) steps above the lowest edge
    step = (high - low) / (front_end.num_mel_bins + 1)
    places = (mels - low) / step - 1
    last = front_end.num_mel_bins - 0.5
    seen = [
        (max(place, -0.5), hz)
        for place, mel, hz in zip(places, mels, octaves, strict=True)
        if mel >= low and place <= last
    ]
    axes.set_yticks([place for place, _ in seen], [str(hz) for _, hz in seen])


def _in_decibels(front_end):
    return getattr(front_end, "log", "db") == "db"


def _axes():
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"Plots want matplotlib: {error}. Install it with the extra mmkeras[cli]."
        ) from error
    figure = Figure(figsize=(7, 3.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()
