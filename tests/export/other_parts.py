"""A tiny model of every part that is no supervised fusion, and raw rows for it."""

import keras
import numpy as np

import mmkeras as mm
from mmkeras.modality import tensor_input
from tests.export import parts

SIDE = 32
SENTENCES = ["a red cup", "the blue hat!", "", "two red hats", "a cup", "Blue."]
WORDS = mm.text.wordpiece_vocabulary([x for x in SENTENCES if x])
CLASSES = ["cup", "hat", "other"]
NAMES = ["frog", "penguin", "spider"]
OBJECTS = ["frog", "penguin;spider", "unicorn", "", "spider;frog", "penguin"]


def raw():
    """Raw values by modality, "" where absent; of each kind one at least is."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), "uint8")
    photos = [parts.png(x) for x in pixels]
    photos[1] = b""
    texts = {"title": SENTENCES, "object": OBJECTS}
    encoded = {name: [x.encode() for x in rows] for name, rows in texts.items()}
    return {"photo": photos, **encoded}


def rows(model):
    """A model's own raw values, and the tensors that its contracts make of them."""
    values, readers, tensors = raw(), mm.readers(model), {}
    for name, contract in readers.items():
        tensors[name] = np.asarray(contract.read(values[name]))
        tensors[f"{name}_present"] = np.asarray(contract.presence(values[name]))
    return {name: values[name] for name in readers}, tensors


def photo(units=6):
    """A small network of pictures, with two maps for a U-Net."""
    image = x = keras.Input((SIDE, SIDE, 3))
    for i, width in enumerate((4, units)):
        x = keras.layers.Conv2D(width, 3, 4, "same", name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{i}")(x)
        x = keras.layers.ReLU(name=f"relu{i}")(x)
    return mm.image.from_model(keras.Model(image, x), scaling="tf")


def title(units=5):
    return mm.text.embedding_mean(WORDS, length=8, units=units)


def words():
    """Sentences as tokens, by attention."""
    config = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    config["intermediate_size"] = 4
    options = {"weights": None, "pooling": None, "length": 8}
    return mm.text.bert(config=config, vocabulary=WORDS, **options)


def supervised(encoders=None, fusion=None, head=None):
    encoders = encoders or {"photo": photo(), "title": title()}
    head = head or mm.heads.classification(CLASSES).layer
    return mm.multimodal(encoders, fusion or mm.fusion.GatedFusion(8), head)


def everything():
    """Classical features, entities of a graph, and several heads, after training.

    Colours and gradients behind PCA, TF-IDF behind LDA, and both sides of a CCA.
    """
    pictures = mm.classic.picture(size=SIDE, bins=2, cell=8, standardize=True)
    texts = mm.classic.tfidf([x for x in SENTENCES if x], length=12)
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(30, pictures.output_shape[-1]))
    said = rng.normal(size=(30, texts.output_shape[-1]))
    pictures.get_layer("standardize").adapt(seen)
    pca, lda = mm.classic.PCA(3, name="pca"), mm.classic.LDA(2, 0.5, name="lda")
    pca.adapt(seen)
    lda.adapt(said, np.arange(30) % 3)
    cca = mm.classic.CCA(["photo", "title"], 2, regularization=0.5)
    cca.adapt({"photo": seen, "title": said})
    encoders = {
        "photo": _behind(pictures, pca, cca.side("photo")),
        "title": _behind(texts, lda, cca.side("title")),
        "object": mm.graph.encoder(NAMES, rng.normal(size=(3, 4))),
    }
    model = supervised(encoders, mm.fusion.Concat(), heads().layer)
    mm.balance.uncertainty(model)(rows(model)[1], training=True)
    return model


def _behind(encoder, *layers):
    x = encoder.output
    joined = keras.layers.Concatenate()([layer(x) for layer in layers])
    return keras.Model(encoder.input, joined)


def two_tower(loss=None, **options):
    encoders = {"photo": photo(), "title": title()}
    made = mm.two_tower(encoders, 4, loss=loss, **options)
    made(rows(made)[1], training=True)  # a memory of negatives fills
    return made


def zero_shot():
    return mm.retrieval.zero_shot(two_tower(), CLASSES, "photo", "title")


