"""CLIP and SigLIP from keras_hub: pictures and words in one space, as two encoders.

keras_hub is an extra (`mmkeras[keras_hub]`). The weights' licence is theirs: MIT for
OpenAI's CLIP, Apache-2.0 for SigLIP at the time of writing.
"""

import keras

from mmkeras.dropout import warn_of_others
from mmkeras.image import Pixels
from mmkeras.modality import tensor_input
from mmkeras.text.byte_pairs import BytePairIds
from mmkeras.text.sentence_pieces import SentencePieceIds
from mmkeras.towers import UnitLength


def clip(backbone, tokenizer=None, length=None):
    """CLIP's encoders: pictures and sentences to vectors of length 1 in one space.

        joint = mmkeras.retrieval.clip("clip_vit_base_patch32")  # fetched once, 600 MB
        index = mmkeras.retrieval.Index.from_table(
            joint, "products.csv", "image", column="photo"
        )
        found = index.search(mmkeras.retrieval.embed(joint, "text", ["a red cup"]))
        classes = ["cup", "bottle", "plate"]
        zero = mmkeras.retrieval.zero_shot(
            joint, classes, "image", "text", prompts=["a photo of a {}."]
        )
        mmkeras.export.saved_model(zero, "saved_models/zero/1")

    Each is an encoder of `mmkeras.multimodal` too. Text is read by `BytePairIds`, in
    TensorFlow core ops, so that it can be exported. Pictures are resized whole to the
    network's square; the original crops its middle from one whose shorter side fits.

    Args:
        backbone: `keras_hub.models.CLIPBackbone`, whose layers the encoders share, or
            what its `from_preset` takes.
        tokenizer: `keras_hub.models.CLIPTokenizer`, or the name of its preset; default:
            the preset's own. Of a backbone that is given without one there is no
            encoder of text.
        length: optional Integer, ids a text; default: the most that the backbone takes.

    Returns:
        dict, "image" and "text" -> `keras.Model` with an output `(batch, units)`.
        One that was frozen in part is read back with `mmkeras.load_model`.

    Raises:
        ImportError: keras_hub is not installed.
        ValueError: another model, more ids than the backbone takes, or a tokenizer with
            more tokens.

    Reference:
        Radford et al. 2021, arXiv:2103.00020.
    """
    backbone, tokenizer = _given("CLIP", backbone, tokenizer)
    pixels = _pixels(backbone, "clip")
    image = tensor_input(pixels, "image")
    x = backbone.vision_pooler(backbone.vision_encoder({"images": pixels(image)}))
    x = backbone.vision_projection(x)
    made = {"image": _encoder(image, x, "clip_image")}
    if tokenizer is not None:
        most = backbone.text_encoder.max_sequence_length
        if length is not None and not 2 <= length <= most:
            raise ValueError(
                f"`length` wants 2 to {most}, which the backbone has positions for. "
                f"Received: length={length}"
            )
        ids = BytePairIds.from_tokenizer(tokenizer, length or most, name="token_ids")
        _check_size(backbone, len(ids.vocabulary))
        text = tensor_input(ids, "text")
        numbers = ids(text)
        x = backbone.text_encoder({"token_ids": numbers})
        x = backbone.text_projection(backbone.text_pooler(x, numbers))
        made["text"] = _encoder(text, x, "clip_text")
    return made


def siglip(backbone, tokenizer=None):
    """SigLIP's encoders: pictures and sentences to vectors of length 1 in one space.

        joint = mmkeras.retrieval.siglip("siglip_base_patch16_224")

    As `clip`, but that text is read in Python by `SentencePieceIds`: the encoder of
    text trains and searches, and a TFLite or ONNX file of it takes ids; no SavedModel
    can read for it. Pictures are resized whole, as in the original.

    Args:
        backbone: `keras_hub.models.SigLIPBackbone`, whose layers the encoders share, or
            what its `from_preset` takes.
        tokenizer: `keras_hub.models.SigLIPTokenizer`, or the name of its preset;
            default: the preset's own. Of a backbone that is given without one there is
            no encoder of text.

    Returns:
        dict, "image" and "text" -> `keras.Model` with an output `(batch, units)`.

    Raises:
        ImportError: keras_hub is not installed.
        ValueError: another model, or a tokenizer with more tokens than the backbone.

    Reference:
        Zhai et al. 2023, arXiv:2303.15343.
    """
    backbone, tokenizer = _given("SigLIP", backbone, tokenizer)
    pixels = _pixels(backbone, "tf")
    image = tensor_input(pixels, "image")
    x = backbone.vision_encoder({"images": pixels(image)})
    made = {"image": _encoder(image, x, "siglip_image")}
    if tokenizer is not None:
        length = backbone.text_encoder.max_sequence_length  # it takes no other
        ids = SentencePieceIds(tokenizer.proto, length, name="token_ids")
        _check_size(backbone, tokenizer.vocabulary_size())
        text = tensor_input(ids, "text")
        x = backbone.text_encoder({"token_ids": ids(text)})
        made["text"] = _encoder(text, x, "siglip_text")
    return made


def _given(kind, backbone, tokenizer):
    """Backbone and tokenizer as keras_hub's objects; the latter may be None."""
    try:
        from keras_hub import models
    except ImportError as error:
        raise ImportError(
            f"{kind} wants the package keras-hub: {error}. Install it with the extra "
            f"mmkeras[keras_hub]."
        ) from error
    if isinstance(backbone, str):
        tokenizer = backbone if tokenizer is None else tokenizer
        backbone = getattr(models, f"{kind}Backbone").from_preset(backbone)
    if isinstance(tokenizer, str):
        tokenizer = getattr(models, f"{kind}Tokenizer").from_preset(tokenizer)
    for argument, value in (("Backbone", backbone), ("Tokenizer", tokenizer)):
        wanted = getattr(models, f"{kind}{argument}")
        if value is not None and not isinstance(value, wanted):
            raise ValueError(
                f"`{argument.lower()}` wants a keras_hub.models.{kind}{argument} or "
                f"the name of its preset. Received: {type(value).__name__}"
            )
    return backbone, tokenizer


def _pixels(backbone, scaling):
    size = backbone.vision_encoder.image_shape[:2]
    return Pixels(tuple(size), scaling, method="bicubic", name="pixels")


def _check_size(backbone, tokens):
    most = backbone.text_encoder.vocabulary_size
    if tokens > most:
        raise ValueError(
            f"`tokenizer` wants at most {most} tokens, the backbone's. Received: "
            f"{tokens}"
        )


def _encoder(inputs, x, name):
    unit = UnitLength(name="unit", dtype="float32")
    encoder = keras.Model(inputs, unit(x), name=name)
    warn_of_others(encoder)
    return encoder
