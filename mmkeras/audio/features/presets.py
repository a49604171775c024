"""The front ends that people mean by a name: arguments of `LogMel` and `MFCC`.

Lengths in ms are those of the names' own tools, cut to whole samples as these cut them;
`power_of_two` says whether the FFT is the next power of two or the window itself.
"""

#: Float32's epsilon, Kaldi's least energy.
_EPSILON = 2.0**-23

#: What HTK, Kaldi and YAMNet have in common: frames of one window, none centred, which
#: begin the FFT's; the HTK mel scale with triangles linear in mel; natural logarithms.
_HTK_FAMILY = {
    "win_ms": 25,
    "hop_ms": 10,
    "power_of_two": True,
    "center": False,
    "align": "left",
    "htk": True,
    "norm": None,
    "triangles": "mel",
    "log": "ln",
    "top_db": None,
}

LOG_MEL = {
    # librosa.feature.melspectrogram + power_to_db, as `LogMel` is by default; librosa's
    # rate of 22,050 Hz is an argument here
    "librosa": {"n_fft": 2048, "hop_length": 512, "num_mel_bins": 128},
    # librosa's conventions over speech's usual frames
    "speech": {"win_ms": 25, "hop_ms": 10, "num_mel_bins": 80},
    # compute-fbank-feats and compute-mfcc-feats, dither and energy off
    "kaldi": {
        **_HTK_FAMILY,
        "window": "povey",
        "periodic": False,
        "pre_emphasis": 0.97,
        "remove_dc": True,
        "scale": 32768.0,
        "fmin": 20.0,
        "num_mel_bins": 23,
        "amin": _EPSILON,
    },
    # the HTK book's example: USEHAMMING = T, PREEMCOEF = 0.97, NUMCHANS = 26,
    # CEPLIFTER = 22, NUMCEPS = 12, USEPOWER = F; no energy below 1
    "htk": {
        **_HTK_FAMILY,
        "window": "hamming",
        "periodic": False,
        "pre_emphasis": 0.97,
        "scale": 32768.0,
        "num_mel_bins": 26,
        "power": 1.0,
        "amin": 1.0,
    },
    # the features of the YAMNet and VGGish models
    "yamnet": {
        **_HTK_FAMILY,
        "num_mel_bins": 64,
        "fmin": 125.0,
        "fmax": 7500.0,
        "power": 1.0,
        "log_offset": 0.001,
    },
}

#: What `MFCC` adds to them; HTK's c0 comes first here, in HTK's own files last.
CEPSTRUM = {
    "kaldi": {"num_coefficients": 13, "lifter": 22, "lifter_start": 0},
    "htk": {
        "num_coefficients": 13,
        "lifter": 22,
        "lifter_start": 0,
        "dct_norm": "htk",
    },
}


def arguments(name, sampling_rate, overrides, cepstrum=False):
    """Arguments of `LogMel`, or of `MFCC` with `cepstrum`, for a preset's name."""
    if name not in LOG_MEL:
        raise ValueError(
            f"`name` wants a preset, one of {tuple(LOG_MEL)}. Received: name={name!r}"
        )
    preset = {"sampling_rate": sampling_rate, **LOG_MEL[name]}
    if cepstrum:
        preset |= CEPSTRUM.get(name, {})
    window, hop = preset.pop("win_ms", None), preset.pop("hop_ms", None)
    round_up = preset.pop("power_of_two", False)
    if window is not None:
        preset["win_length"] = int(sampling_rate * window // 1000)
        preset["hop_length"] = int(sampling_rate * hop // 1000)
    preset |= overrides
    if "n_fft" not in preset:
        length = preset["win_length"]
        preset["n_fft"] = 2 ** (length - 1).bit_length() if round_up else length
    return preset
