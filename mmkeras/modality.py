"""Modality contracts: how raw data becomes the tensor that an encoder takes.

The first layer of every encoder is a `ModalityInput`. It is saved with the encoder,
so the picture size, sampling rate or vocabulary cannot part from the weights.
"""

import abc

import keras


class ModalityInput(keras.layers.Layer):
    """Base class of the contracts `Pixels`, `Waveform`, `TokenIds` and `Columns`.

    `read` turns encoded bytes or strings into the modality's tensor, in TensorFlow
    ops, for tf.data and for serving. `call` works on that tensor inside the model, in
    `keras.ops` (scaling, for example). An empty string is an absent modality: `read`
    gives zeros for it and `presence` gives 0.

    A subclass sets `kind`, `cell`, `tensor_shape` and `tensor_dtype` and writes
    `read_one` (one encoded value) or `read` (a batch at once).
    """

    #: "image", "text", "audio" or "table".
    kind = None
    #: What a table's cell holds: "file" (a path, or bytes) or "value" (the string).
    cell = "file"
    #: Dtype of the tensor that `read` gives and `call` takes.
    tensor_dtype = "float32"
    #: For a modality of several table columns their names, in the order of a value's
    #: fields; `text` makes a field of a cell and `join` a value of the fields.
    columns = None
    #: Whether NaN in the tensor stands for a part that is missing.
    nan_is_missing = False
    _compiled = None

    @property
    @abc.abstractmethod
    def tensor_shape(self):
        """Shape of one example's tensor, without the batch; all dimensions known."""

    def read_one(self, raw):
        """One encoded value, a scalar tf.string, to a tensor of `tensor_shape`."""
        raise NotImplementedError(
            f"{type(self).__name__} must write `read_one` or `read`."
        )

    def read(self, raw):
        """Encoded values to tensors, in TensorFlow ops only.

        Args:
            raw: tf.string tensor `(batch,)`, or a scalar.

        Returns:
            Tensor `(batch, *tensor_shape)` of `tensor_dtype`; zeros where `raw` is
            the empty string.
        """
        import tensorflow as tf

        raw = tf.convert_to_tensor(raw, tf.string)
        spec = tf.TensorSpec(self.tensor_shape, self.tensor_dtype)

        def one(item):
            tensor = tf.cond(
                tf.strings.length(item) > 0,
                lambda: self.read_one(item),
                lambda: tf.zeros(spec.shape, spec.dtype),
            )
            return tf.ensure_shape(tensor, spec.shape)

        if raw.shape.rank == 0:
            return one(raw)
        return tf.map_fn(one, raw, fn_output_signature=spec)

    def presence(self, raw):
        """1.0 where an encoded value is there, 0.0 where it is absent.

        Args:
            raw: tf.string tensor `(batch,)`.

        Returns:
            float32 tensor `(batch,)`.
        """
        return presence(raw)

    def refusal(self, raw):
        """Why `read_one` refuses a value, as far as that is told without raising.

        The raw endpoint asks this first, since an error ends the request of a whole
        batch. May be silent where `read_one` raises, not the other way round.

        Args:
            raw: scalar tf.string, not empty.

        Returns:
            Scalar tf.string; "" where nothing speaks against the value.
        """
        import tensorflow as tf

        return tf.constant("")

    @property
    def details(self):
        """What an export's card says beside kind and shape, as a dict for JSON."""
        return {}

    def read_cell(self, cell):
        """One table cell, in Python, to a numpy array of `tensor_shape`.

        Gives the same numbers as `read` on the file's bytes. A subclass may take more
        formats here than the serving graph can decode.

        Args:
            cell: a path (str) or the encoded bytes where `self.cell` is "file"; the
                string itself where it is "value".

        Raises:
            ValueError, OSError or tf.errors.OpError: the value cannot be read; the
                message says why.
        """
        import tensorflow as tf

        if self.cell == "file" and isinstance(cell, str):
            with tf.io.gfile.GFile(cell, "rb") as file:
                cell = file.read()
            if not cell:
                raise ValueError("the file is empty")
        return self.compiled_read(tf.constant([cell], tf.string)).numpy()[0]

    def compiled_read(self, raw):
        """`read` as one compiled function: ten times faster than op by op.

        Args and result as `read`, for `raw` of shape `(batch,)`.
        """
        import tensorflow as tf

        if self._compiled is None:
            spec = tf.TensorSpec([None], tf.string)
            self._compiled = tf.function(self.read, input_signature=[spec])
        return self._compiled(raw)

    def compute_output_shape(self, input_shape):
        return input_shape


def presence(raw):
    """1.0 where an encoded value is there, 0.0 where it is the empty string.

    Args:
        raw: tf.string tensor `(batch,)`.

    Returns:
        float32 tensor `(batch,)`.
    """
    import tensorflow as tf

    return tf.cast(tf.strings.length(raw) > 0, "float32")


def tensor_input(contract, name):
    """The `keras.Input` of a contract's tensor, called `name`."""
    return keras.Input(contract.tensor_shape, dtype=contract.tensor_dtype, name=name)


def contract(encoder):
    """The `ModalityInput` of an encoder.

    Args:
        encoder: `keras.Model` with one input.

    Raises:
        ValueError: the model has no `ModalityInput`, or more than one.
    """
    found = [x for x in _layers(encoder) if isinstance(x, ModalityInput)]
    if len(found) != 1:
        raise ValueError(
            f"An encoder wants exactly one contract layer (`Pixels`, `TokenIds`, "
            f"`Waveform` or `Columns`) behind its input. Received: model "
            f"'{encoder.name}' with {len(found)} of them. Build it with a function of "
            f"mmkeras.image, mmkeras.text, mmkeras.audio or mmkeras.tabular, or turn a "
            f"model of your own into an encoder with `mmkeras.image.from_model`."
        )
    return found[0]


def _layers(model):
    """All layers, those of nested models included, in the graph's order."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
