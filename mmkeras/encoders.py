"""Every encoder in one table: what it costs, whose it is, and when to choose it.

Plain data, importable without TensorFlow. Parameters, GFLOPs and widths of the
pictures' networks are those of `include_top=False` with mean pooling, counted from
their graphs at the default size (a multiply-add is two operations; batch of one;
Fourier transforms not counted).
Top-1 is ImageNet accuracy in % as keras.io states it. The networks are those of
`keras.applications`; the licence is that of the ImageNet weights.
"""

import difflib
from typing import NamedTuple


class Family(NamedTuple):
    """What the networks of one `keras.applications` module share."""

    scaling: str  # as `mmkeras.image.Pixels` takes it; "none": the graph scales itself
    min_size: int  # pixels
    licence: str
    paper: str
    choose: str


class Encoder(NamedTuple):
    """One row of the table; None where the figure depends on what you give."""

    name: str
    kind: str
    parameters: float | None  # millions
    gflops: float | None
    width: int | None
    input: str
    licence: str
    choose: str
    # pictures only
    application: str | None = None  # name in `keras.applications`
    family: str | None = None  # module in `keras.applications`
    size: int | None = None  # pixels
    top1: float | None = None  # %


FAMILIES = {
    "convnext": Family(
        "none",
        32,
        "MIT",
        "Liu et al. 2022, arXiv:2201.03545",
        "highest accuracy of the table, when a GPU does the work",
    ),
    "densenet": Family(
        "torch",
        32,
        "BSD-3-Clause",
        "Huang et al. 2017, arXiv:1608.06993",
        "few parameters and fine texture; slow for its size",
    ),
    "efficientnet": Family(
        "none",
        32,
        "Apache-2.0",
        "Tan and Le 2019, arXiv:1905.11946",
        "most accuracy for the operations; B0 is a good first choice on a CPU",
    ),
    "efficientnet_v2": Family(
        "none",
        32,
        "Apache-2.0",
        "Tan and Le 2021, arXiv:2104.00298",
        "as EfficientNet, made to train faster",
    ),
    "inception_resnet_v2": Family(
        "tf",
        75,
        "Apache-2.0",
        "Szegedy et al. 2017, arXiv:1602.07261",
        "to compare with older work",
    ),
    "inception_v3": Family(
        "tf",
        75,
        "Apache-2.0",
        "Szegedy et al. 2016, arXiv:1512.00567",
        "to compare with older work",
    ),
    "mobilenet": Family(
        "tf",
        32,
        "Apache-2.0",
        "Howard et al. 2017, arXiv:1704.04861",
        "phones and int8: the plainest graph",
    ),
    "mobilenet_v2": Family(
        "tf",
        32,
        "Apache-2.0",
        "Sandler et al. 2018, arXiv:1801.04381",
        "phones: small and quick on every runtime",
    ),
    "mobilenet_v3": Family(
        "none",
        32,
        "Apache-2.0",
        "Howard et al. 2019, arXiv:1905.02244",
        "phones: fewest operations of all",
    ),
    "nasnet": Family(
        "tf",
        32,
        "Apache-2.0",
        "Zoph et al. 2018, arXiv:1707.07012",
        "to compare with older work; slow to build",
    ),
    "resnet": Family(
        "caffe",
        32,
        "MIT",
        "He et al. 2016, arXiv:1512.03385",
        "the usual baseline; freezes and fine-tunes by blocks without surprises",
    ),
    "resnet_v2": Family(
        "tf",
        32,
        "BSD-3-Clause",
        "He et al. 2016, arXiv:1603.05027",
        "as ResNet, its pixels scaled to -1..1",
    ),
    "vgg16": Family(
        "caffe",
        32,
        "CC-BY-4.0",
        "Simonyan and Zisserman 2015, arXiv:1409.1556",
        "to compare with older work, and for style and texture",
    ),
    "vgg19": Family(
        "caffe",
        32,
        "CC-BY-4.0",
        "Simonyan and Zisserman 2015, arXiv:1409.1556",
        "to compare with older work, and for style and texture",
    ),
    "xception": Family(
        "tf",
        71,
        "MIT",
        "Chollet 2017, arXiv:1610.02357",
        "middle size, good features, no squeeze blocks",
    ),
}