def joint():
    """SigLIP's encoder of pictures and CLIP's of text, which reads in the graph."""
    return supervised({"photo": siglip()["image"], "title": clip()["text"]})


def pieces():
    """The other two: SigLIP's text is read in Python, and not exported."""
    return supervised({"photo": clip()["image"], "title": siglip()["text"]})


SIZES = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "intermediate_dim": 8}
SEEN = {"patch_size": 8, "image_shape": (SIDE, SIDE, 3), **SIZES}
SAID = {"embedding_dim": 8, "max_sequence_length": 20, **SIZES}


def clip():
    """keras_hub's network with random weights, as `mmkeras.retrieval` gives it."""
    from keras_hub import models

    from tests import joint_tokenizers

    tokenizer = joint_tokenizers.clip()
    seen = models.CLIPVisionEncoder(**SEEN)
    said = models.CLIPTextEncoder(tokenizer.vocabulary_size(), **SAID)
    backbone = models.CLIPBackbone(seen, said, projection_dim=6)
    # as its checkpoints hold it; keras_hub begins with zeros
    places = backbone.vision_encoder.embedding.position_ids
    places.assign(np.arange(places.shape[1])[None])
    return mm.retrieval.clip(backbone, tokenizer)


def siglip():
    """As `clip`."""
    from keras_hub import models

    from tests import joint_tokenizers

    tokenizer = joint_tokenizers.siglip([x for x in SENTENCES if x])
    seen = models.SigLIPVisionEncoder(**SEEN)
    said = models.SigLIPTextEncoder(tokenizer.vocabulary_size(), **SAID)
    return mm.retrieval.siglip(models.SigLIPBackbone(seen, said), tokenizer)


def student():
    """What is left when a teacher of both modalities has gone."""
    teacher, made = supervised(), supervised({"photo": photo()})
    both = mm.distillation.distiller(teacher, made, features=1.0, relations=1.0)
    both(rows(teacher)[1], training=True)
    return made


def pretrained():
    """The model whose fusion `masked_modality` trained."""
    model = supervised()
    training = mm.pretraining.masked_modality(model)
    training(rows(model)[1], training=True)
    return model


def masked():
    """The training model itself: it predicts each modality's feature."""
    return mm.pretraining.masked_modality(supervised())


def unet():
    encoders = {"photo": photo(), "title": title()}
    return mm.segmentation.unet(encoders, units=(6, 4), blocks=1)


def unet_of_tokens():
    encoders = {"photo": photo(), "title": words()}
    return mm.segmentation.unet(encoders, units=(8, 4), blocks=1, layers=1)


def questions():
    """Places of a picture and words of a question, which ask each other."""
    pixels = mm.image.Pixels((SIDE, SIDE), scaling="tf")
    image = tensor_input(pixels, "image")
    x = keras.layers.Conv2D(4, 3, 8, "same", activation="relu")(pixels(image))
    x = mm.image.FeatureTokens()(mm.image.Coordinates()(x))
    encoders = {"photo": keras.Model(image, x), "title": words()}
    fusion = mm.fusion.CrossAttentionFusion(8, 2, layers=1)
    return supervised(encoders, fusion=fusion)


def heads():
    return mm.heads.several(
        {
            "kind": mm.heads.classification(CLASSES),
            "price": mm.heads.regression(standardize=[100.0, 300.0, 250.0]),
        },
        absent_labels=True,
    )


def uncertainty():
    """The training model of several tasks."""
    return mm.balance.uncertainty(supervised(head=heads().layer))


def remembering():
    return two_tower(mm.losses.InfoNCE(memory=7))


def correlated():
    return two_tower(mm.losses.DeepCCA(), normalize=False)


def sigmoid():
    return two_tower(mm.losses.SigLIP())


#: What is exported: together they have every layer of a kind that a graph can lack.
EXPORTED = {x.__name__: x for x in (everything, remembering, joint, unet_of_tokens)}
#: What is saved and loaded besides.
SAVED = {
    x.__name__: x
    for x in (
        zero_shot,
        questions,
        sigmoid,
        correlated,
        pieces,
        student,
        pretrained,
        masked,
        unet,
        uncertainty,
    )
}
