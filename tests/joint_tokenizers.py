"""Small tokenizers of CLIP's and SigLIP's kinds, as keras_hub makes them."""

import io
import string

import sentencepiece
from keras_hub import models
from tokenizers.pre_tokenizers import ByteLevel

from mmkeras.text.byte_pairs import END, START


def clip():
    """Letters, and the pair "red"."""
    letters = ByteLevel.alphabet()
    words = [*letters, *(x + "</w>" for x in letters), "re", "red</w>", START, END]
    known = {x: i for i, x in enumerate(words)}
    return models.CLIPTokenizer(known, ["r e", "re d</w>"])


def siglip(sentences):
    """50 pieces of the sentences, each seen with every letter."""
    content = io.BytesIO()
    seen = (f"{x} {y}" for x in sentences for y in string.ascii_lowercase)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=seen,
        model_writer=content,
        vocab_size=50,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return models.SigLIPTokenizer(content.getvalue())
