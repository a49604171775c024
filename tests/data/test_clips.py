"""Decoded clips on disk: what is kept, when it is read again, and what a kill costs."""

import io
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pandas
import pytest
import soundfile

import mmkeras as mm
from mmkeras.data.clips import Clips, pack

RATE = 16000
STEP = 2.0**-15
RNG = np.random.default_rng(0)


@pytest.fixture
def clip():
    return mm.audio.Waveform(RATE, 0.25)


@pytest.fixture
def folder(tmp_path):
    """Eight clips: WAV at the rate, stereo OGG at another."""
    for i in range(8):
        wave = RNG.uniform(-0.9, 0.9, (3000 + i, 1 + i % 2))
        if i % 2:
            soundfile.write(tmp_path / f"{i}.ogg", wave, 44100)
        else:
            soundfile.write(tmp_path / f"{i}.wav", wave, RATE, subtype="PCM_16")
    return tmp_path


def table(folder):
    return pandas.DataFrame({"clip": sorted(map(str, folder.glob("*.[wo][ag][vg]")))})


def read(folder, clip, cache=None, **kwargs):
    options = {"batch_size": 3, "audio_cache": cache, **kwargs}
    rows = mm.data.from_table(table(folder), {"clip": clip}, **options)
    batches = list(rows.as_numpy_iterator())
    names = ("clip", "clip_present")
    return [np.concatenate([np.atleast_1d(x[n]) for x in batches]) for n in names]


@pytest.fixture
def decoded(monkeypatch):
    """The list of what was decoded."""
    seen = []
    original = mm.audio.Waveform.read_cell

    def read_cell(self, cell):
        seen.append(cell)
        return original(self, cell)

    monkeypatch.setattr(mm.audio.Waveform, "read_cell", read_cell)
    return seen


# what 16 bits make of a clip
def unpacked(wave):
    packed, step = pack(np.pad(np.asarray(wave, "float32"), (0, 5)))
    assert packed.dtype == np.int16
    return packed.astype("float64") * step, step


def length(wave):
    return int(mm.audio.ClipLength()(np.asarray(wave, "float32")[None])[0])


def test_16_bits_are_exact():
    for values in (
        [-32768, 32767, 1, 0, -1],
        [-32768, 5],
        [3],
        RNG.integers(-99, 99, 50),
    ):
        wave = np.asarray(values) * STEP
        got, _ = unpacked(wave)
        np.testing.assert_array_equal(got, np.trim_zeros(wave, "b"))


@pytest.mark.parametrize("peak", [1e-9, 1e-3, 0.3, 0.99999, 1.0, 1.3, 40.0, 3e38])
def test_error_is_half_a_step(peak):
    wave = (RNG.uniform(-peak, peak, 999)).astype("float32")
    wave[5], wave[-1] = peak, -peak / 2
    got, step = unpacked(wave)
    bound = max(1.0, peak) / 65536 * (1 + 2.0**-15 + 2.0**-20)
    assert step / 2 <= bound and np.abs(got - wave).max() <= bound
    # quiet clips are finer, loud ones are not clipped
    assert np.abs(got - wave).max() <= peak * 2.0**-14
    np.testing.assert_allclose(got[5], peak, rtol=2.0**-14)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tail", [[1e-12], [1e-12, 0, 0], [0, 1e-30, 0]])
def test_a_clip_keeps_its_length(tail, sign):
    wave = np.concatenate([[0.0, 0.5, -0.25], sign * np.array(tail)])
    got, step = unpacked(wave)
    assert len(got) == length(got) == length(wave)
    assert got[-1] == sign * step


@pytest.mark.parametrize("wave", [[], [0.0, 0.0]])
def test_silence(wave):
    got, step = unpacked(wave)
    assert not len(got) and step > 0


# the cache
@pytest.mark.parametrize("batch_size", [3, None])
def test_rows_are_decoded_once(
    folder, clip, decoded, tmp_path_factory, batch_size, monkeypatch
):
    monkeypatch.setattr("mmkeras.data.hashes._YOUNG", -1.0)  # else hashed each time
    cache = tmp_path_factory.mktemp("cache")
    wanted, _ = read(folder, clip)
    decoded.clear()
    cold, there = read(folder, clip, cache, batch_size=batch_size)
    cold = cold.reshape(wanted.shape)
    assert len(decoded) == 8 and there.all()
    assert np.abs(cold - wanted).max() <= 1 / 65536
    wav = [x.endswith(".wav") for x in table(folder)["clip"]]
    np.testing.assert_array_equal(cold[wav], wanted[wav])
    for a, b in zip(cold, wanted, strict=True):
        assert length(a) == length(b)
    warm, _ = read(folder, clip, cache)
    np.testing.assert_array_equal(warm, cold)
    assert len(decoded) == 8
    names = {x.suffix for x in cache.rglob("*") if x.is_file()}
    assert names == {".json", ".safetensors"}


