"""How two rows' tensors of one modality become one, at a share of the first.

All take x and y `(batch, ...)`, a share `(batch,)` and a seed. A share of 1 gives x and
one of 0 gives y, bit for bit, whatever stands in the other.
"""

from mmkeras.tabular import Columns
from mmkeras.text import TokenIds


def of(name, contract, method):
    """The function that mixes a modality's tensors: (x, y, share, seed) -> tensor.

    Raises:
        ValueError: a text whose contract has no special tokens.
    """
    if isinstance(contract, TokenIds):
        return _Texts(contract, whole=method == "mixgen")
    if isinstance(contract, Columns):
        return _Cells(len(contract.numeric))
    if contract.kind == "text":
        raise ValueError(
            f"`mix` joins texts of `mmkeras.text.TokenIds`. Received: '{name}', a "
            f"{type(contract).__name__}"
        )
    return choice if "int" in contract.tensor_dtype else numbers


def shares(there, partner, share):
    """A modality's own share and presence: where one row lacks it, all is the other's.

    Rows that are not mixed at all keep their own.
    """
    import tensorflow as tf

    other = tf.gather(there, partner)
    one = tf.where(there > 0, tf.where(other > 0, share, 1.0), 0.0)
    one = tf.where((there > 0) | (other > 0), one, 1.0)
    whole = (share == 0) | (share == 1)
    mixed = tf.maximum(there, other)
    presence = tf.where(share == 1, there, tf.where(share == 0, other, mixed))
    return tf.where(whole, share, one), presence


def numbers(x, y, share, _=None):
    """Share x + (1 - share) y."""
    import tensorflow as tf

    share = _beside(share, x)
    mixed = share * x + (1.0 - share) * y
    return tf.where(share == 1, x, tf.where(share == 0, y, mixed))


def choice(x, y, share, seed):
    """The whole row of x with probability `share`, else that of y."""
    import tensorflow as tf

    draw = tf.random.stateless_uniform(tf.shape(share), seed)
    return tf.where(_beside(draw < share, x), x, y)


class _Cells:
    """Numbers are interpolated, categories chosen; NaN is a missing cell."""

    def __init__(self, numeric):
        self.numeric = numeric

    def __call__(self, x, y, share, seed):
        import tensorflow as tf

        a, b = x[:, : self.numeric], y[:, : self.numeric]
        some = _beside((share > 0) & (share < 1), a)
        # what one of the two lacks is the other's
        left = tf.where(some & tf.math.is_nan(a), b, a)
        right = tf.where(some & tf.math.is_nan(b), a, b)
        mixed = numbers(left, right, share)
        chosen = choice(x[:, self.numeric :], y[:, self.numeric :], share, seed)
        return tf.concat([mixed, chosen], axis=1)


class _Texts:
    """[CLS] tokens of x [SEP] tokens of y [SEP], all of both or by their shares."""

    def __init__(self, contract, whole):
        self.whole = whole
        self.length = contract.length
        self.padding = contract.padding_id
        self.end = contract.vocabulary.index("[SEP]")

    def __call__(self, x, y, share, _):
        import tensorflow as tf

        first, second = self._kept(x, y, share)
        place = tf.range(self.length)[None]
        first, second = first[:, None], second[:, None]
        behind = tf.clip_by_value(place - first - 1, 0, self.length - 1)
        out = tf.where(place <= first, x, tf.gather(y, behind, batch_dims=1))
        last = first + second + 2
        out = tf.where((place == first + 1) | (place == last), self.end, out)
        out = tf.where(place > last, self.padding, out)
        return tf.where(second == 0, x, tf.where(first == 0, y, out))

    def _kept(self, x, y, share):
        """How many tokens of each stay, [CLS] and [SEP] apart: two `(batch,)`."""
        import tensorflow as tf

        a, b = (
            tf.cast(tf.math.count_nonzero(z != self.padding, 1), tf.int32) - 2
            for z in (x, y)
        )
        a, b = tf.maximum(a, 0), tf.maximum(b, 0)
        if not self.whole:
            a, b = (
                tf.cast(tf.math.ceil(tf.cast(n, tf.float32) * part), tf.int32)
                for n, part in ((a, share), (b, 1.0 - share))
            )
        b = tf.where(share == 1, 0, b)
        a = tf.where(share == 0, 0, a)
        room = max(self.length - 3, 0)
        first = tf.minimum(a, tf.maximum(room - b, (room + 1) // 2))
        second = tf.minimum(b, room - first)
        # a text alone keeps the place of the second [SEP] too: it is not touched
        return tf.where(b == 0, a, first), tf.where(a == 0, b, second)


def _beside(share, x):
    """`(batch,)` to the rank of x, for a product with it."""
    import tensorflow as tf

    return tf.reshape(share, [-1] + [1] * (x.shape.rank - 1))
