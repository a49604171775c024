"""Audio files in Python: FLAC, OGG, MP3 and WAV at any rate, for training.

libsndfile decodes, soxr (HQ) resamples, as `librosa.load` does.
"""

import io

import numpy as np

#: Seconds read beyond the wanted ones, so that resampling sees what follows the cut.
_MARGIN = 0.25


def decode_file(data, sampling_rate, samples):
    """Decodes, takes the mean of the channels and resamples.

    Args:
        data: bytes of the file.
        sampling_rate: Integer, the wanted rate in Hz.
        samples: Integer, how many samples to give at most.

    Returns:
        float32 array `(n,)`, n <= samples.

    Raises:
        ValueError: it is not audio, is truncated, holds 0 samples, or a sample is NaN.
    """
    import librosa

    wave, rate = _decode(data, samples / sampling_rate + _MARGIN)
    if not len(wave):
        raise ValueError("it holds 0 samples")
    if not np.isfinite(wave).all():
        raise ValueError("a sample is NaN or infinite")
    if rate != sampling_rate:
        wave = librosa.resample(
            wave, orig_sr=rate, target_sr=sampling_rate, res_type="soxr_hq"
        )
    return wave[:samples]


def _decode(data, seconds):
    """The first `seconds` of a file: float32 array `(n,)` and its rate in Hz."""
    import soundfile

    if data[:4] == b"OggS" and not _whole_ogg(data):
        raise ValueError("it is truncated: its last OGG page is cut")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            wanted = int(np.ceil(seconds * file.samplerate))
            wave = file.read(wanted, dtype="float32", always_2d=True)
            # an MP3 often states no exact length, a FLAC does
            short = file.format == "FLAC" and len(wave) < min(wanted, file.frames)
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"it is not audio that can be read (WAV, FLAC, OGG, MP3), or is truncated: "
            f"{error.error_string}"
        ) from error
    if short:
        raise ValueError(f"it is truncated: {len(wave)} samples can be read")
    return wave.mean(axis=1), rate


def _whole_ogg(data):
    """Whether the last page of an OGG file is there to its end (RFC 3533)."""
    page = data.rfind(b"OggS")
    body = page + 27
    if len(data) < body:
        return False
    pieces = data[page + 26]
    sizes = data[body : body + pieces]
    return len(sizes) == pieces and len(data) >= body + pieces + sum(sizes)
