"""What both recipes of scenes share: the network for pictures, and how it trains."""

import keras
import numpy as np

import mmkeras as mm
from examples.scenes import scenes

UNITS = 64


def network(units=UNITS):
    """Four convolutions, to a map of 4 x 4 places."""
    image = x = keras.Input((scenes.SIZE, scenes.SIZE, 3))
    for i, (width, stride) in enumerate([(24, 2), (48, 2), (units, 2), (units, 1)]):
        conv = keras.layers.Conv2D(
            width, 3, stride, "same", use_bias=False, name=f"conv{i}"
        )
        norm = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{i}")
        x = keras.layers.ReLU(name=f"relu{i}")(norm(conv(x)))
    return keras.Model(image, x, name="network")


def question(vocabulary, units=UNITS):
    """A BERT of one layer from random weights, to tokens."""
    config = {"hidden_size": units, "intermediate_size": 2 * units}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 4}
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return mm.text.bert(
        config=config, vocabulary=vocabulary, length=14, weights=None, pooling=None
    )


def pretrain(model, made, epochs, eager=False):
    """Teaches a network which things are in a picture, without any words."""
    things = keras.layers.GlobalMaxPooling2D()(model.output)
    head = mm.heads.multilabel(len(scenes.COLOURS) * len(scenes.SHAPES))
    labelled = keras.Model(model.input, head.layer(things))
    labels = np.zeros((len(made), head.layer.units), "float32")
    there = made.colours * len(scenes.SHAPES) + made.shapes
    np.put_along_axis(labels, there, 1.0, axis=1)
    fit(
        labelled,
        made.pictures / np.float32(127.5) - 1,
        labels,
        head.loss,
        epochs,
        eager=eager,
    )


def fit(model, inputs, labels, loss, epochs=1, batch_size=128, eager=False):
    """Adam, warmed up, down to 0 along a cosine; `eager` is quicker for one step."""
    steps = epochs * -(-len(labels) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=min(200, steps // 10)
    )
    # one kernel a weight: Keras' own Adam takes half a minute to trace for so many
    model.compile(mm.transfer.Adam(rate), loss, jit_compile=False, run_eagerly=eager)
    model.fit(inputs, labels, batch_size=batch_size, epochs=epochs, verbose=0)


def answers(model, inputs):
    """What a model says to the inputs it has, logits."""
    given = {name: inputs[name] for name in model.input}
    return model.predict(given, batch_size=500, verbose=0)
