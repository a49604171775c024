"""Strings that tokenizers disagree on, and the library's answer to them."""

import random

import tokenizers

HARD = [
    "",
    " ",
    "\t \n",
    "hello world",
    "Hello, World!?",
    "don't stop-motion (it's 3.14%)",
    "Ünïcödé café naïve",
    "e\u0301a\u0300 A\u030a",  # combining accents
    "İstanbul ISTANBUL ı",
    "straße STRASSE ẞ",
    "Ångström Ω µ",
    "ﬁnal ﬂight ½ ²",
    "北京大学 hello 東京",
    "日本語のテキスト",
    "한국어 텍스트",
    "𠀀𪛖 rare",  # CJK extensions
    "العربية مَرْحَبًا",
    "עִבְרִית",
    "हिन्दी ไทย",
    "Ελληνικά ΣΊΣΥΦΟΣ",
    "Привет, йод",
    "😀 ok 👍🏽 fine",
    "🤷\u200d♀️ family 👨\u200d👩\u200d👧",
    "a\x00b\x01c\x7fd",
    "\ufeffbom zero\u200bwidth soft\u00adhyphen",
    "\u2028line\u2029para\u0085next\u00a0nbsp\u3000wide",
    "\ufffd replacement \ufffe",
    "\ue000 private \U000f0000",
    "\U000e0001 tag \U000e0101 variation",
    "x" * 200,
    "a" * 100,
    "a" * 101,
    "é" * 101,
    "[SEP]",
    "[CLS] a [PAD] b [SEP] c [UNK] [MASK]",
    "##ing ## #hash @at _under_ `tick` ~ ^ $5 <tag>",
    "“quotes” ‘single’ … — – «guillemets»",
    "http://example.org/a?b=c&d=e#f",
    "a b " * 200,
    "unaffable internationalization antidisestablishmentarianism",
]
_RANGES = [(0x20, 0x7F), (0x20, 0x250), (0x300, 0x370), (0x370, 0x3100), (0, 0x110000)]


def fuzzed(count=2000, seed=0):
    """Random strings: words, ASCII, accents, marks, and any code point at all."""
    draw = random.Random(seed)
    words = " ".join(HARD).split()

    def character():
        point = draw.randrange(*draw.choice(_RANGES))
        return "\ufffd" if 0xD800 <= point < 0xE000 else chr(point)

    def part():
        if draw.random() < 0.3:
            return draw.choice(words)
        return "".join(character() for _ in range(draw.randrange(1, 8)))

    return [
        draw.choice(["", " "]).join(part() for _ in range(draw.randrange(1, 12)))
        for _ in range(count)
    ]


def library(vocabulary, lowercase=True, strip_accents=None):
    """The `tokenizers` library's BERT tokenizer for a vocabulary."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            ids, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return made


def encode(made, texts, length):
    """The library's own padded and truncated ids; all padding for empty strings."""
    made.encode_special_tokens = True
    made.enable_truncation(length)
    made.enable_padding(length=length, pad_id=made.token_to_id("[PAD]"))
    pad = [made.token_to_id("[PAD]")] * length
    return [
        x.ids if text else pad
        for text, x in zip(texts, made.encode_batch(texts), strict=True)
    ]
