"""Every fenced block of the README and of docs/ runs, in order, on real files.

Nothing here reaches a model hub: the folder "bert-base-uncased" holds a small BERT
with random weights, and resnet50 starts from random weights at a small size; in shell
commands and on the pages of docs/, which trace many fits, a network of two layers
stands in for it.
"""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.run import demo, demo_data

ROOT = Path(__file__).parent.parent
ROWS = {"train": 48, "val": 12, "test": 12}
PAGES = ("README.md", *sorted(f"docs/{x.name}" for x in (ROOT / "docs").glob("*.md")))
BLOCKS = {
    page: re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    for page in PAGES
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder as a user's: products.csv, photos, sounds and a checkpoint."""
    folder = tmp_path_factory.mktemp("shop")
    table = pandas.read_csv(demo_data.write(folder, ROWS, seed=0))
    table.to_csv(folder / "products.csv", index=False)
    (folder / "photos").mkdir()
    photo = table.photo.dropna().iloc[0]
    (folder / "photos/0.png").write_bytes((folder / photo).read_bytes())
    checkpoint(folder / "bert-base-uncased", table.title.dropna())
    return folder


def checkpoint(folder, sentences):
    """A small BERT in the Hugging Face layout, with random weights."""
    import json

    from safetensors.numpy import save_file

    folder.mkdir()
    words = mm.text.wordpiece_vocabulary(list(sentences), size=300)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    wide, inner = 16, 32
    config = {
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": wide,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {
        "embeddings.word_embeddings.weight": (len(words), wide),
        "embeddings.position_embeddings.weight": (64, wide),
        "embeddings.token_type_embeddings.weight": (2, wide),
        "pooler.dense.weight": (wide, wide),
        "pooler.dense.bias": (wide,),
    }
    layer = "encoder.layer.0."
    for name, (rows, columns) in {
        "attention.self.query": (wide, wide),
        "attention.self.key": (wide, wide),
        "attention.self.value": (wide, wide),
        "attention.output.dense": (wide, wide),
        "intermediate.dense": (inner, wide),
        "output.dense": (wide, inner),
    }.items():
        shapes[f"{layer}{name}.weight"] = (rows, columns)
        shapes[f"{layer}{name}.bias"] = (rows,)
    for norm in ("embeddings", f"{layer}attention.output", f"{layer}output"):
        shapes[f"{norm}.LayerNorm.weight"] = shapes[f"{norm}.LayerNorm.bias"] = (wide,)
    rng = np.random.default_rng(0)
    tensors = {k: rng.normal(0, 0.1, s).astype("float32") for k, s in shapes.items()}
    save_file(tensors, folder / "model.safetensors")


def make_target(line):
    """A make command names a target of the Makefile; CI runs `make test` itself."""
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True)
    assert done.returncode == 0


@pytest.mark.slow
# Keras 3.15 says so of every tf.data.Dataset that fit takes, shuffled or not
@pytest.mark.filterwarnings("ignore:.*shuffle=True.* was passed:UserWarning")
@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page, shop, monkeypatch, capsys):
    monkeypatch.chdir(shop)
    original = mm.image.resnet50

    def small(**options):
        return demo.small_cnn(demo_data.SIZE)

    def untrained(**options):
        return original(**{**options, "weights": None, "size": (32, 32)})

    names = {}  # a page's blocks go on from one another
    for language, block in BLOCKS[page]:
        whole = language == "python" and page == "README.md"
        monkeypatch.setattr(mm.image, "resnet50", untrained if whole else small)
        if language == "python":
            exec(compile(fewer_epochs(block), page, "exec"), names)
            continue
        for line in block.splitlines():
            if line.startswith("make "):
                make_target(line)
            elif line.startswith("mmkeras "):
                arguments = shlex.split(line)[1:]
                if arguments[0] == "train":
                    arguments += ["--epochs", "1"]
                assert cli.main(arguments) == 0, capsys.readouterr().err
    if page == "README.md":
        assert "class" in pandas.read_csv(shop / "predictions.csv").columns


def fewer_epochs(block):
    """The same block in a third of the time: it is run, not measured, here."""
    return re.sub(r"epochs=\d+", "epochs=2", block)


def test_there_are_blocks():
    languages = {x for x, _ in BLOCKS["README.md"]}
    assert languages == {"bash", "python"} and len(BLOCKS["README.md"]) >= 4
    assert all(BLOCKS.values()) and len(PAGES) > 1
