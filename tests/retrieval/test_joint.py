"""CLIP's and SigLIP's encoders against keras_hub's own, with random weights."""

import keras
import keras_hub
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import retrieval
from mmkeras.text import SentencePieceIds
from tests import joint_tokenizers

TEXTS = ["A red cup.", "two blue hats, and a dog!", "dog"]
SIZES = {"hidden_dim": 8, "num_layers": 2, "num_heads": 2, "intermediate_dim": 12}
# what OpenAI's CLIP was trained with
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def pictures():
    return np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype("float32")


def varied(backbone):
    """Random norms, biases and scales, that nothing stands on its neutral value."""
    rng = np.random.default_rng(1)
    for w in backbone.weights:
        if w.path.split("/")[-1] in ("gamma", "beta", "bias", "logit_bias"):
            w.assign(w + 0.3 * rng.normal(size=w.shape))
    # as its checkpoints hold it; keras_hub begins with zeros
    w = getattr(backbone.vision_encoder.embedding, "position_ids", None)
    w.assign(np.arange(w.shape[1])[None])
    return backbone


@pytest.fixture(scope="module")
def clip():
    tokenizer = joint_tokenizers.clip()
    models = keras_hub.models
    seen = models.CLIPVisionEncoder(patch_size=4, image_shape=(8, 8, 3), **SIZES)
    said = models.CLIPTextEncoder(
        vocabulary_size=tokenizer.vocabulary_size(),
        embedding_dim=8,
        max_sequence_length=30,
        **SIZES,
    )
    return varied(models.CLIPBackbone(seen, said, projection_dim=6)), tokenizer


@pytest.fixture(scope="module")
def siglip():
    tokenizer = joint_tokenizers.siglip(TEXTS)
    models = keras_hub.models
    seen = models.SigLIPVisionEncoder(patch_size=4, image_shape=(8, 8, 3), **SIZES)
    said = models.SigLIPTextEncoder(
        vocabulary_size=50, embedding_dim=8, max_sequence_length=20, **SIZES
    )
    return varied(models.SigLIPBackbone(seen, said)), tokenizer


def test_clip_equals_keras_hub_from_pixels_and_sentences_on(clip):
    backbone, tokenizer = clip
    joint = retrieval.clip(backbone, tokenizer)
    scaled = ((pictures() / 255 - MEAN) / STD).astype("float32")
    given = keras_hub.models.CLIPPreprocessor(tokenizer, sequence_length=30)
    ids = given({"images": None, "prompts": TEXTS})["token_ids"]
    ids = np.asarray(ids)
    logits = backbone({"images": scaled, "token_ids": ids})["vision_logits"]
    wanted = np.asarray(logits) / np.exp(float(backbone.clip_head.logit_scale))
    seen = np.asarray(joint["image"](pictures()))
    said = retrieval.embed(joint, "text", TEXTS)
    np.testing.assert_allclose(seen @ said.T, wanted, atol=1e-5)
    # behind a text's end nothing is seen
    short = retrieval.clip(backbone, tokenizer, length=28)
    np.testing.assert_allclose(retrieval.embed(short, "text", TEXTS), said, atol=1e-5)


def test_siglip_equals_keras_hub_from_pixels_and_sentences_on(siglip):
    backbone, tokenizer = siglip
    joint = retrieval.siglip(backbone, tokenizer)
    given = keras_hub.models.SigLIPPreprocessor(tokenizer, sequence_length=20)
    ids = given({"images": np.zeros((3, 8, 8, 3)), "prompts": TEXTS})["token_ids"]
    ids = np.asarray(ids)
    contract = joint["text"].get_layer("token_ids")
    np.testing.assert_array_equal(contract.read(TEXTS), ids)
    scaled = (pictures() / 127.5 - 1).astype("float32")
    logits = backbone({"images": scaled, "token_ids": ids})["vision_logits"]
    head = backbone.siglip_head
    wanted = np.asarray(logits) - float(head.logit_bias)
    wanted /= np.exp(float(head.logit_scale))
    seen = np.asarray(joint["image"](pictures()))
    said = retrieval.embed(joint, "text", TEXTS)
    np.testing.assert_allclose(seen @ said.T, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["clip", pytest.param("siglip", marks=pytest.mark.slow)]
)
def test_the_encoders_save_and_join_a_model(name, request, tmp_path):
    joint = getattr(retrieval, name)(*request.getfixturevalue(name))
    ids = joint["text"].get_layer("token_ids").read(TEXTS).numpy()
    inputs = {"image": pictures()[:3], "text": ids}
    inputs |= {f"{x}_present": np.ones(3, "float32") for x in joint}
    head = keras.layers.Dense(2)
    model = mm.multimodal(joint, mm.fusion.Concat(), head)
    mm.transfer.freeze(model, "image")
    wanted = np.asarray(model(inputs))
    model.save(tmp_path / "model.keras")
    loaded = mm.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(inputs), wanted, atol=1e-6)
    contracts = mm.readers(loaded)
    np.testing.assert_array_equal(contracts["text"].read(TEXTS), ids)
    assert not mm.model.encoders(loaded)["image"].trainable_weights
    assert mm.model.encoders(loaded)["text"].trainable_weights


def test_pieces_are_read_from_a_table_and_not_exported(siglip, tmp_path):
    backbone, tokenizer = siglip
    joint = retrieval.siglip(backbone, tokenizer)
    table = pandas.DataFrame({"text": ["a dog", None, "a red cup"]})
    index = retrieval.Index.from_table(joint, table, "text")
    found = index.search(retrieval.embed(joint, "text", ["A RED -- cup?"]), 1)
    assert found.to_frame().text.tolist() == ["a red cup"]
    np.testing.assert_allclose(found.scores, 1, atol=1e-6)
    model = mm.multimodal(
        {"text": joint["text"]}, mm.fusion.Concat(), keras.layers.Dense(2)
    )
    with pytest.raises(ValueError, match="read in Python.*`mmkeras.export.tflite`"):
        mm.export.saved_model(model, tmp_path / "1")
    assert not (tmp_path / "1").exists()


def test_pieces_by_the_law(siglip):
    contract = SentencePieceIds(siglip[1].proto, 6)
    mm.testing.check_modality_input(contract, ["a red cup", "Ein Bär", "x " * 99])
    one = contract.read(["a red cup and two dogs"]).numpy()[0]
    assert one[-1] == contract.end_id == 1
    with pytest.raises(ValueError, match="content of a sentencepiece model"):
        SentencePieceIds(b"nothing of the kind", 6)
    with pytest.raises(ValueError, match="`length` wants"):
        SentencePieceIds(siglip[1].proto, 0)


def test_what_is_refused(clip, siglip):
    with pytest.raises(ValueError, match="`backbone` wants a .*CLIPBackbone.*SigLIP"):
        retrieval.clip(siglip[0])
    with pytest.raises(ValueError, match="`tokenizer` wants a .*SigLIPTokenizer.*CLIP"):
        retrieval.siglip(siglip[0], clip[1])
    with pytest.raises(ValueError, match="`length` wants 2 to 30.*length=31"):
        retrieval.clip(*clip, length=31)
    assert sorted(retrieval.clip(clip[0])) == ["image"]
