"""Classical features: what was done before there were deep encoders.

Pictures as colours, oriented gradients and visual words, texts as TF-IDF; PCA, LDA and
CCA as layers. The sound's is `mmkeras.audio.mfcc_statistics`.
"""

from mmkeras.classic.cca import CCA
from mmkeras.classic.colours import ColourHistogram
from mmkeras.classic.gradients import OrientedGradients
from mmkeras.classic.picture import picture
from mmkeras.classic.projections import LDA, PCA, Projection
from mmkeras.classic.tfidf import TfIdf, tfidf, word_vocabulary
from mmkeras.classic.visual_words import VisualWords

__all__ = [
    "CCA",
    "LDA",
    "PCA",
    "ColourHistogram",
    "OrientedGradients",
    "Projection",
    "TfIdf",
    "VisualWords",
    "picture",
    "tfidf",
    "word_vocabulary",
]
