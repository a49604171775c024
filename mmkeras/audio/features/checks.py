"""What the arguments of the spectral layers may be."""

import numpy as np

from mmkeras.audio.features import dft, filters

#: Name -> (form of the transform, precision of the frames that it gets).
DFTS = {
    **{name: (form, "float32") for name, form in dft.DFTS.items()},
    "rfft64": (dft.DFTS["rfft"], "float64"),
}
#: Units of the logarithm: decibels, or nepers of the power.
LOGS = {"db": 10 / np.log(10), "ln": 1.0}
PAD_MODES = ("constant", "reflect")
NORMS = ("slaney", None)
ALIGNS = ("center", "left")


def check(layer):
    """Refuses a `LogMel` one of whose arguments is out of range.

    Raises:
        ValueError: names the argument, what is wanted and what was received.
    """
    nyquist = layer.sampling_rate / 2
    fmax = nyquist if layer.fmax is None else layer.fmax
    wanted = {
        "sampling_rate": (layer.sampling_rate > 0, "a rate above 0 Hz"),
        "n_fft": (layer.n_fft >= 2, "at least 2 samples"),
        "hop_length": (layer.hop_length >= 1, "at least 1 sample"),
        "win_length": (
            layer.win_length is None or 1 <= layer.win_length <= layer.n_fft,
            f"None, or 1 to n_fft={layer.n_fft} samples",
        ),
        "pad_mode": (layer.pad_mode in PAD_MODES, f"one of {PAD_MODES}"),
        "num_mel_bins": (layer.num_mel_bins >= 1, "at least 1 band"),
        "fmin": (0 <= layer.fmin < fmax, f"a frequency in [0, fmax={fmax}) Hz"),
        "fmax": (fmax <= nyquist, f"at most half the rate, {nyquist} Hz"),
        "norm": (layer.norm in NORMS, f"one of {NORMS}"),
        "power": (layer.power > 0, "a number above 0"),
        "amin": (layer.amin > 0, "a number above 0"),
        "ref": (layer.ref > 0, "a number above 0"),
        "top_db": (
            layer.top_db is None or layer.top_db >= 0,
            "None, or 0 dB and up",
        ),
        "dft": (layer.dft in DFTS, f"one of {tuple(DFTS)}"),
        "align": (layer.align in ALIGNS, f"one of {ALIGNS}"),
        "scale": (layer.scale > 0, "a number above 0"),
        "pre_emphasis": (0 <= layer.pre_emphasis < 1, "a number in [0, 1)"),
        "triangles": (
            layer.triangles in filters.TRIANGLES,
            f"one of {filters.TRIANGLES}",
        ),
        "log": (layer.log in LOGS, f"one of {tuple(LOGS)}"),
        "log_offset": (layer.log_offset >= 0, "0 or more"),
        "frames_at_once": (
            layer.frames_at_once is None or layer.frames_at_once >= 1,
            "None, or at least 1 frame",
        ),
        "clips_at_once": (
            layer.clips_at_once is None or layer.clips_at_once >= 1,
            "None, or at least 1 clip",
        ),
    }
    for name, (holds, what) in wanted.items():
        if not holds:
            raise ValueError(
                f"`{name}` wants {what}. Received: {name}={getattr(layer, name)!r}"
            )
