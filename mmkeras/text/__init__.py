"""Text: word-piece ids as the contract, BERT and small encoders behind it."""

from mmkeras.text.augment import TokenMasking, WordDropout
from mmkeras.text.bert import bert
from mmkeras.text.byte_pairs import BytePairIds
from mmkeras.text.light import embedding_mean, rnn
from mmkeras.text.sentence_pieces import SentencePieceIds
from mmkeras.text.token_ids import TokenIds
from mmkeras.text.vocabulary import wordpiece_vocabulary

__all__ = [
    "BytePairIds",
    "SentencePieceIds",
    "TokenIds",
    "TokenMasking",
    "WordDropout",
    "bert",
    "embedding_mean",
    "rnn",
    "wordpiece_vocabulary",
]
