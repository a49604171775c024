"""The peers of benchmarks/mfcc.py: 20 coefficients of the same sizes, each its way.

Every function takes (waves, n_fft, hop_length, num_mel_bins) and gives a function
without arguments that computes the whole batch. What is not installed is left out.
"""

import functools

import numpy as np

RATE, COEFFICIENTS = 16000, 20


def librosa_loop(waves, **sizes):
    import librosa

    keyed = _librosa(sizes)
    return lambda: [librosa.feature.mfcc(y=wave, **keyed) for wave in waves]


def librosa_cached(waves, **sizes):
    """librosa makes its mel matrix anew at each call; here it is made once."""
    import librosa

    loop = librosa_loop(waves, **sizes)
    cached = functools.cache(librosa.filters.mel)

    def run():
        original, librosa.filters.mel = librosa.filters.mel, cached
        try:
            return loop()
        finally:
            librosa.filters.mel = original

    return run


def librosa_batched(waves, **sizes):
    import librosa

    keyed = _librosa(sizes)
    return lambda: librosa.feature.mfcc(y=waves, **keyed)


def _librosa(sizes):
    return {
        "sr": RATE,
        "n_mfcc": COEFFICIENTS,
        "n_fft": sizes["n_fft"],
        "hop_length": sizes["hop_length"],
        "n_mels": sizes["num_mel_bins"],
    }


def keras_mel(waves, n_fft, hop_length, num_mel_bins):
    """Keras' own layer and a DCT; HTK scale, `top_db` over the whole batch."""
    import keras
    import tensorflow as tf

    layer = keras.layers.MelSpectrogram(
        fft_length=n_fft,
        sequence_stride=hop_length,
        sequence_length=n_fft,
        sampling_rate=RATE,
        num_mel_bins=num_mel_bins,
        min_freq=0,
    )
    return _graph(tf, lambda x: tf.transpose(layer(x), (0, 2, 1)), waves, num_mel_bins)


def kapre(waves, n_fft, hop_length, num_mel_bins):
    import tensorflow as tf
    from kapre.composed import get_melspectrogram_layer

    layer = get_melspectrogram_layer(
        input_shape=(waves.shape[1], 1),
        n_fft=n_fft,
        hop_length=hop_length,
        sample_rate=RATE,
        n_mels=num_mel_bins,
        return_decibel=True,
        pad_begin=True,
        pad_end=True,
    )
    return _graph(tf, lambda x: layer(x[..., None])[..., 0], waves, num_mel_bins)


def _graph(tf, features, waves, num_mel_bins):
    dct = tf.constant(_dct(num_mel_bins))
    spec = [tf.TensorSpec([None, waves.shape[1]])]
    function = tf.function(lambda x: features(x) @ dct, input_signature=spec)
    tensor = tf.constant(waves)
    return lambda: function(tensor).numpy()


def _dct(size):
    """The DCT-II as a matrix; its first column is not scaled, which costs no time."""
    n, k = np.arange(size)[:, None], np.arange(COEFFICIENTS)[None]
    dct = np.cos(np.pi * (n + 0.5) * k / size) * np.sqrt(2 / size)
    return dct.astype("float32")


def torchaudio(waves, n_fft, hop_length, num_mel_bins):
    import torch
    from torchaudio.transforms import MFCC

    sizes = {
        "n_fft": n_fft,
        "hop_length": hop_length,
        "n_mels": num_mel_bins,
        "pad_mode": "constant",
        "norm": "slaney",
        "mel_scale": "slaney",
    }
    layer = MFCC(RATE, COEFFICIENTS, melkwargs=sizes)
    return _torch(torch, layer, waves)


def torch_stft(waves, n_fft, hop_length, num_mel_bins):
    """What one writes by hand: torch.stft, a mel matrix, a DCT."""
    import librosa
    import torch

    mel = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=num_mel_bins).T
    mel, window = torch.tensor(mel.copy()), torch.hann_window(n_fft)
    dct = torch.tensor(_dct(num_mel_bins))

    def mfcc(x):
        spectrum = torch.stft(
            x,
            n_fft,
            hop_length,
            window=window,
            pad_mode="constant",
            return_complex=True,
        )
        spectrum = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)
        decibels = 10 * torch.log10((spectrum @ mel).clamp_min(1e-10))
        peak = decibels.amax((1, 2), keepdim=True)
        return torch.maximum(decibels, peak - 80) @ dct

    return _torch(torch, mfcc, waves)


def _torch(torch, function, waves):
    tensor = torch.tensor(waves)

    def run():
        with torch.inference_mode():
            return function(tensor).numpy()

    return run


def python_speech_features(waves, n_fft, hop_length, num_mel_bins):
    import python_speech_features as peer

    keyed = {
        "samplerate": RATE,
        "winlen": n_fft / RATE,
        "winstep": hop_length / RATE,
        "numcep": COEFFICIENTS,
        "nfilt": num_mel_bins,
        "nfft": n_fft,
    }
    return lambda: [peer.mfcc(wave, **keyed) for wave in waves]


def kaldi_native_fbank(waves, n_fft, hop_length, num_mel_bins):
    """Compiled C++; pads a frame to the next power of two."""
    import kaldi_native_fbank as peer

    options = peer.MfccOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.frame_length_ms = 1000 * n_fft / RATE
    options.frame_opts.frame_shift_ms = 1000 * hop_length / RATE
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = num_mel_bins
    options.num_ceps = COEFFICIENTS

    def one(wave):
        online = peer.OnlineMfcc(options)
        online.accept_waveform(RATE, wave)
        online.input_finished()
        return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])

    scaled = waves * 32768
    return lambda: [one(wave) for wave in scaled]


PEERS = {
    "librosa, loop": librosa_loop,
    "librosa, loop, filters cached": librosa_cached,
    "librosa, batched": librosa_batched,
    "Keras MelSpectrogram + DCT": keras_mel,
    "kapre mel + DCT": kapre,
    "torchaudio MFCC": torchaudio,
    "torch.stft by hand": torch_stft,
    "python_speech_features, loop": python_speech_features,
    "kaldi-native-fbank, loop": kaldi_native_fbank,
}


def installed(waves, sizes):
    """Name -> function for what can be imported, and the names of what cannot."""
    found, missing = {}, []
    for name, make in PEERS.items():
        try:
            found[name] = make(waves, **sizes)
        except (ImportError, OSError) as error:
            missing.append(f"{name} ({error})")
    return found, missing
