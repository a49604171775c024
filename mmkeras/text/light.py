"""Small text encoders that need no checkpoint and learn from nothing."""

import keras
from keras import layers

from mmkeras import modality
from mmkeras.dropout import Dropout
from mmkeras.text.augment import augmented
from mmkeras.text.layers import MaskedMean, PaddingMask
from mmkeras.text.token_ids import TokenIds

_CELLS = {"gru": layers.GRU, "lstm": layers.LSTM}


def embedding_mean(
    vocabulary,
    length=32,
    units=64,
    rate=0.0,
    augment=None,
    name="embedding_mean",
    **options,
):
    """The mean of learned word-piece embeddings: a bag of words, very fast.

    y = mean over the tokens that are no padding of E[id]. Zeros for an absent text.

    Example:
    >>> vocabulary = mmkeras.text.wordpiece_vocabulary(["a red cup", "a blue hat"])
    >>> encoder = mmkeras.text.embedding_mean(vocabulary, length=16, units=8)
    >>> encoder(encoder.get_layer("token_ids").read(["a red cup", ""])).shape
    TensorShape([2, 8])

    Args:
        vocabulary: sequence of tokens, from `wordpiece_vocabulary` for example.
        length: Integer, ids a text.
        units: Integer, width of the feature.
        rate: Float in [0, 1), dropout on the feature.
        augment: optional `WordDropout` or `TokenMasking`, or list of them; they act in
            training alone.
        name: String.
        **options: further arguments of `TokenIds`.

    Returns:
        `keras.Model`, int32 ids `(batch, length)` to a feature `(batch, units)`.

    Reference:
        Iyyer et al. 2015 (deep averaging networks), ACL P15-1162.
    """
    inputs, tokens, mask = _embedded(vocabulary, length, units, augment, options)
    feature = MaskedMean(name="mean")(tokens, mask)
    feature = Dropout(rate, name="dropout")(feature)
    return keras.Model(inputs, feature, name=name)


def rnn(
    vocabulary,
    length=32,
    units=64,
    embedding=64,
    cell="gru",
    augment=None,
    name="rnn",
    **options,
):
    """A recurrent encoder that reads the word pieces forwards and backwards.

    y = [last state forwards; last state backwards]. Padding is skipped.

    Example:
    >>> vocabulary = mmkeras.text.wordpiece_vocabulary(["a red cup", "a blue hat"])
    >>> encoder = mmkeras.text.rnn(vocabulary, length=16, units=8, cell="lstm")
    >>> encoder(encoder.get_layer("token_ids").read(["a red cup", ""])).shape
    TensorShape([2, 16])

    Args:
        vocabulary: sequence of tokens, from `wordpiece_vocabulary` for example.
        length: Integer, ids a text.
        units: Integer, width of each direction; the feature is twice as wide.
        embedding: Integer, width of the token embeddings.
        cell: "gru" or "lstm".
        augment: optional `WordDropout` or `TokenMasking`, or list of them; they act in
            training alone.
        name: String.
        **options: further arguments of `TokenIds`.

    Returns:
        `keras.Model`, int32 ids `(batch, length)` to a feature `(batch, 2 * units)`.

    Raises:
        ValueError: unknown `cell`, or something in `augment` that is none.
    """
    if cell not in _CELLS:
        raise ValueError(f"`cell` wants one of {list(_CELLS)}. Received: cell={cell!r}")
    inputs, tokens, mask = _embedded(vocabulary, length, embedding, augment, options)
    present = mask > 0
    # two plain layers: a Bidirectional one comes back from a file wholly unfrozen
    forwards = _CELLS[cell](units, name="forwards")(tokens, mask=present)
    backwards = _CELLS[cell](units, go_backwards=True, name="backwards")(
        tokens, mask=present
    )
    feature = layers.Concatenate(name="both")([forwards, backwards])
    return keras.Model(inputs, feature, name=name)


def _embedded(vocabulary, length, width, augment, options):
    """The input, its token embeddings and its mask."""
    contract = TokenIds(vocabulary, length, name="token_ids", **options)
    inputs = modality.tensor_input(contract, "text")
    ids = augmented(contract(inputs), augment, contract.vocabulary)
    tokens = layers.Embedding(len(contract.vocabulary), width, name="embeddings_word")
    return inputs, tokens(ids), PaddingMask(contract.padding_id, name="mask")(ids)
