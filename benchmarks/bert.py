"""BERT: ours against transformers' torch BertModel and keras_hub's BertBackbone.

Command: python benchmarks/bert.py --peers-python /path/to/python [--rounds 7]
    [--threads 1 2] [--shapes minilm base] [--minilm .cache/minilm] [--xla]

`--peers-python` is the Python of an environment with torch, transformers, safetensors,
keras_hub and TensorFlow; without it only ours is timed. Each library lives in a
process of its own with the same weights, ids (32 x 64, texts of 16 to 64 tokens) and
threads, and only one of them computes at a time: they take turns, round after round.

- forward: masked mean of the tokens. Keras `predict_on_batch`, torch under
  `inference_mode` (its default attention, sdpa).
- train step: forward with dropout 0.1, mean squared error, backward, AdamW on every
  weight: mm.transfer's for ours, Keras' for keras_hub, in `train_on_batch` (one
  compiled function); torch eager, with its AdamW as it comes and, on a line of its
  own, with `fused=True`.

keras_hub hard-codes the tanh approximation of GELU; here it is given the exact one, so
that all three compute the same: the largest difference of the features is printed.
Prints medians of wall and CPU milliseconds a call and the median (and range) of the
paired ratios peer / ours: over 1, ours is faster.

Seen on two cores shared with other work, one thread, CPU ratios (forward, train step):
MiniLM, 7 rounds: torch 1.00, 1.07 (fused AdamW 0.97), keras_hub 1.31, 1.24. Before ours
had mm.transfer's one-kernel AdamW: torch 0.98 (fused 0.90), and base, 3 rounds: torch
1.05, 1.07 (fused 0.97), keras_hub 1.16, 1.20. XLA: 1.25 and 1.05 times our own time.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import turns

BATCH, LENGTH, RATE = 32, 64, 1e-5
MINILM = Path(__file__).parent.parent / ".cache" / "minilm"
BASE = {
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
}
# keras_hub's layer, below `transformer_layer_{i}` -> tensor in the checkpoint
_HUB = {
    "_self_attention_layer.query_dense": "attention.self.query",
    "_self_attention_layer.key_dense": "attention.self.key",
    "_self_attention_layer.value_dense": "attention.self.value",
    "_self_attention_layer.output_dense": "attention.output.dense",
    "_self_attention_layer_norm": "attention.output.LayerNorm",
    "_feedforward_intermediate_dense": "intermediate.dense",
    "_feedforward_output_dense": "output.dense",
    "_feedforward_layer_norm": "output.LayerNorm",
}


# ---- the workers: each returns versions and {"forward": f, "train": f, ...}


def ours(folder, data, jit=False):
    import keras
    import tensorflow as tf

    import mmkeras as mm

    # ids come ready-made: the words behind them do not matter here
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    encoder = mm.text.bert(folder, length=LENGTH, vocabulary=words)
    encoder.compile(mm.transfer.AdamW(RATE), "mse", jit_compile=jit)
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    return versions, _keras_calls(encoder, data["ids"], data["target"])


def ours_xla(folder, data):
    return ours(folder, data, jit=True)


def keras_hub(folder, data):
    import keras
    import keras_hub
    from safetensors.numpy import load_file

    config = json.loads((Path(folder) / "config.json").read_text())
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        dropout=config["hidden_dropout_prob"],
        max_sequence_length=config["max_position_embeddings"],
    )
    _fill(backbone, load_file(Path(folder) / "model.safetensors"), config)
    # over the same masked mean as ours: shares of the tokens that are no padding
    mask = keras.ops.cast(backbone.input["padding_mask"], "float32")[:, :, None]
    share = mask / keras.ops.sum(mask, axis=1, keepdims=True)
    mean = keras.ops.sum(backbone.output["sequence_output"] * share, axis=1)
    model = keras.Model(backbone.input, mean)
    model.compile(keras.optimizers.AdamW(RATE), "mse", jit_compile=False)
    ids = data["ids"]
    inputs = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": (ids != 0).astype("int32"),
    }
    return f"keras_hub {keras_hub.__version__}", _keras_calls(
        model, inputs, data["target"]
    )


def _keras_calls(model, inputs, target):
    def forward():
        return model.predict_on_batch(inputs)

    def train():
        return model.train_on_batch(inputs, target)

    return {"forward": forward, "train": train}


def _fill(backbone, tensors, config):
    """Gives keras_hub's network the checkpoint's weights and the exact GELU."""
    import keras

    tensors = {key.removeprefix("bert."): value for key, value in tensors.items()}

    def assign(layer, name):
        values = [tensors[f"{name}.{kind}"] for kind in ("weight", "bias")]
        if not name.endswith("LayerNorm"):
            values[0] = values[0].T
        for variable, value in zip(layer.weights, values, strict=True):
            variable.assign(value.reshape(variable.shape))

    for layer, name in (
        ("token", "word"),
        ("position", "position"),
        ("segment", "token_type"),
    ):
        (table,) = backbone.get_layer(f"{layer}_embedding").weights
        table.assign(tensors[f"embeddings.{name}_embeddings.weight"])
    assign(backbone.get_layer("embeddings_layer_norm"), "embeddings.LayerNorm")
    assign(backbone.get_layer("pooled_dense"), "pooler.dense")
    for i in range(config["num_hidden_layers"]):
        block = backbone.get_layer(f"transformer_layer_{i}")
        for path, name in _HUB.items():
            layer = block
            for part in path.split("."):
                layer = getattr(layer, part)
            assign(layer, f"encoder.layer.{i}.{name}")
        dense = block._feedforward_intermediate_dense
        dense.activation = keras.activations.get("gelu")


def torch(folder, data):
    import torch
    import transformers

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    ids = torch.from_numpy(data["ids"]).long()
    mask = (ids != 0).long()
    target = torch.from_numpy(data["target"])
    share = (mask / mask.sum(1, keepdim=True))[:, :, None].float()

    def model():
        return transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)

    def feature(network):
        tokens = network(input_ids=ids, attention_mask=mask).last_hidden_state
        return (tokens * share).sum(1)

    still = model().eval()

    def forward():
        with torch.inference_mode():
            return feature(still).numpy()

    def trained(**options):
        network = model().train()
        optimizer = torch.optim.AdamW(network.parameters(), RATE, **options)

        def train():
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(feature(network), target)
            loss.backward()
            optimizer.step()
            return loss.item()

        return train

    attention = still.config._attn_implementation
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    calls = {
        "forward": forward,
        "train": trained(),
        "train, fused": trained(fused=True),
    }
    return f"{versions} ({attention})", calls


WORKERS = {"ours": ours, "ours, XLA": ours_xla, "torch": torch, "keras_hub": keras_hub}


def fill_folder(folder, shape, minilm):
    """Puts config.json, model.safetensors and data.npz there."""
    folder = Path(folder)
    if shape == "minilm":
        for name in ("config.json", "model.safetensors"):
            (folder / name).symlink_to(Path(minilm).resolve() / name)
        config = json.loads((folder / "config.json").read_text())
    else:
        from safetensors.numpy import save_file

        config = BASE
        (folder / "config.json").write_text(json.dumps(config))
        save_file(
            random_tensors(config), folder / "model.safetensors", {"format": "pt"}
        )
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, config["vocab_size"], (BATCH, LENGTH)).astype("int32")
    lengths = rng.integers(LENGTH // 4, LENGTH + 1, BATCH)
    ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    target = rng.standard_normal((BATCH, config["hidden_size"])).astype("float32")
    np.savez(folder / "data.npz", ids=ids, target=target)


def random_tensors(config):
    """A checkpoint of random weights in the Hugging Face layout."""
    rng = np.random.default_rng(0)
    width, inner = config["hidden_size"], config["intermediate_size"]
    tensors = {}

    def random(name, *shape):
        tensors[name] = 0.02 * rng.standard_normal(shape, "float32")

    def dense(name, rows, columns):
        random(f"{name}.weight", rows, columns)
        random(f"{name}.bias", rows)

    def norm(name):
        tensors[f"{name}.weight"] = np.ones(width, "float32")
        tensors[f"{name}.bias"] = np.zeros(width, "float32")

    random("embeddings.word_embeddings.weight", config["vocab_size"], width)
    for name, key in (
        ("position", "max_position_embeddings"),
        ("token_type", "type_vocab_size"),
    ):
        random(f"embeddings.{name}_embeddings.weight", config[key], width)
    norm("embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{block}.attention.{part}", width, width)
        norm(f"{block}.attention.output.LayerNorm")
        dense(f"{block}.intermediate.dense", inner, width)
        dense(f"{block}.output.dense", width, inner)
        norm(f"{block}.output.LayerNorm")
    dense("pooler.dense", width, width)
    return tensors


def compare(shape, threads, options):
    """Prints the table of one network at one number of threads."""
    pythons = {"ours": sys.executable}
    if options.xla:
        pythons["ours, XLA"] = sys.executable
    if options.peers_python:
        pythons |= dict.fromkeys(("torch", "keras_hub"), options.peers_python)
    with tempfile.TemporaryDirectory() as folder:
        fill_folder(folder, shape, options.minilm)
        workers, lines, seconds = turns.rounds(
            __file__, pythons, folder, threads, options
        )
        features = {x: np.load(Path(folder) / f"{x}.npy") for x in workers}
    print(
        f"\n{shape}, {BATCH} x {LENGTH}, {threads} thread(s), {options.rounds} rounds"
    )
    for name, worker in workers.items():
        apart = np.abs(features[name] - features["ours"]).max()
        print(f"  {name}: {worker.versions}; features {apart:.0e} from ours")
    turns.report(lines, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_options(parser, rounds=7)
    parser.add_argument("--shapes", nargs="+", default=["minilm", "base"])
    parser.add_argument("--minilm", default=MINILM, help="the checkpoint's folder")
    parser.add_argument("--xla", action="store_true", help="ours with jit_compile too")
    options = parser.parse_args()
    if options.worker:
        turns.work(WORKERS, options.worker, options.folder, options.threads[0])
        return
    for shape in options.shapes:
        for threads in options.threads:
            compare(shape, threads, options)


if __name__ == "__main__":
    main()