def test_every_pass_reads_from_the_cache(folder, clip, decoded, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    rows = mm.data.from_table(
        table(folder), {"clip": clip}, batch_size=4, shuffle=True, audio_cache=cache
    )
    for _ in range(3):
        assert sum(len(x["clip"]) for x in rows) == 8
    assert len(decoded) == 8
    read(folder, clip, cache)  # written when the first pass was over
    assert len(decoded) == 8


def test_a_clip_is_found_by_content_and_contract(
    folder, clip, decoded, tmp_path_factory
):
    cache = tmp_path_factory.mktemp("cache")
    read(folder, clip, cache)
    decoded.clear()
    (folder / "0.wav").rename(folder / "9.wav")  # another name, the same clip
    raw = (folder / "1.ogg").read_bytes()
    rows = pandas.DataFrame({"clip": [raw, f"file://{folder}/9.wav"]})
    list(mm.data.from_table(rows, {"clip": clip}, audio_cache=cache))
    read(folder, clip, cache)
    assert not decoded
    wave = RNG.uniform(-0.5, 0.5, 3000)
    soundfile.write(folder / "9.wav", wave, RATE, subtype="FLOAT")
    got, _ = read(folder, clip, cache)
    assert decoded == [str(folder / "9.wav")]
    np.testing.assert_allclose(got[-1, :3000], wave, rtol=0, atol=1 / 65536)
    for other in (mm.audio.Waveform(RATE, 0.2), mm.audio.Waveform(8000, 0.25)):
        decoded.clear()
        read(folder, other, cache)
        assert len(decoded) == 8


def test_bad_rows_are_never_kept(folder, clip, decoded, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    whole = (folder / "3.ogg").read_bytes()
    (folder / "3.ogg").write_bytes(whole[:2000])
    bad = []
    for _ in range(2):
        _, there = read(folder, clip, cache, on_bad_row="absent", bad_rows=bad)
        assert there.sum() == 7
    assert [x.path for x in bad] == [repr(str(folder / "3.ogg"))]
    assert decoded.count(str(folder / "3.ogg")) == 2
    (folder / "3.ogg").write_bytes(whole)
    _, there = read(folder, clip, cache)
    assert there.all()


def test_a_damaged_shard_is_decoded_again(folder, clip, decoded, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    wanted, _ = read(folder, clip, cache)
    decoded.clear()
    (shard,) = cache.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-50] ^= 1
    shard.write_bytes(content)
    got, _ = read(folder, clip, cache)
    np.testing.assert_array_equal(got, wanted)
    assert len(decoded) == 8
    (shard,) = cache.rglob("*.safetensors")
    shard.write_bytes(b"")
    read(folder, clip, cache)
    assert len(decoded) == 16


def test_a_full_shard_is_written_before_a_pass_is_over(folder, clip, tmp_path):
    clips = Clips(clip, tmp_path / "cache")
    clips.rows = 3
    for i, path in enumerate(table(folder)["clip"][:4]):
        key, source = clips.hashes.locate(path)
        kept = clips.keep(key, source, clip.read_cell(source))
        assert len(clips.places) == 3 * (i >= 2)
        again = np.zeros_like(kept)  # from the disk or from what waits
        assert clips.fill(key, again)
        np.testing.assert_array_equal(again, kept)
    assert len(Clips(clip, tmp_path / "cache").places) == 3


def test_several_at_once(folder, clip, tmp_path_factory):
    """Readers that share the files of one folder alone, as processes do."""
    cache = tmp_path_factory.mktemp("cache")
    wanted, _ = read(folder, clip)
    found = []

    def work():
        found.append(read(folder, clip, cache, batch_size=2)[0])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    for got in found:
        assert np.abs(got - wanted).max() <= 1 / 65536
    assert len(Clips(clip, cache).places) == 8


@pytest.mark.slow
def test_two_processes_that_end_in_the_middle_of_a_pass(folder, clip, tmp_path):
    program = f"""
        import pandas, mmkeras as mm
        rows = pandas.DataFrame({{"clip": {list(table(folder)["clip"])} * 200}})
        clip = mm.audio.Waveform({RATE}, 0.25)
        rows = mm.data.from_table(
            rows, {{"clip": clip}}, batch_size=4, audio_cache={str(tmp_path / "c")!r}
        )
        it = iter(rows); next(it)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    started = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in started:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    places = Clips(clip, tmp_path / "c").places
    assert 4 <= len(places) <= 8
    for path in table(folder)["clip"]:
        tensor = np.zeros(clip.samples, "float32")
        key, _ = Clips(clip, tmp_path / "c").hashes.locate(path)
        if Clips(clip, tmp_path / "c").fill(key, tensor):
            wanted = clip.read_cell(path)
            np.testing.assert_allclose(tensor, wanted, rtol=0, atol=1 / 65536)


def test_a_file_that_changes_while_it_is_read_is_not_kept(folder, clip, tmp_path):
    clips = Clips(clip, tmp_path / "cache")
    path = str(folder / "0.wav")
    key, source = clips.hashes.locate(path)
    tensor = clip.read_cell(source)
    soundfile.write(path, np.zeros(10), RATE)
    clips.keep(key, source, tensor)
    assert not clips._pending


def test_silent_clips(clip, tmp_path):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100), RATE, format="WAV")
    rows = pandas.DataFrame({"clip": [file.getvalue()]})
    for _ in range(2):
        data = mm.data.from_table(rows, {"clip": clip}, audio_cache=tmp_path / "c")
        (row,) = data
        assert row["clip_present"] == 1.0 and not row["clip"].numpy().any()


def test_other_contracts_are_read_as_ever(folder, tmp_path):
    class Own(mm.audio.Waveform):
        def read_cell(self, cell):
            return np.full(self.tensor_shape, 0.123, "float32")

    rows = mm.data.from_table(
        table(folder), {"clip": Own(RATE, 0.25)}, audio_cache=tmp_path / "c"
    )
    assert np.float32(0.123) == next(iter(rows))["clip"][0]
    assert not (tmp_path / "c").exists()
