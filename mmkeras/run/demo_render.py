"""Draws the demo's symbols: small pictures, sentences and sounds, as file bytes.

Position, size, wording, pitch, loudness and noise vary at random; what tells the bits
apart stays plain, so that small networks can read them without error.
"""

import io
import struct
import wave
import zlib

import numpy as np

SIDE = 48  # pixels
SAMPLING_RATE = 16000  # Hz
SECONDS = 0.5

_FLAGS = np.array([(235.0, 140.0, 30.0), (40.0, 90.0, 215.0)])  # orange, blue
_PLACE = (
    ("hills", "fields", "forest", "village", "orchard"),
    ("harbour", "beach", "island", "lighthouse", "waves"),
)
_TIME = (
    ("morning", "noon", "sunny", "daylight", "afternoon"),
    ("midnight", "moonlit", "starry", "dark", "late"),
)
_WEATHER = (
    ("quiet", "still", "gentle", "peaceful", "mild"),
    ("windy", "rough", "wild", "thunder", "gale"),
)
_TEMPLATES = (
    "a {time} view of the {place} , {weather}",
    "{place} , {time} and {weather}",
    "the {weather} {place} in a {time} picture",
    "{weather} , {time} , near the {place}",
    "we saw the {place} : {time} , {weather}",
)


def picture(place, flag, rng):
    """A mountain (land) or waves (sea) in the flag's colour on noisy grey.

    Args:
        place: 0 a triangle, 1 three horizontal bars.
        flag: 0 orange, 1 blue.
        rng: `np.random.Generator`.

    Returns:
        uint8 array `(48, 48, 3)`.
    """
    size = rng.uniform(11, 17)  # half the height, in pixels
    x0, y0 = rng.uniform(size + 1, SIDE - size - 1, 2)
    y, x = np.mgrid[:SIDE, :SIDE]
    down, across = (y - y0) / size, np.abs(x - x0) / size
    inside = (np.abs(down) <= 1) & (across <= 1)
    if place:
        shape = inside & (np.floor((down + 1) * 2.5) % 2 == 0)
    else:
        shape = inside & (across <= (down + 1) / 2)
    ground = rng.uniform(90, 190)
    colour = _FLAGS[flag] + rng.uniform(-20, 20, 3)
    pixels = np.where(shape[..., None], colour, ground)
    pixels = pixels + rng.normal(0, 10, (SIDE, SIDE, 3))
    return pixels.clip(0, 255).round().astype("uint8")


def sentence(time, place, weather, rng):
    """A sentence with one word for the time, one for the place, one for the weather."""
    words = {
        "time": rng.choice(_TIME[time]),
        "place": rng.choice(_PLACE[place]),
        "weather": rng.choice(_WEATHER[weather]),
    }
    return rng.choice(_TEMPLATES).format(**words)


def sound(time, siren, rng):
    """A siren of two pitches, one long tone by day, four short ones by night.

    Args:
        time: 0 one tone, 1 four beeps.
        siren: 0 low (300-380 Hz), 1 high (1000-1250 Hz).
        rng: `np.random.Generator`.

    Returns:
        float array `(8000,)` in [-1, 1], 0.5 s at 16 kHz.
    """
    t = np.arange(int(SECONDS * SAMPLING_RATE)) / SAMPLING_RATE
    pitch = rng.uniform(1000, 1250) if siren else rng.uniform(300, 380)
    phase = rng.uniform(0, 2 * np.pi)
    tone = np.sin(2 * np.pi * pitch * t + phase)
    tone += 0.3 * np.sin(4 * np.pi * pitch * t)
    if time:
        start = rng.uniform(0, 0.5)
        loud = ((t / SECONDS * 4 + start) % 1 < 0.5).astype(float)
    else:
        loud = ((t > rng.uniform(0, 0.08)) & (t < rng.uniform(0.42, 0.5))).astype(float)
    loud = np.convolve(loud, np.ones(80) / 80, "same")  # 5 ms edges: no clicks
    wave_form = rng.uniform(0.3, 0.6) * loud * tone
    return (wave_form + rng.normal(0, 0.02, len(t))).clip(-1, 1)


def png(pixels):
    """RGB pixels uint8 `(height, width, 3)` as the bytes of a PNG file."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), "uint8")  # a 0 before each: no filter
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*x) for x in chunks)


def wav(samples):
    """Samples in [-1, 1] as the bytes of a WAV file: 16-bit PCM, mono, 16 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLING_RATE)
        out.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def _chunk(kind, content):
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
