"""BERT as a plain Keras graph that reads Hugging Face checkpoints.

Devlin et al. 2018, arXiv:1810.04805; DistilBERT: Sanh et al. 2019, arXiv:1910.01108.
"""

import keras
from keras import layers

from mmkeras import modality
from mmkeras.dropout import Dropout
from mmkeras.text import checkpoint as files
from mmkeras.text.augment import augmented
from mmkeras.text.layers import (
    AttentionValues,
    AttentionWeights,
    FirstToken,
    MaskBias,
    MaskedMean,
    PaddingMask,
    Row,
    Sum,
    TokenDense,
    TokenNorm,
)
from mmkeras.text.token_ids import TokenIds

POOLINGS = ("mean", "cls", "pooler", None)


@keras.saving.register_keras_serializable("mmkeras")
def gelu_tanh(x):
    """GELU by its tanh approximation: "gelu_new" in checkpoints."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable("mmkeras")
def gelu_erf(x):
    """The exact GELU in the form that TensorFlow fuses; Keras' own takes twice as long.

    x / 2 (1 + erf(x / sqrt(2))).
    """
    return 0.5 * x * (1.0 + keras.ops.erf(x * 0.5**0.5))


# hidden_act of config.json -> activation; "gelu" is the exact one
_ACTIVATIONS = {
    "gelu": gelu_erf,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# what BERT's config.json means where it is silent
_DEFAULTS = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}
# DistilBERT's words for the same things
_DISTILBERT = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
# our layer -> tensor in the checkpoint, by model_type; {i} is the number of the block
_EMBEDDINGS = {
    "embeddings_word": "embeddings.word_embeddings",
    "embeddings_position": "embeddings.position_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
}
_TENSORS = {
    "bert": {
        **_EMBEDDINGS,
        "embeddings_token_type": "embeddings.token_type_embeddings",
        "layer_{i}_attention_query": "encoder.layer.{i}.attention.self.query",
        "layer_{i}_attention_key": "encoder.layer.{i}.attention.self.key",
        "layer_{i}_attention_value": "encoder.layer.{i}.attention.self.value",
        "layer_{i}_attention_output": "encoder.layer.{i}.attention.output.dense",
        "layer_{i}_attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
        "layer_{i}_intermediate": "encoder.layer.{i}.intermediate.dense",
        "layer_{i}_output": "encoder.layer.{i}.output.dense",
        "layer_{i}_output_norm": "encoder.layer.{i}.output.LayerNorm",
        "pooler": "pooler.dense",
    },
    "distilbert": {
        **_EMBEDDINGS,
        "layer_{i}_attention_query": "transformer.layer.{i}.attention.q_lin",
        "layer_{i}_attention_key": "transformer.layer.{i}.attention.k_lin",
        "layer_{i}_attention_value": "transformer.layer.{i}.attention.v_lin",
        "layer_{i}_attention_output": "transformer.layer.{i}.attention.out_lin",
        "layer_{i}_attention_norm": "transformer.layer.{i}.sa_layer_norm",
        "layer_{i}_intermediate": "transformer.layer.{i}.ffn.lin1",
        "layer_{i}_output": "transformer.layer.{i}.ffn.lin2",
        "layer_{i}_output_norm": "transformer.layer.{i}.output_layer_norm",
    },
}
# RoBERTa with a WordPiece vocabulary: the same graph, positions after the padding id
_TENSORS["roberta"] = _TENSORS["bert"]


def bert(
    checkpoint=None,
    length=64,
    pooling="mean",
    weights=True,
    config=None,
    vocabulary=None,
    augment=None,
    name="bert",
):
    """A BERT, DistilBERT or RoBERTa encoder: ids to features, a plain functional model.

    The attention mask comes from the padding id, all tokens are of type 0. Layers are
    called `embeddings_word`, `layer_0_attention_query`, ..., `layer_5_output_norm`,
    `pooler`. Dropout rests while frozen.

    Example:
    >>> vocabulary = mmkeras.text.wordpiece_vocabulary(["a red cup", "a blue hat"])
    >>> config = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    >>> config["intermediate_size"] = 16
    >>> encoder = mmkeras.text.bert(
    ...     config=config, vocabulary=vocabulary, length=16, weights=None
    ... )
    >>> encoder(encoder.get_layer("token_ids").read(["a red cup"])).shape
    TensorShape([1, 8])

    Args:
        checkpoint: path of a folder with config.json, model.safetensors and
            tokenizer.json or vocab.txt (WordPiece: a RoBERTa with byte pairs has no
            words to look up in the graph and is refused); or a name on the hub, such as
            "google-bert/bert-base-uncased". None with `config` and `weights=None`.
        length: Integer, ids a text, at most the checkpoint's
            `max_position_embeddings` (RoBERTa: less its first positions).
        pooling: "mean" (of the tokens that are no padding), "cls" (the first token),
            "pooler" (the checkpoint's own, a Dense with tanh on the first token) or
            None (tokens and mask).
        weights: True for the checkpoint's, None for random ones.
        config: dict, in place of the checkpoint's config.json.
        vocabulary: sequence of tokens, in place of the checkpoint's; lower case.
        augment: optional `WordDropout` or `TokenMasking`, or list of them; they act in
            training alone.
        name: String.

    Returns:
        `keras.Model`, int32 ids `(batch, length)` to a feature `(batch, hidden_size)`;
        to {"tokens": `(batch, length, hidden_size)`, "mask": `(batch, length)`} with
        `pooling=None`.

    Raises:
        ValueError: no checkpoint there, config.json or tensors missing, another kind of
            model, `length` too large, unknown `pooling`.
    """
    _check(pooling, "pooling", POOLINGS)
    _check(weights, "weights", (True, None))
    if checkpoint is None and (config is None or vocabulary is None or weights):
        raise ValueError(
            "`bert` without `checkpoint` wants `config`, `vocabulary` and "
            f"`weights=None`. Received: config={config}, vocabulary="
            f"{'given' if vocabulary else vocabulary}, weights={weights}."
        )
    folder = None if checkpoint is None else files.find(checkpoint)
    config = files.read_config(folder) if config is None else config
    if vocabulary is None:
        contract = TokenIds.from_checkpoint(folder, length, name="token_ids")
    else:
        contract = TokenIds(vocabulary, length, name="token_ids")
    config = _settings(config, contract)
    model = _graph(config, contract, pooling, augment, name)
    if weights:
        kind = config["model_type"]
        names = {
            layer.format(i=i): tensor.format(i=i)
            for layer, tensor in _TENSORS[kind].items()
            for i in range(config["num_hidden_layers"])
        }
        if pooling != "pooler":
            names.pop("pooler", None)
        files.load_weights(model, folder, names, f"{kind}.")
    return model


def _check(value, argument, valid):
    if value not in valid:
        raise ValueError(
            f"`{argument}` wants one of {list(valid)}. Received: {argument}={value!r}"
        )


def _settings(config, contract):
    """A config.json's content under BERT's names, checked."""
    kind = config.get("model_type", "bert")
    _check(kind, "model_type", tuple(_TENSORS))
    if kind == "distilbert":
        config = {_DISTILBERT.get(key, key): value for key, value in config.items()}
        config["type_vocab_size"] = 0
    config = {"vocab_size": len(contract.vocabulary), **_DEFAULTS, **config}
    config["model_type"] = kind
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    missing = [x for x in (*sizes, "intermediate_size") if x not in config]
    if missing:
        raise ValueError(
            f"`config` wants the sizes of a {kind} network. Received: {sorted(config)} "
            f"without {missing}."
        )
    _check(config["hidden_act"], "hidden_act", tuple(_ACTIVATIONS))
    embedding = config.get("position_embedding_type") or "absolute"
    _check(embedding, "position_embedding_type", ("absolute",))
    # RoBERTa counts positions from behind the padding id
    first = config.get("pad_token_id", 1) + 1 if kind == "roberta" else 0
    config["first_position"] = first
    longest = config["max_position_embeddings"] - first
    if contract.length > longest:
        raise ValueError(
            f"`length` wants at most {longest}, the checkpoint's "
            f"max_position_embeddings. Received: length={contract.length}"
        )
    if len(contract.vocabulary) > config["vocab_size"]:
        raise ValueError(
            f"`vocabulary` wants at most {config['vocab_size']} tokens, the config's "
            f"vocab_size. Received: {len(contract.vocabulary)} tokens."
        )
    return config


def _graph(config, contract, pooling, augment, name):
    width = config["hidden_size"]
    inputs = modality.tensor_input(contract, "text")
    ids = augmented(contract(inputs), augment, contract.vocabulary)
    mask = PaddingMask(contract.padding_id, name="mask")(ids)
    bias = MaskBias(name="mask_bias")(mask)
    x = _embeddings(ids, config, contract.length)
    for i in range(config["num_hidden_layers"]):
        x = _block(x, bias, config, f"layer_{i}")
    if pooling is None:
        outputs = {"tokens": x, "mask": mask}
    elif pooling == "mean":
        outputs = MaskedMean(name="mean")(x, mask)
    else:
        outputs = FirstToken(name="cls")(x)
    if pooling == "pooler":
        outputs = _dense(config, width, "pooler", "tanh", layers.Dense)(outputs)
    return keras.Model(inputs, outputs, name=name)


def _embeddings(ids, config, length):
    def embedding(size, what):
        return layers.Embedding(
            size,
            config["hidden_size"],
            embeddings_initializer=_random(config),
            name=f"embeddings_{what}",
        )

    first = config["first_position"]
    places = range(first, first + length)
    position = Row(places, name="embeddings_position_ids")(ids)
    parts = [
        embedding(config["vocab_size"], "word")(ids),
        embedding(config["max_position_embeddings"], "position")(position),
    ]
    if config["type_vocab_size"]:
        kind = Row([0], name="embeddings_token_type_ids")(ids)
        parts.append(embedding(config["type_vocab_size"], "token_type")(kind))
    x = Sum(name="embeddings_sum")(parts)
    x = _norm(config, "embeddings_norm")(x)
    return Dropout(config["hidden_dropout_prob"], name="embeddings_dropout")(x)


def _block(x, bias, config, name):
    """One transformer block: attention, then two dense layers, each with a shortcut."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    rate = config["hidden_dropout_prob"]
    query, key, value = (
        _dense(config, width, f"{name}_attention_{part}")(x)
        for part in ("query", "key", "value")
    )
    weights = AttentionWeights(heads, name=f"{name}_attention_weights")(
        query, key, bias
    )
    weights = Dropout(
        config["attention_probs_dropout_prob"], name=f"{name}_attention_dropout"
    )(weights)
    y = AttentionValues(heads, name=f"{name}_attention_values")(weights, value)
    y = _dense(config, width, f"{name}_attention_output")(y)
    y = Dropout(rate, name=f"{name}_attention_output_dropout")(y)
    x = _norm(config, f"{name}_attention_norm")(
        Sum(name=f"{name}_attention_sum")([x, y])
    )
    y = _dense(
        config,
        config["intermediate_size"],
        f"{name}_intermediate",
        activation=_ACTIVATIONS[config["hidden_act"]],
    )(x)
    y = _dense(config, width, f"{name}_output")(y)
    y = Dropout(rate, name=f"{name}_output_dropout")(y)
    return _norm(config, f"{name}_output_norm")(Sum(name=f"{name}_output_sum")([x, y]))


def _random(config):
    return keras.initializers.TruncatedNormal(stddev=config["initializer_range"])


def _dense(config, units, name, activation=None, kind=TokenDense):
    return kind(
        units, activation=activation, kernel_initializer=_random(config), name=name
    )


def _norm(config, name):
    return TokenNorm(epsilon=config["layer_norm_eps"], name=name)
