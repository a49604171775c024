"""Pieces of a page: escaped, whole, and cells as pictures and sounds."""

import base64
import io
import re
import wave

import numpy as np
import pandas
import pytest

from mmkeras.analysis.pages import html, media
from mmkeras.analysis.pages.html import Markup

HOSTILE = """<script>'"&</script>"""


def test_everything_is_escaped_once():
    frame = pandas.DataFrame(
        {HOSTILE: [HOSTILE, 1.0], "made": [Markup("<b>x</b>"), None]},
        index=pandas.Index([HOSTILE, "b"], name=HOSTILE),
    )
    parts = [HOSTILE, html.table(frame), html.listing([HOSTILE]), html.heading(HOSTILE)]
    page = html.page(HOSTILE, [HOSTILE], [html.Section(HOSTILE, parts)])
    assert "<script" not in page and "&amp;lt;" not in page
    assert (
        page.count("&lt;script&gt;&#x27;&quot;&amp;&lt;/script&gt;") == 12
    )  # 6 on the page, 4 in the table
    assert "<b>x</b>" in page and "None" not in page


def test_what_utf8_cannot_hold_is_replaced():
    page = html.page("a\ud800\x00b", [], [])
    assert "a\ufffd\ufffdb" in page and page.encode()


def test_numbers_stand_right_and_flags_do_not():
    frame = pandas.DataFrame({"n": [3], "x": [0.12345], "yes": [np.True_], "t": [1e-5]})
    text = str(html.table(frame))
    assert '<td class="number">3</td><td class="number">0.123</td><td>True</td>' in text
    assert "1e-05" in text


def test_sections_of_one_title_have_links_of_their_own():
    page = html.page("t", [], [html.Section("Same", []), html.Section("Same", [])])
    assert re.findall(r'href="#(\S+)"', page) == re.findall(r'section id="(\S+)"', page)
    assert len(set(re.findall(r'section id="(\S+)"', page))) == 2


def shown(*given, **options):
    return str(media.cell(*given, **options))


def sound(seconds=0.1):
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0" * int(16000 * seconds))
    return written.getvalue()


def test_sounds_stand_in_the_page_up_to_a_size(tmp_path):
    path = tmp_path / 'a "b" <c>#1?.wav'
    path.write_bytes(sound())
    made = shown(str(path), "audio", "<clip>", tmp_path)
    held = re.search(r'src="data:audio/wav;base64,([^"]+)"', made)[1]
    assert base64.b64decode(held) == sound() and "controls" in made
    assert 'aria-label="&lt;clip&gt;"' in made
    linked = shown(str(path), "audio", "<clip>", tmp_path / "out", cap=100)
    name = "../a%20%22b%22%20%3Cc%3E%231%3F.wav"
    assert linked == f'<a href="./{name}">&lt;clip&gt;</a>'
    assert shown(sound(), "audio", sound(), tmp_path, cap=100) == "1644 bytes"


def test_pictures_are_made_small_on_white(tmp_path):
    from PIL import Image

    Image.new("RGBA", (400, 200), (255, 0, 0, 0)).save(tmp_path / "x.png")
    made = shown(str(tmp_path / "x.png"), "image", "x.png", tmp_path)
    held = re.search(r'src="data:image/jpeg;base64,([^"]+)"', made)[1]
    small = Image.open(io.BytesIO(base64.b64decode(held)))
    assert small.size == (media.SIDE, media.SIDE // 2)
    assert np.asarray(small).min() > 250  # nothing of it is to be seen


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_what_cannot_be_shown_is_named(kind, tmp_path):
    (tmp_path / "secret.txt").write_text("root:x:0:0")
    made = shown(str(tmp_path / "secret.txt"), kind, "<a>", tmp_path)
    assert made == '<a href="./secret.txt">&lt;a&gt;</a>'
    for value in ("javascript:alert(1)", "https://a.b/c.png", "no\0where", b"abc"):
        made = shown(value, kind, value, tmp_path)
        assert "<" not in made and "href" not in made
    assert shown(None, kind, "", tmp_path) == "<em>absent</em>"
