"""Recipes: flags and TOML give the same, and every mistake is named."""

import subprocess
import sys

import pytest

from mmkeras.run.recipe import (
    Source,
    apply_option,
    from_toml,
    from_values,
    parse_source,
)

TOML = """
table = "products.csv"
label = "kind"
out = "saved_models/products"
task = "classification"

[image.photo]
encoder = "resnet50"
size = [96, 96]
freeze = "conv4_block6_out"
column = "image_path"

[text.title]
encoder = "bert"
checkpoint = "folder"

[audio.clip]
encoder = "mfcc_cnn"
seconds = 1.5

[fusion]
name = "gated"
units = 64

[train]
epochs = 7
seed = 3
"""


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return str(path)


def test_toml(tmp_path):
    recipe = from_toml(write(tmp_path, TOML))
    assert (recipe.table, recipe.label, recipe.epochs) == ("products.csv", "kind", 7)
    assert recipe.fusion_options == {"units": 64}
    photo = recipe.sources["photo"]
    assert (photo.column, photo.freeze) == ("image_path", "conv4_block6_out")
    assert photo.options == {"size": [96, 96]}
    assert recipe.sources["title"].weights == "folder"
    assert recipe.sources["clip"].options == {"seconds": 1.5}


@pytest.mark.parametrize(
    "text, source",
    [
        ("photo=resnet50", Source("image", "resnet50")),
        ("photo=resnet50:none", Source("image", "resnet50", "none")),
        ("photo=a/b.keras", Source("image", "a/b.keras")),
        ("photo=hub:folder", Source("image", "hub:folder")),
    ],
)
def test_flags(text, source):
    assert parse_source("image", text) == ("photo", source)


def test_options_are_read_as_toml_where_they_can_be():
    recipe = from_values(
        {"table": "t", "label": "y"}, {"photo": Source("image", "resnet50")}
    )
    for text in ("photo.size=[96, 96]", "photo.pooling=max", "photo.freeze=true"):
        apply_option(recipe, text)
    apply_option(recipe, "fusion.units=64")
    assert recipe.sources["photo"].options == {"size": [96, 96], "pooling": "max"}
    assert recipe.sources["photo"].freeze is True
    assert recipe.fusion_options == {"units": 64}
    with pytest.raises(ValueError, match=r"\['fusion', 'photo'\]"):
        apply_option(recipe, "foto.size=3")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('label = "kind"', "", "key 'label' is missing"),
        ('task = "classification"', 'task = "clasification"', "'classification'"),
        ('out = "', 'outt = "', "Did you mean 'out'"),
        ('encoder = "resnet50"', "", "wants an `encoder`"),
        ("epochs = 7", "epochs = 0", "`epochs` wants 1 or more"),
        ("epochs = 7", "epochs = = 7", "not valid TOML"),
        ("epochs = 7", 'epochs = "7"', "`epochs` wants a value of type int"),
        ("epochs = 7", "epochs = true", "`epochs` wants a value of type int"),
        ("[image.photo]", '[image]\nphoto = "resnet50"\n[x]', "image.photo. wants a"),
    ],
)
def test_mistakes(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        from_toml(write(tmp_path, TOML.replace(old, new)))


def test_no_modalities():
    with pytest.raises(ValueError, match="at least one modality"):
        from_values({"table": "t", "label": "y"}, {})


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="no recipe file"):
        from_toml(str(tmp_path / "none.toml"))


def test_a_recipe_needs_no_tensorflow():
    code = (
        "import sys, mmkeras.run.recipe, mmkeras.cli;"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_class_weight_is_checked():
    from mmkeras.run.recipe import Recipe, Source

    sources = {"title": Source("text", "bert")}
    for good in (None, "balanced", {"a": 2.0}):
        Recipe("a.csv", "label", sources, class_weight=good)
    with pytest.raises(ValueError, match="`class_weight` wants 'balanced' or a table"):
        Recipe("a.csv", "label", sources, class_weight="equal")
    for task, says in (("multilabel", "positive_weights"), ("regression", "classes")):
        with pytest.raises(ValueError, match=f"class_weight.*{says}"):
            Recipe("a.csv", "label", sources, task=task, class_weight="balanced")
