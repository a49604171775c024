"""`mmkeras report` on small files: a page that stands alone, and what it leaves out."""

import base64
import html.parser
import json
import re

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.run import build, demo, demo_data
from mmkeras.run import report as reports

HOSTILE = '<script>alert("x")</script> & <img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br", "link", "input"}
FEW = ["--robustness-rows", "8", "--bootstrap", "20"]


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects what is in them."""

    def __init__(self, path):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    def all(self, tag):
        return [x for name, x in self.found if name == tag]

    def titles(self):
        return [x for x in "".join(self.text).splitlines() if x]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Pictures, captions and sounds; some weights, and a recipe beside them."""
    folder = tmp_path_factory.mktemp("run")
    place = demo_data.write(folder / "data", {"train": 24, "test": 24}, seed=1)
    table = pandas.read_csv(place)
    test = table.index[table.split == "test"]
    table.loc[test[0], "title"] = HOSTILE
    table["shop"] = np.where(table.index % 2, "<b>bold</b>", "plain")
    table.to_csv(place, index=False)
    keras.utils.set_random_seed(3)
    sources = demo.recipe_of(place, folder).sources
    encoders = {
        name: build.encoder(name, x, list(table.title.dropna()))
        for name, x in sources.items()
    }
    head = mm.heads.classification(list(demo_data.CLASSES))
    model = mm.multimodal(encoders, mm.fusion.GatedFusion(16), head.layer)
    model.save(folder / "model.keras")
    recipe = {"label": "label", "split": "split", "table": HOSTILE}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder, place


@pytest.fixture(scope="module")
def made(trained):
    folder, place = trained
    out = folder / "report"
    words = ["report", str(folder), str(place), "--part", "test", "--out", str(out)]
    assert cli.main([*words, *FEW, "--worst", "24", "--examples", "0"]) == 0
    return out, Page(out / "report.html")


def test_nothing_comes_from_elsewhere(made):
    _, page = made
    for tag, attributes in page.found:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for key in ("src", "href"):
            value = attributes.get(key) or "#"
            assert value.startswith(("data:image/", "data:audio/", "#"))
        assert not [x for x in attributes if x.startswith("on")]
    text = (made[0] / "report.html").read_text()
    assert not re.search(r"@import|url\(", text)


def test_every_figure_is_in_the_page_with_words_for_it(made):
    out, page = made
    held = {
        base64.b64decode(x["src"].partition(",")[2]): x["alt"] for x in page.all("img")
    }
    assert all(held.values())
    drawn = {x.name: x.read_bytes() for x in out.glob("*.png")}
    assert set(drawn) == {
        "subset_scores.png",
        "contributions.png",
        "confusion_matrix.png",
        "reliability.png",
        "robustness.png",
        "embedding_map.png",
    }
    assert not set(drawn.values()) - set(held)


def test_all_sections_are_there_and_linked(made):
    out, page = made
    links = [x["href"] for x in page.all("a") if x["href"].startswith("#")]
    anchors = [f"#{x['id']}" for x in page.all("section")]
    asked = [title for title, _ in reports.SECTIONS[:-1]]  # no examples
    assert links == anchors and len(links) == len(asked)
    text = "".join(page.text)
    for title in asked:
        assert title in text
    assert "could not be made" not in text
    for name in ("photo", "title", "clip"):
        assert re.search(rf"\n{name} (earns|could|does|adds)", text)


def test_captions_pictures_and_sounds_of_the_worst_rows(made, trained):
    out, page = made
    assert HOSTILE in "".join(page.text) and "<b>bold</b>" in "".join(page.text)
    frame = pandas.read_csv(trained[1]).query("split == 'test'")
    root = trained[1].parent
    sounds = [base64.b64decode(x["src"].partition(",")[2]) for x in page.all("audio")]
    assert sorted(sounds) == sorted(
        (root / x).read_bytes() for x in frame["clip"].dropna()
    )
    small = [x for x in page.all("img") if x["src"].startswith("data:image/jpeg")]
    assert sorted(x["alt"] for x in small) == sorted(frame.photo.dropna())


