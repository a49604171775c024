"""From a traced function to the bytes of a TFLite file, of builtin operations only."""

import collections
import re
import tempfile

from mmkeras.export import checks

_HINTS = {
    "FFT": "take the spectrum by `mmkeras.audio.LogMel` or `MFCC`, or by products",
    "String": "read text outside the model and give it ids",
    "Table": "look words up outside the model and give it ids",
    "StridedSlice": "fix the batch or the lengths (`batch_size=1`, `any_length=False`)",
    "TensorList": "give the recurrent layer `unroll=True`, or export `batch_size=1`",
}


def convert(module, function):
    """Converts a concrete function.

    Args:
        module: the `tf.Module` that tracks what `function` needs.
        function: concrete function with named inputs and a dict of outputs.

    Returns:
        bytes of a TFLite file with the signature "serve".

    Raises:
        ValueError: an operation is not among TFLite's builtin ones; the message names
            it and the layer.
    """
    import tensorflow as tf

    # by way of a SavedModel: from the function itself there is no named signature
    with tempfile.TemporaryDirectory() as folder, checks.quiet():
        tf.saved_model.save(module, folder, signatures={"serve": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serve"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            return converter.convert()
        except Exception as error:  # the class is not public
            foreign = foreign_ops(str(error))
            if not foreign:
                raise
            raise ValueError(_explain(foreign)) from None


def foreign_ops(message):
    """Operations that the converter's message says TFLite lacks.

    Args:
        message: text of a ConverterError.

    Returns:
        dict, operation -> sorted list of the places (name scopes) it stands in.
    """
    found = collections.defaultdict(set)
    for line in message.splitlines():
        match = re.search(r"'tf\.(\w+)' op is neither a custom op nor a flex op", line)
        if match:
            place = re.search(r'"([^"@:]+/[^"@]+)[@"]', line)
            found[match[1]].update([place[1].rpartition("/")[0]] if place else [])
    return {name: sorted(places) for name, places in sorted(found.items())}


def _explain(foreign):
    parts = [
        f"{name} (layer {', '.join(places) or 'unknown'})"
        for name, places in foreign.items()
    ]
    hints = {hint for word, hint in _HINTS.items() if word in " ".join(foreign)}
    hints = sorted(hints) or ["write the layer with other `keras.ops`"]
    return (
        f"`model` wants operations that TFLite has built in. Received: "
        f"{'; '.join(parts)}. Nothing was written: {'; '.join(hints)}, or export "
        f"`mmkeras.export.saved_model`."
    )


def op_counts(content):
    """Operations of a TFLite file: name -> how often, over all its subgraphs.

    Args:
        content: bytes of the file.

    Returns:
        dict, sorted by name. What is not builtin is called "CUSTOM <name>".
    """
    from tensorflow.lite.python import schema_py_generated as schema

    words = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.Model.GetRootAs(content, 0)
    names = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        # numbers above 127 stand in the second field only
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = (code.CustomCode() or b"").decode()
        names.append(f"CUSTOM {custom}" if custom else words[number])
    counts = collections.Counter()
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        for j in range(graph.OperatorsLength()):
            counts[names[graph.Operators(j).OpcodeIndex()]] += 1
    return dict(sorted(counts.items()))
