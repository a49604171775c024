"""A model of all four kinds of modality and a table of files for it, both tiny."""

import keras
import numpy as np
import pandas

import mmkeras as mm
from tests.export import parts

CLASSES = ["cup", "hat", "été"]
TITLES = ["A red cup!", "naïve hat", "ünknown 北京 word", None, "blue", "red hat", ""]
FACTS = {"age": [3, None, 5.5, 7, 1, None, 2], "colour": [*"rgbrx", None, "g"]}


def model(head=None, names=("photo", "title", "sound", "facts")):
    """The modalities `names`, and weights that are not at their first values."""
    keras.utils.set_random_seed(0)
    frame = pandas.DataFrame(FACTS)
    words = mm.text.wordpiece_vocabulary(["a red cup", "naïve blue hat"])
    contracts = {
        "photo": mm.image.Pixels((8, 8)),
        "title": mm.text.TokenIds(words, length=7),
        "sound": mm.audio.Waveform(parts.RATE, parts.SAMPLES / parts.RATE),
        "facts": mm.tabular.Columns.from_frame(frame, ["age", "colour"]),
    }
    encoders = {name: _encoder(name, contracts[name], len(words)) for name in names}
    head = head or mm.heads.classification(CLASSES).layer
    made = mm.multimodal(encoders, mm.fusion.GatedFusion(8), head)
    rng = np.random.default_rng(1)
    made.set_weights([x + rng.uniform(-0.3, 0.3, x.shape) for x in made.get_weights()])
    return made


def _encoder(name, contract, words):
    x = inputs = mm.modality.tensor_input(contract, f"{name}_in")
    x = contract(x)
    if contract.kind == "text":
        x = keras.layers.Embedding(words, 4)(x)
    if contract.kind == "audio":
        x = keras.layers.Reshape((12, 100))(x)
    x = keras.layers.Dense(5, activation="tanh")(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def table(folder):
    """Writes files and `table.csv`: gaps of every kind, WAV and OGG, PNG and JPEG."""
    import soundfile
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = {"photo": [], "title": TITLES, "sound": [], **FACTS}
    for i in range(len(TITLES)):
        picture = Image.fromarray(rng.integers(0, 256, (9, 7, 3), "uint8"))
        name = f"{i}.{'png' if i % 2 else 'jpg'}"
        picture.save(folder / name)
        rows["photo"].append(None if i == 1 else name)
        wave = 0.3 * np.sin(np.arange(900 + 100 * i) * 0.1 * (i + 1))
        name = f"{i}.{'wav' if i % 2 else 'ogg'}"
        # 8 kHz is read by resampling, as no serving graph can
        soundfile.write(folder / name, wave, parts.RATE * (1 + i % 2))
        rows["sound"].append(None if i == 2 else name)
    pandas.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"