def test_tables_agree_with_each_other(made):
    out, _ = made
    errors, scores = (pandas.read_csv(out / f"{x}.csv") for x in ("errors", "scores"))
    accuracy = (errors["true"] == errors["predicted"]).mean()
    assert scores["accuracy"].iloc[-1] == pytest.approx(accuracy)
    assert list(errors["loss"]) == sorted(errors["loss"], reverse=True)
    slices = pandas.read_csv(out / "slices.csv")
    shop = slices[slices.column == "shop"].set_index("value")
    plain = errors[errors["shop"] == "plain"]
    assert shop.accuracy["plain"] == pytest.approx(
        (plain["true"] == plain["predicted"]).mean()
    )
    matrix = pandas.read_csv(out / "confusion_matrix.csv", index_col=0)
    assert np.trace(matrix.to_numpy()) == round(accuracy * 24)


@pytest.mark.slow
def test_answers_are_attributed(trained, tmp_path):
    folder, place = trained
    few = ["--robustness-rows", "0", "--bootstrap", "0", "--examples", "2"]
    words = ["report", str(folder), str(place), "--part", "test", *few]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    text = "".join(Page(tmp_path / "out/report.html").text)
    assert "What single answers come from" in text and "Robustness" not in text
    assert "could not be made" not in text
    rows = pandas.read_csv(tmp_path / "out/attributions.csv")
    named = re.findall(r"Row \d+: true (\S+), predicted (\S+)", text)
    assert [x for _, x in named] == list(rows["class"])
    # the first example is the worst row
    worst = pandas.read_csv(tmp_path / "out/errors.csv").iloc[0]
    assert named[0] == (worst["true"], worst["predicted"])


@pytest.fixture
def numbers(tmp_path):
    """A regression on one table: most sections do not apply."""
    rng = np.random.default_rng(0)
    size = rng.normal(50, 10, 40)
    frame = pandas.DataFrame({"size": size, "price": 2 * size})
    frame.to_csv(tmp_path / "table.csv", index=False)
    columns = mm.tabular.Columns({"size": (50, 10)})
    encoder = mm.tabular.mlp(columns, units=2)
    head = mm.heads.regression()
    model = mm.multimodal({"facts": encoder}, mm.fusion.Concat(), head.layer)
    model.save(tmp_path / "flat.keras")
    return tmp_path, [str(tmp_path / x) for x in ("flat.keras", "table.csv")]


def test_what_does_not_apply_is_left_out_and_what_fails_is_named(
    numbers, capsys, monkeypatch
):
    folder, words = numbers

    def broken(job):
        raise KeyError("<oh>")

    chosen = [(x, broken if x == "Robustness" else y) for x, y in reports.SECTIONS]
    monkeypatch.setattr(reports, "SECTIONS", chosen)
    out = folder / "out"
    words = ["report", *words, "--out", str(out), "--label", "price", *FEW]
    words += ["--examples", "0"]
    assert cli.main(words) == 0
    told = capsys.readouterr()
    assert "Not made: Robustness (KeyError: '<oh>')" in told.out
    assert "Robustness: not made" in told.err
    text = "".join(Page(out / "report.html").text)
    assert "This section could not be made. KeyError: '<oh>'" in text
    assert "Mean absolute error" in text and "Slices" in text
    drawn = {x.name for x in out.glob("*.png")}
    assert drawn == {"subset_scores.png", "embedding_map.png"}
    for left_out in ("Classes", "Calibration", "Does each modality"):
        assert left_out not in text


def test_a_table_without_the_label_ends_the_run(numbers, capsys):
    folder, words = numbers
    out = folder / "none"
    assert cli.main(["report", *words, "--out", str(out)]) == 2
    assert "`label` is unknown" in capsys.readouterr().err
    assert not out.exists()
