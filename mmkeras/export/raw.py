"""Raw values at an endpoint: what is too large or cannot be read, and who says so."""

from mmkeras.modality import ModalityInput

#: Bytes of one value, by the contract's kind; larger ones are refused unread.
MAX_BYTES = {
    "image": 20_000_000,
    "audio": 50_000_000,
    "text": 100_000,
    "table": 100_000,
}
_OTHER = 20_000_000  # contracts of a kind of their own
#: What happens to a request with a value that cannot be read.
MODES = ("raise", "absent")
#: Rows that an error names.
_NAMED = 10


class Reader:
    """Raw values to a model's inputs, within limits, in TensorFlow core ops.

    Every value is first asked for what speaks against it (`ModalityInput.refusal`), in
    ops that raise nothing. With "raise" the request ends with a message that names
    modality, row and reason; with "absent" the value counts as a missing modality and
    its status says why. Damage inside a compressed stream, which only its decoder sees,
    ends the request in both.

    Args:
        contracts: dict, modality -> contract.
        on_bad_value: "raise" or "absent".
        max_bytes: optional dict, modality -> Integer; default: `MAX_BYTES` by kind.

    Raises:
        ValueError: an argument is unknown or out of range.
    """

    def __init__(self, contracts, on_bad_value="raise", max_bytes=None):
        if on_bad_value not in MODES:
            raise ValueError(
                f"`on_bad_value` wants one of {MODES}. Received: {on_bad_value!r}"
            )
        max_bytes = max_bytes or {}
        unknown = sorted(set(max_bytes) - set(contracts))
        wrong = {k: x for k, x in max_bytes.items() if not _is_size(x)}
        if unknown or wrong:
            raise ValueError(
                f"`max_bytes` wants modalities of the model and integers from 1 to "
                f"2,147,483,647. Received: {max_bytes}. Valid names: "
                f"{sorted(contracts)}"
            )
        self.contracts = contracts
        self.on_bad_value = on_bad_value
        self.max_bytes = {
            name: max_bytes.get(name, MAX_BYTES.get(contract.kind, _OTHER))
            for name, contract in contracts.items()
        }

    @property
    def limits(self):
        """Modality -> limits of a value, as a dict for JSON."""
        found = {}
        for name, contract in self.contracts.items():
            found[name] = {"bytes": self.max_bytes[name]}
            for limit in ("max_pixels", "seconds"):
                if hasattr(contract, limit):
                    found[name][limit.removeprefix("max_")] = getattr(contract, limit)
        return found

    def __call__(self, raw):
        """Reads a batch.

        Args:
            raw: dict, modality -> tf.string tensor `(batch,)`.

        Returns:
            `(inputs, statuses)`: the model's inputs, `<name>` and `<name>_present`, and
            with "absent" `<name>_status`, tf.string `(batch,)`: "read", "absent", or
            "refused: " and why.
        """
        import tensorflow as tf

        tensors, present, statuses = {}, {}, {}
        for name, contract in self.contracts.items():
            why = self._reasons(name, raw[name])
            if self.on_bad_value == "raise":
                with tf.control_dependencies([_none_refused(name, why)]):
                    values = tf.identity(raw[name])
            else:
                values = tf.where(why == "", raw[name], "")
            tensors[name] = contract.read(values)
            there = present[f"{name}_present"] = contract.presence(values)
            if self.on_bad_value == "absent":
                status = tf.where(there > 0, "read", "absent")
                refused = tf.strings.join(["refused: ", why])
                statuses[f"{name}_status"] = tf.where(why == "", status, refused)
        return {**tensors, **present}, statuses

    def _reasons(self, name, raw):
        """What speaks against each value, tf.string `(batch,)`; "" where nothing."""
        import tensorflow as tf

        contract, limit = self.contracts[name], self.max_bytes[name]
        size = tf.strings.length(raw)
        large = size > limit
        count = tf.strings.as_string(size)
        told = tf.strings.join(["it has ", count, f" bytes, more than {limit}"])
        if type(contract).refusal is ModalityInput.refusal:
            return tf.where(large, told, "")

        def one(value):
            def ask():
                return contract.refusal(value)

            def nothing():
                return tf.constant("")

            return tf.cond(tf.strings.length(value) > 0, ask, nothing)

        spec = tf.TensorSpec([], tf.string)
        small = tf.where(large, "", raw)
        why = tf.map_fn(one, small, fn_output_signature=spec)
        return tf.where(large, told, why)


def _none_refused(name, why):
    """An operation that ends the request where a value is refused, and says which."""
    import tensorflow as tf

    rows = tf.where(why != "")[:, 0]
    first = rows[:_NAMED]
    told = tf.strings.join(
        ["row ", tf.strings.as_string(first), ": ", tf.gather(why, first)]
    )
    told = tf.strings.reduce_join(told, separator="; ")
    fine = tf.debugging.Assert(
        tf.size(rows) == 0, [f"`{name}` cannot be read:", told], summarize=1
    )
    return tf.no_op() if fine is None else fine  # in eager mode, where it holds, None


def _is_size(number):
    return isinstance(number, int) and 1 <= number < 2**31
