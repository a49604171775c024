"""A TFLite file on a device: pip install ai-edge-litert pillow. No TensorFlow.

    python litert_client.py a.tflite photo=cup.jpg title="A red cup" sound=cup.wav
    {'class': 'cup', 'scores': {'cup': 0.93, 'hat': 0.07}}

Reads what `mmkeras export --to tflite` puts beside the file: the card, and for a text
its tokenizer.
"""

import argparse
import csv
import importlib.util
import json
import pathlib
import wave

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

#: Kernels that Pillow and TensorFlow share.
_KERNELS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos3": "LANCZOS"}


class Model:
    """A TFLite file of `mmkeras.export.tflite`, asked about one row at a time."""

    def __init__(self, path, threads=1):
        self.path = pathlib.Path(path)
        card = self.path.with_name(f"{self.path.name}.json").read_text("utf-8")
        self.card = json.loads(card)
        interpreter = Interpreter(str(path), num_threads=threads)
        self.serve = interpreter.get_signature_runner("serve")
        self.tokenizers = {
            name: self._tokenizer(name, made["tokenizer"])
            for name, made in self.card["modalities"].items()
            if "tokenizer" in made
        }

    def __call__(self, row):
        """Outputs by name, for a dict: modality -> path, text, or line of CSV.

        A modality that the row lacks is absent, and so is an empty string or a line
        whose fields are all empty.
        """
        unknown = set(row) - set(self.card["modalities"])
        if unknown:
            raise ValueError(
                f"The model has no {sorted(unknown)}. "
                f"Valid names: {list(self.card['modalities'])}"
            )
        tensors = {}
        for name, made in self.card["modalities"].items():
            value = row.get(name)
            tensor = self.read(name, value) if value else np.zeros(made["shape"])
            there = any(cells(value)) if made["kind"] == "table" else bool(value)
            tensors[name] = tensor[None].astype(made["dtype"])
            tensors[f"{name}_present"] = np.float32([there])
        wanted = {name: tensors[name] for name in self.card["inputs"]}
        return {name: x[0] for name, x in self.serve(**wanted).items()}

    def read(self, name, value):
        """A modality's tensor, as the model was trained on."""
        made = self.card["modalities"][name]
        settings = self.card["contracts"][name]["config"]
        if name in self.tokenizers:
            return np.array(self.tokenizers[name](value))
        if made["kind"] == "image":
            return picture(value, **settings)
        if made["kind"] == "audio":
            return sound(value, settings["sampling_rate"], made["shape"][0])
        if made["kind"] == "table":
            return line(value, made["columns"])
        raise ValueError(f"'{name}' is of a kind of its own: '{made['kind']}'.")

    def named(self, outputs):
        """Outputs for people: the class, and a score under each class's name.

        Of several labels a row "class" holds those from their threshold on, "cup|hat";
        a number stands under its name. A model with several outputs has one such dict
        each, by name.
        """
        made = {name: self._named(name, outputs) for name in self.card["outputs"]}
        return made["outputs"] if list(made) == ["outputs"] else made

    def _named(self, name, outputs):
        made = self.card["outputs"][name]
        if made["classes"] is None or outputs[name].ndim > 1:  # a vector, or a map
            return {"outputs": outputs[name].tolist()}
        if made["kind"] == "number":
            return dict(zip(made["classes"], outputs[name].tolist(), strict=True))
        scores = outputs["scores" if name == "outputs" else f"{name}_scores"]
        scores = dict(zip(made["classes"], scores.tolist(), strict=True))
        if made["kind"] == "single":
            return {"class": max(scores, key=scores.get), "scores": scores}
        limits = self.card.get("thresholds", {}).get(name, [0.5] * len(scores))
        pairs = zip(scores.items(), limits, strict=True)
        chosen = [label for (label, score), limit in pairs if score >= limit]
        return {"class": "|".join(chosen), "scores": scores}

    def _tokenizer(self, name, file):
        spec = importlib.util.spec_from_file_location("beside", self.path.parent / file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Tokenizer(self.path, name)


def picture(path, size, method="bilinear", antialias=True, **_):
    """RGB 0-255, `(height, width, 3)`; what is transparent lies on grey."""
    if method not in _KERNELS or not antialias:
        raise ValueError(f"Pillow has no kernel '{method}' with antialias={antialias}.")
    kernel = Image.Resampling[_KERNELS[method]]
    with Image.open(path) as file:
        if file.mode.startswith("I"):  # grey of 16 bits, which `convert` would clip
            file = Image.fromarray((np.asarray(file) >> 8).astype("uint8"))
        rgba = np.asarray(file.convert("RGBA"), "float32")
    alpha = rgba[..., 3:] / 255
    rgb = rgba[..., :3] * alpha + 128 * (1 - alpha)
    # channels one by one, as floats: Pillow resizes whole pictures in 8 bits
    planes = [
        Image.fromarray(np.ascontiguousarray(rgb[..., i])).resize(size[::-1], kernel)
        for i in range(3)
    ]
    return np.clip(np.stack([np.asarray(x) for x in planes], axis=-1), 0, 255)


def sound(path, sampling_rate, samples):
    """Samples in [-1, 1] of a WAV file of 16 bits, cut or filled up with zeros."""
    with wave.open(str(path), "rb") as file:
        found = (file.getframerate(), file.getsampwidth())
        if found != (sampling_rate, 2):
            raise ValueError(
                f"'{path}' wants {sampling_rate} Hz and 16 bits. "
                f"Received: {found[0]} Hz, {8 * found[1]} bits"
            )
        channels = file.getnchannels()
        data = np.frombuffer(file.readframes(samples), "<i2")
    wave_ = data.reshape(-1, channels).mean(axis=1, dtype="float32") / 32768
    return np.pad(wave_, (0, samples - len(wave_)))


def line(text, columns):
    """A line of CSV: numbers, and the places of categories; NaN is missing.

    Zeros where all are missing.
    """
    numbers = []
    for cell, column in zip(cells(text), columns, strict=True):
        if not cell:
            numbers.append(np.nan)
        elif column["kind"] == "number":
            numbers.append(float(cell))
        else:  # 0 is a category that was not there in training
            known = column["categories"]
            numbers.append(known.index(cell) + 1 if cell in known else 0)
    return np.array(numbers) if any(cells(text)) else np.zeros(len(columns))


def cells(text):
    """The fields of a line of CSV; none of no line."""
    return [x.strip() for line in csv.reader([text or ""]) for x in line]


def main(argv=None):
    parser = argparse.ArgumentParser(description="Asks a TFLite file about one row.")
    parser.add_argument("model", metavar="MODEL.tflite")
    parser.add_argument("fields", nargs="+", metavar="NAME=VALUE")
    given = parser.parse_args(argv)
    model = Model(given.model)
    row = dict(x.split("=", 1) for x in given.fields)
    print(model.named(model(row)))


if __name__ == "__main__":
    main()
