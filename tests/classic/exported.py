"""A model of classical features, exported to a TFLite file and compared."""

import keras

import mmkeras as mm


def check(folder, sentences):
    """A TFLite file of pictures, words and a projection."""
    words = mm.classic.tfidf(sentences, length=12)
    ids = mm.modality.contract(words).read_cells(sentences)
    pca = mm.classic.PCA(3, name="pca")
    pca.adapt(words(ids))
    shorter = keras.Model(words.input, pca(words.output), name="words")
    model = mm.multimodal(
        {"photo": mm.classic.picture(size=32), "title": shorter},
        mm.fusion.Concat(),
        keras.layers.Dense(2),
    )
    mm.export.tflite(model, folder / "model.tflite")  # raises where it differs
