"""Corruptions of pictures, texts and sounds, of one level in [0, 1] each.

========  ==============  ====================================================
kind      corruption      at level 1
========  ==============  ====================================================
image     noise           sigma 64 grey levels (0-255)
image     blur            sigma 5 % of the shorter side
image     jpeg            quality 5
image     occlusion       100 % of the area
text      typos           20 % of the letters and digits; wants strings
text      word_drop       100 % of the words, but for one
text      word_swap       100 % of the words change places
audio     noise           SNR 0 dB
audio     reverberation   direct to reverberant 0 dB, 60 dB down in 1 s
audio     clipping        overdriven by 30 dB
any       missing         100 % of the rows
========  ==============  ====================================================

Level 0 is the identity, bit for bit.
"""

import functools
from typing import Any, NamedTuple

from mmkeras.analysis.noise import audio as _audio
from mmkeras.analysis.noise import image as _image
from mmkeras.analysis.noise import text as _text
from mmkeras.analysis.noise import tokens as _tokens
from mmkeras.text.token_ids import TokenIds

#: The corruption that every kind of modality knows.
MISSING = "missing"


class Corruption(NamedTuple):
    """One way to damage a modality."""

    apply: Any  #: function `(value, level, rng) -> value`; None where rows go missing
    at_one: str  #: what level 1 is, in physical units
    takes: str = "tensor"  #: what a value is: "tensor" or "string"


def corruptions(contract, strings=False):
    """The corruptions that fit a modality.

    Example:
    >>> pixels = mmkeras.image.Pixels((8, 8))
    >>> found = mmkeras.analysis.noise.corruptions(pixels)
    >>> list(found)
    ['noise', 'blur', 'jpeg', 'occlusion', 'missing']
    >>> found["jpeg"].at_one
    'quality 5'

    Args:
        contract: `ModalityInput`.
        strings: Boolean, whether a text's strings are known, not its ids alone.

    Returns:
        dict, name -> `Corruption`.
    """
    made = {}
    rank = len(contract.tensor_shape)
    if contract.kind == "image" and rank == 3 and contract.tensor_shape[-1] == 3:
        made = _of_pictures()
    elif contract.kind == "audio" and rank == 1:
        made = _of_sounds(contract)
    elif contract.kind == "text" and strings:
        made = _of_strings()
    elif isinstance(contract, TokenIds):
        made = _of_ids(contract)
    return {**made, MISSING: Corruption(None, "100 % of the rows")}


def _of_pictures():
    return {
        "noise": Corruption(
            _image.gaussian_noise, f"sigma {_image.SIGMA:g} grey levels"
        ),
        "blur": Corruption(
            _image.blur, f"sigma {100 * _image.BLUR:g} % of the shorter side"
        ),
        "jpeg": Corruption(_image.jpeg, f"quality {_image.WORST_QUALITY}"),
        "occlusion": Corruption(_image.occlusion, "100 % of the area"),
    }


def _of_sounds(contract):
    made = {"noise": Corruption(_audio.noise_at_snr, "SNR 0 dB")}
    rate = getattr(contract, "sampling_rate", None)
    if rate:
        room = functools.partial(_audio.reverberation, sampling_rate=rate)
        made["reverberation"] = Corruption(room, "as loud as the direct sound")
    driven = f"overdriven by {_audio.OVERDRIVE:g} dB"
    return {**made, "clipping": Corruption(_audio.clipping, driven)}


def _of_strings():
    return {
        "typos": Corruption(
            _text.typos, f"{100 * _text.TYPOS:g} % of the letters", "string"
        ),
        "word_drop": Corruption(_text.word_drop, "all words but one", "string"),
        "word_swap": Corruption(_text.word_swap, "all words", "string"),
    }


def _of_ids(contract):
    drop = functools.partial(_tokens.word_drop, contract=contract)
    swap = functools.partial(_tokens.word_swap, contract=contract)
    return {
        "word_drop": Corruption(drop, "all words but one"),
        "word_swap": Corruption(swap, "all words"),
    }
