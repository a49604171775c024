"""A tiny random BERT checkpoint and its forward pass in numpy, after the paper."""

import json

import numpy as np
from safetensors.numpy import save_file
from scipy.special import erf

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "cup", "hat", "##s"]
CONFIG = {
    "model_type": "bert",
    "vocab_size": 12,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
ACTIVATIONS = {
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu_new": lambda x: (
        x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    ),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def tensors(config=CONFIG, seed=0):
    """Random tensors under the names that transformers' BertModel gives them."""
    draw = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    found = {}

    def add(name, *shape):
        found[f"{name}.weight"] = draw.normal(size=shape).astype("float32")
        if "embeddings." not in name:
            found[f"{name}.bias"] = draw.normal(size=shape[0]).astype("float32")

    def norm(name):
        found[f"{name}.weight"] = draw.normal(1, 0.3, width).astype("float32")
        found[f"{name}.bias"] = draw.normal(size=width).astype("float32")

    add("embeddings.word_embeddings", config["vocab_size"], width)
    add("embeddings.position_embeddings", config["max_position_embeddings"], width)
    add("embeddings.token_type_embeddings", config["type_vocab_size"], width)
    norm("embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            add(f"{block}.attention.{part}", width, width)
        norm(f"{block}.attention.output.LayerNorm")
        add(f"{block}.intermediate.dense", inner, width)
        add(f"{block}.output.dense", width, inner)
        norm(f"{block}.output.LayerNorm")
    add("pooler.dense", width, width)
    return found


def forward(t, ids, config=CONFIG):
    """Tokens `(batch, length, dim)` and pooled `(batch, dim)`, in float64."""
    t = {name: value.astype("float64") for name, value in t.items()}
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]

    def dense(x, name):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
        return x * t[f"{name}.weight"] + t[f"{name}.bias"]

    def split(x):
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    e = "embeddings"
    x = t[f"{e}.word_embeddings.weight"][ids]
    x = x + t[f"{e}.position_embeddings.weight"][: ids.shape[1]]
    x = norm(x + t[f"{e}.token_type_embeddings.weight"][0], f"{e}.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        parts = ("query", "key", "value")
        q, k, v = (split(dense(x, f"{block}.attention.self.{p}")) for p in parts)
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        scores = np.where((ids != 0)[:, None, None, :], scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        y = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3)
        y = dense(y.reshape(x.shape), f"{block}.attention.output.dense")
        x = norm(x + y, f"{block}.attention.output.LayerNorm")
        y = dense(x, f"{block}.intermediate.dense")
        y = dense(ACTIVATIONS[config["hidden_act"]](y), f"{block}.output.dense")
        x = norm(x + y, f"{block}.output.LayerNorm")
    return x, np.tanh(dense(x[:, 0], "pooler.dense"))


def folder(path, found=None, config=CONFIG, shards=1):
    """Writes a checkpoint folder; returns its path as a string."""
    path.mkdir(exist_ok=True)
    found = tensors(config) if found is None else found
    (path / "config.json").write_text(json.dumps(config))
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    names = sorted(found)
    for i in range(shards):
        part = {name: found[name] for name in names[i::shards]}
        end = f"-{i + 1:05}-of-{shards:05}" if shards > 1 else ""
        save_file(part, path / f"model{end}.safetensors")
    return str(path)


#: texts and their ids in a network of length 8, by hand
TEXTS = ["a red cup", "blue hats blue hats blue", "x", "a a a a a a a a"]
IDS = np.array(
    [
        [2, 4, 5, 7, 3, 0, 0, 0],
        [2, 6, 8, 9, 6, 8, 9, 3],
        [2, 1, 3, 0, 0, 0, 0, 0],
        [2, 4, 4, 4, 4, 4, 4, 3],
    ]
)
