"""Decoded clips on disk: int16 samples by memory map, in place of decoding again.

    <directory>/manifest.json                     hashes of files, written last
    <directory>/clips-<hash>/shard-*.safetensors

The folder's hash is that of the contract and of the decoders' versions; a clip is
found by the hash of its file's content, as the features of
`mmkeras.transfer.cache_features` are: both may share one directory.
"""

import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np

from mmkeras.audio import decode
from mmkeras.audio.waveform import Waveform
from mmkeras.data.hashes import Hashes
from mmkeras.data.shards import Shards


class Clips(Shards):
    """What a `Waveform` contract reads from files, kept as 16-bit samples.

    A clip has one step: x = q * step, q the int16. The step is the least power of two
    that holds the clip's peak, at most 2^-15: 16-bit files at the contract's rate stay
    what they are, others move by step / 2, at most 1 / 65536. Where the peak passes 1
    (float WAV, MP3) the step is peak / 32767: nothing is clipped. The last sample that
    is not 0 stays so, if need be as one step: clips keep their length.

    Args:
        contract: `Waveform`.
        directory: path; made if it is not there.
    """

    def __init__(self, contract, directory):
        directory = Path(directory)
        about = version(contract)
        hashes = Hashes(directory / "manifest.json")
        super().__init__(directory / f"clips-{about}", about, hashes)
        self.contract = contract
        self._lock = threading.Lock()

    def fill(self, key, tensor):
        """Writes a clip into a tensor of zeros; gives whether it is there."""
        packed = self._pending.get(key)
        if packed is None:
            place = self.places.get(key)
            if place is None:
                return False
            part, row = self.parts[place[0]], place[1]
            start, end = part["ends"][row - 1] if row else 0, part["ends"][row]
            packed = {"wave": part["wave"][start:end], "step": part["step"][row]}
        wave = packed["wave"]
        np.multiply(wave, packed["step"], out=tensor[: len(wave)])
        return True

    def keep(self, key, source, tensor):
        """Keeps a clip that was read; gives it as `fill` will give it.

        Args:
            key: 16 bytes, as `Hashes.locate` gave them.
            source: path or bytes, as `Hashes.locate` gave it.
            tensor: float32 array `(samples,)`.
        """
        wave, step = pack(tensor)
        # a file that changed while it was read is not the key's
        if self.hashes.locate(source)[0] == key:
            with self._lock:
                self.add([key], {"wave": [wave], "step": [step]})
        tensor = np.zeros_like(tensor)
        np.multiply(wave, step, out=tensor[: len(wave)])
        return tensor

    def save(self):
        """Writes what is pending, and the hashes of files."""
        with self._lock:
            self.flush()
            self.hashes.save()

    def _joined(self, rows):
        waves = [x["wave"] for x in rows]
        return {
            "wave": np.concatenate(waves),
            "ends": np.cumsum([len(x) for x in waves]),
            "step": np.array([x["step"] for x in rows], "float32"),
        }


def of(contracts, directory):
    """The `Clips` of each `Waveform` among contracts: dict, modality -> `Clips`.

    A contract with a `read_cell` of its own is left out.
    """
    found, opened = {}, {}
    for name, contract in contracts.items():
        if getattr(type(contract), "read_cell", None) is Waveform.read_cell:
            about = version(contract)
            if about not in opened:
                opened[about] = Clips(contract, os.fspath(directory))
            found[name] = opened[about]
    return found


def version(contract):
    """Hexadecimal hash of all that a decoded clip depends on but its file."""
    import soundfile
    import soxr

    about = {
        "sampling_rate": contract.sampling_rate,
        "samples": contract.samples,
        "decode": decode.VERSION,
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
    }
    content = json.dumps(about, sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def pack(tensor):
    """A clip as int16 array `(length,)` and float32 step; see `Clips`.

    Example:
    >>> wave, step = mm.data.clips.pack(np.array([0.5, -1.0, 1e-9, 0.0], "float32"))
    >>> wave, float(step * 2**15)
    (array([ 16384, -32768,      1], dtype=int16), 1.0)
    """
    there = np.flatnonzero(tensor)
    wave = tensor[: there[-1] + 1 if len(there) else 0].astype("float64")
    peak = np.abs(wave).max(initial=0.0)
    # float32 has no exact powers of two below 2^-126
    power = np.clip(np.frexp(peak)[1], -111, 0)
    step = np.ldexp(np.float32(1), power - 15)
    scaled = np.rint(wave / step)
    if scaled.max(initial=0.0) > 32767 or scaled.min(initial=0.0) < -32768:
        step = np.float32(peak / 32767) if power == 0 else 2 * step
        scaled = np.clip(np.rint(wave / step), -32767, 32767)
    if len(wave) and not scaled[-1]:
        scaled[-1] = np.sign(wave[-1])
    return scaled.astype("int16"), step