# application, family, size, parameters (millions), GFLOPs, width, top-1
_NETWORKS = (
    ("MobileNetV3Small", "mobilenet_v3", 224, 0.939, 0.116, 576, None),
    ("MobileNetV3Large", "mobilenet_v3", 224, 3.0, 0.444, 960, None),
    ("MobileNet", "mobilenet", 224, 3.23, 1.15, 1024, 70.4),
    ("MobileNetV2", "mobilenet_v2", 224, 2.26, 0.613, 1280, 71.3),
    ("EfficientNetB0", "efficientnet", 224, 4.05, 0.8, 1280, 77.1),
    ("EfficientNetB1", "efficientnet", 240, 6.58, 1.42, 1280, 79.1),
    ("EfficientNetB2", "efficientnet", 260, 7.77, 2.05, 1408, 80.1),
    ("EfficientNetB3", "efficientnet", 300, 10.8, 3.76, 1536, 81.6),
    ("EfficientNetB4", "efficientnet", 380, 17.7, 9.02, 1792, 82.9),
    ("EfficientNetB5", "efficientnet", 456, 28.5, 21.0, 2048, 83.6),
    ("EfficientNetB6", "efficientnet", 528, 41.0, 38.9, 2304, 84.0),
    ("EfficientNetB7", "efficientnet", 600, 64.1, 76.9, 2560, 84.3),
    ("EfficientNetV2B0", "efficientnet_v2", 224, 5.92, 1.46, 1280, 78.7),
    ("EfficientNetV2B1", "efficientnet_v2", 240, 6.93, 2.42, 1280, 79.8),
    ("EfficientNetV2B2", "efficientnet_v2", 260, 8.77, 3.44, 1408, 80.5),
    ("EfficientNetV2B3", "efficientnet_v2", 300, 12.9, 6.09, 1536, 82.0),
    ("EfficientNetV2S", "efficientnet_v2", 384, 20.3, 16.9, 1280, 83.9),
    ("EfficientNetV2M", "efficientnet_v2", 480, 53.2, 49.6, 1280, 85.3),
    ("EfficientNetV2L", "efficientnet_v2", 480, 118.0, 113.0, 1280, 85.7),
    ("ResNet50", "resnet", 224, 23.6, 7.75, 2048, 74.9),
    ("ResNet101", "resnet", 224, 42.7, 15.2, 2048, 76.4),
    ("ResNet152", "resnet", 224, 58.4, 22.6, 2048, 76.6),
    ("ResNet50V2", "resnet_v2", 224, 23.6, 6.99, 2048, 76.0),
    ("ResNet101V2", "resnet_v2", 224, 42.6, 14.4, 2048, 77.2),
    ("ResNet152V2", "resnet_v2", 224, 58.3, 21.9, 2048, 78.0),
    ("DenseNet121", "densenet", 224, 7.04, 5.7, 1024, 75.0),
    ("DenseNet169", "densenet", 224, 12.6, 6.76, 1664, 76.2),
    ("DenseNet201", "densenet", 224, 18.3, 8.63, 1920, 77.3),
    ("ConvNeXtTiny", "convnext", 224, 27.8, 8.78, 768, 81.3),
    ("ConvNeXtSmall", "convnext", 224, 49.5, 17.1, 768, 82.3),
    ("ConvNeXtBase", "convnext", 224, 87.6, 30.4, 1024, 85.3),
    ("ConvNeXtLarge", "convnext", 224, 196.0, 68.3, 1536, 86.3),
    ("ConvNeXtXLarge", "convnext", 224, 348.0, 121.0, 2048, 86.7),
    ("Xception", "xception", 299, 20.9, 16.8, 2048, 79.0),
    ("InceptionV3", "inception_v3", 299, 21.8, 11.5, 2048, 77.9),
    ("InceptionResNetV2", "inception_resnet_v2", 299, 54.3, 26.4, 1536, 80.3),
    ("NASNetMobile", "nasnet", 224, 4.27, 1.15, 1056, 74.4),
    ("NASNetLarge", "nasnet", 331, 84.9, 47.8, 4032, 82.5),
    ("VGG16", "vgg16", 224, 14.7, 30.7, 512, 71.3),
    ("VGG19", "vgg19", 224, 20.0, 39.0, 512, 71.3),
)

