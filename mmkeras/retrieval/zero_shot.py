"""Zero-shot classification: classes as sentences in a shared space."""

import keras
import numpy as np
from keras import ops

from mmkeras.fusion import Concat
from mmkeras.heads import Prediction
from mmkeras.losses import InfoNCE
from mmkeras.model import multimodal
from mmkeras.retrieval.embed import embed, encoder_of, unit
from mmkeras.towers import UnitLength

#: The factor of cosines where the model has learned none: CLIP's.
_SCALE = 100.0


def zero_shot(
    model,
    classes,
    modality,
    words,
    *,
    prompts=("a picture of {}.",),
    scale=None,
    name="zero_shot",
):
    """A classifier without a training row: z_c = s cos(x, prompt_c).

    The classes' prompts are embedded once, by the tower of `words`, and become the
    kernel of a dense head behind the tower of `modality`: a plain model of one
    modality, which needs no words any more. It is analysed and exported as every other
    one, and `fit` on a few labels goes on from the prompts.

    Example:
        model = mmkeras.two_tower({"photo": pictures, "title": captions}, units=256)
        ...
        classes = {"bird": ["a bird"], "other": ["a fish", "an insect", "a frog"]}
        zero = mmkeras.retrieval.zero_shot(model, classes, "photo", "title")
        print(mmkeras.analysis.modality_report(zero, rows))
        mmkeras.export.saved_model(zero, "saved_models/zero/1")

    Args:
        model: a model of `mmkeras.two_tower`, or a dict, modality -> encoder, whose
            encoders give vectors of one space, such as `mmkeras.retrieval.clip` gives.
        classes: list of class names, or dict, class name -> list of phrases that stand
            for it in prompts.
        modality: the modality that is classified.
        words: the modality of the prompts, of text.
        prompts: sentences with a place `{}` for a class's phrase. A class stands where
            the mean of all its prompts points.
        scale: Float above 0, s; default: what the model's loss has learned, or 100.
            `mmkeras.analysis.fit_temperature` finds one for good probabilities.
        name: name of the model.

    Returns:
        `keras.Model` as `mmkeras.multimodal` gives, with the inputs `<modality>` and
        `<modality>_present` and a head of class names; outputs are logits. Its encoder
        shares weights with the model. Where the modality is absent all logits are 0.

    Raises:
        ValueError: fewer than two classes, a prompt without `{}`, no phrases, `scale`
            not above 0, or as `embed`.

    Reference:
        Radford et al. 2021, arXiv:2103.00020.
    """
    encoder = _of_length_one(encoder_of(model, modality))
    kernel = prompt_embeddings(model, classes, words, prompts)
    scale = _scale(model) if scale is None else float(scale)
    if not 0 < scale < float("inf"):
        raise ValueError(f"`scale` wants a float above 0. Received: {scale}")
    if kernel.shape[1] != encoder.output_shape[-1]:
        raise ValueError(
            f"'{modality}' and '{words}' want one space. Received: vectors of "
            f"{encoder.output_shape[-1]} and {kernel.shape[1]} numbers."
        )
    head = Prediction(list(classes), "single", name="head")
    made = multimodal({modality: encoder}, Concat(), head, name=name)
    head.set_weights([scale * kernel.T, np.zeros(len(kernel), "float32")])
    return made


def prompt_embeddings(model, classes, words, prompts=("a picture of {}.",)):
    """The vector of each class: the mean of its prompts' vectors, of length 1.

    Args:
        model: as `zero_shot`.
        classes: as `zero_shot`.
        words: as `zero_shot`.
        prompts: as `zero_shot`.

    Returns:
        float32 array `(classes, units)`.

    Raises:
        ValueError: a prompt without `{}`, no prompts or phrases, or as `embed`.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts or any("{}" not in x for x in prompts):
        raise ValueError(
            f"`prompts` wants sentences with a place '{{}}' for the class. Received: "
            f"{prompts}"
        )
    phrases = classes if isinstance(classes, dict) else {x: [x] for x in classes}
    for key, said in phrases.items():
        if isinstance(said, str) or not len(said):
            raise ValueError(
                f"`classes` wants a list of phrases for each class. Received: {said!r} "
                f"for '{key}'"
            )
    sentences = [
        prompt.replace("{}", str(phrase))
        for said in phrases.values()
        for phrase in said
        for prompt in prompts
    ]
    vectors = embed(model, words, sentences)
    counts = [len(said) * len(prompts) for said in phrases.values()]
    parts = np.split(vectors, np.cumsum(counts)[:-1])
    return unit(np.stack([x.mean(axis=0) for x in parts]))


def _of_length_one(encoder):
    """The encoder with vectors of length 1, sharing its layers."""
    vectors = UnitLength(name="length_one", dtype="float32")(encoder.output)
    return keras.Model(encoder.input, vectors, name=encoder.name)


def _scale(model):
    for layer in getattr(model, "layers", []):
        if isinstance(layer, InfoNCE):  # SigLIP is one
            return float(ops.exp(layer.log_scale))
    return _SCALE
