"""Retrieval: rows found by what is near in a shared space, and classes by prompts."""

from mmkeras.retrieval.embed import embed
from mmkeras.retrieval.index import Found, Index
from mmkeras.retrieval.joint import clip, siglip
from mmkeras.retrieval.page import grid, page
from mmkeras.retrieval.zero_shot import prompt_embeddings, zero_shot

__all__ = [
    "Found",
    "Index",
    "clip",
    "embed",
    "grid",
    "page",
    "prompt_embeddings",
    "siglip",
    "zero_shot",
]