_OTHERS = (
    Encoder(
        "bert",
        "text",
        22.7,
        1.4,
        384,
        "64 tokens",
        "that of the checkpoint",
        "any BERT checkpoint; figures of MiniLM-L6, a good first choice",
    ),
    Encoder(
        "mfcc_cnn",
        "audio",
        0.108,
        0.0186,
        128,
        "2 s at 16 kHz",
        "none needed",
        "short sounds and words, trained from your data",
    ),
    Encoder(
        "mfcc_rnn",
        "audio",
        0.0577,
        0.0122,
        128,
        "2 s at 16 kHz",
        "none needed",
        "where the order of sounds matters",
    ),
    Encoder(
        "mfcc_statistics",
        "audio",
        0.0,
        0.00499,
        80,
        "2 s at 16 kHz",
        "none needed",
        "few examples: nothing to train",
    ),
    Encoder(
        "conformer",
        "audio",
        2.05,
        0.227,
        144,
        "2 s at 16 kHz",
        "none needed",
        "tokens for fusions by attention, trained from much data of yours",
    ),
    Encoder(
        "yamnet",
        "audio",
        None,
        None,
        1024,
        "2 s at 16 kHz",
        "that of the module",
        "sounds of every kind; any module that takes one wave: yamnet:FOLDER",
    ),
    Encoder(
        "whisper",
        "audio",
        None,
        None,
        None,
        "30 s at 16 kHz",
        "that of the preset",
        "speech in many languages; a preset of keras_hub: whisper:whisper_tiny_multi",
    ),
    Encoder(
        "moonshine",
        "audio",
        None,
        None,
        None,
        "10 s at 16 kHz",
        "that of the preset",
        "English speech, short clips cheaply; a preset of keras_hub",
    ),
)


def _network(application, family, size, parameters, gflops, width, top1):
    shared = FAMILIES[family]
    return Encoder(
        application.lower(),
        "image",
        parameters,
        gflops,
        width,
        f"{size} x {size}",
        shared.licence,
        shared.choose,
        application,
        family,
        size,
        top1,
    )


#: Every encoder by name.
ENCODERS = {x.name: x for x in (*(_network(*row) for row in _NETWORKS), *_OTHERS)}


def rows(kind=None):
    """The encoders of a kind ("image", "text", "audio"), or all.

    Raises:
        ValueError: no encoder is of that kind.
    """
    kinds = sorted({x.kind for x in ENCODERS.values()})
    if kind is not None and kind not in kinds:
        raise ValueError(f"`kind` wants one of {kinds}. Received: kind={kind!r}")
    return [x for x in ENCODERS.values() if kind in (None, x.kind)]


def find(name, kind=None):
    """The encoder called `name`.

    Example:
    >>> from mmkeras import encoders
    >>> encoders.find("resnet50").width
    2048

    Args:
        name: an encoder's name, in lower case.
        kind: optional "image", "text" or "audio".

    Raises:
        ValueError: no such encoder (the message lists near and all names).
    """
    valid = [x.name for x in rows(kind)]
    if name not in valid:
        near = difflib.get_close_matches(str(name).lower(), valid, 5, 0.5)
        what = f"{kind} encoder" if kind else "encoder"
        raise ValueError(
            f"There is no {what} '{name}'. Near names: {near}. Valid names: {valid}"
        )
    return ENCODERS[name]


def table(kind=None):
    """The encoders as lines of text, in columns.

    Args:
        kind: optional "image", "text" or "audio".
    """
    head = ("name", "kind", "params M", "GFLOPs", "width", "input", "top-1 %")
    head += ("licence", "choose it for")
    lines = [head] + [_cells(x) for x in rows(kind)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row):
    figures = (row.parameters, row.gflops, row.width)
    return (
        row.name,
        row.kind,
        *("-" if x is None else f"{x:g}" for x in figures),
        row.input,
        "-" if row.top1 is None else f"{row.top1:.1f}",
        row.licence,
        row.choose,
    )
