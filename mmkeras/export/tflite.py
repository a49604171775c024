"""A TFLite file: one model for phones and boards, waveform and token ids in."""

from pathlib import Path

from mmkeras.export import companions, lite_check, lite_graph
from mmkeras.export.lite_convert import convert, op_counts
from mmkeras.export.lite_file import LiteFile
from mmkeras.export.lite_quantize import EMBEDDING_BITS, MODES, quantize_file

#: Difference to `model.predict` that is let through, by `quantize`.
TOLERANCES = {None: 1e-4, "float16": 2e-2, "dynamic": 0.3, "int8": 0.5}
#: Rows seen: by 300 in place of 100, integers agree with the model 1 point more often.
_ROWS = 300
_ADVICE = {
    None: "Look for NaN weights, for layers that are random at inference or, where "
    "scores alone differ, for logits of thousands, whose rounding moves them.",
    "float16": "Keep float32 (`quantize=None`), or allow more.",
    "dynamic": "Compare on `representative` rows, take 'float16', or allow more.",
    "int8": "Give more `representative` rows, take 'dynamic', or allow more.",
}


def tflite(
    model,
    path,
    *,
    quantize=None,
    representative=None,
    batch_size=1,
    any_length=False,
    tolerance=None,
    overwrite=False,
):
    """Writes a model as a TFLite file of builtin operations.

    The file has one signature, "serve". It takes the model's inputs by name (pictures
    as numbers, waveforms, token ids, `<name>_present`) and gives "outputs" as
    `model.predict`, or the keys of a model with several, and behind a head of
    `mmkeras.heads` "scores", or `<key>_scores`. `LogMel` and `MFCC` compute by matrix
    products whatever they were built with. The model stays as it is.

    Beside `products.tflite` come `products.tflite.json`, what goes in and out (see
    `read_card`), and for a text all that a device needs to read it without mmkeras:
    `products.tflite.<name>.vocab.txt`, token number i in line i,
    `products.tflite.<name>.characters.txt`, what each character becomes, and
    `products_tflite_tokenizer.py`, forty lines of plain Python that give the ids of
    `mmkeras.text.TokenIds` from these. All appear whole or not at all, after the file
    was compared with `model.predict`.

    Smaller files need `pip install mmkeras[tflite]`. `LogMel` and `MFCC` stay in
    float32 in all of them; embeddings become integers with one scale a row.

    - "float16": weights in 16 bits, half the size.
    - "dynamic": weights in 8 bits, activations in float, a quarter of the size.
    - "int8": activations too, for speed, where `representative` rows show their ranges:
      in image, audio and table encoders and in the fusion. Text encoders and heads, as
      well as masks, norms and softmax, are as in "dynamic". Inputs and outputs are in
      float.

    Example:
    >>> import tempfile
    >>> wave = keras.Input((None,), name="wave")
    >>> model = keras.Model(wave, mm.audio.MFCC(16000, 20, n_fft=400)(wave))
    >>> folder = tempfile.mkdtemp()
    >>> report = mm.export.tflite(model, f"{folder}/mfcc.tflite")
    >>> report.max_difference < 1e-5, "FULLY_CONNECTED" in report.ops
    (True, True)

    Args:
        model: functional `keras.Model`: a multimodal model, an encoder, or layers.
        path: file to write, on this machine, ending in ".tflite".
        quantize: None (float32), "float16", "dynamic" or "int8".
        representative: rows as `model.predict` takes them, a dict of arrays or an
            iterable of batches (or single rows) such as a `tf.data.Dataset`, of inputs
            or of `(inputs, labels)`. The first 300 rows are seen, so mix them first.
            "int8" wants them; with them, the file is compared on them too, the report's
            agreement is theirs, and where they come with labels it says how the scores
            change.
        batch_size: Integer, rows a request, or None for any.
        any_length: True lets the waveforms of audio encoders have any length.
        tolerance: largest difference to `model.predict` that is let through, relative
            to the largest expected number where that is above 1. Default: 1e-4, for
            "float16" 0.02, "dynamic" 0.3, "int8" 0.5.
        overwrite: replace files that lie there.

    Returns:
        `LiteReport`; `print` shows it as a table.

    Raises:
        TypeError: `model` is no functional keras.Model.
        ValueError: an argument is wrong, `path` is taken, an operation is none of
            TFLite's own (the message names it and its layer), or the file differs from
            `model.predict`.
        ImportError: `quantize` is given and ai-edge-quantizer is not installed.
    """
    _check(model, path, quantize, representative)
    if tolerance is None:
        tolerance = TOLERANCES[quantize]
    rows = labels = None
    if representative is not None:
        rows, labels = lite_check.real_rows(model, representative, _ROWS)
    with companions.whole(model, path, overwrite) as folder:
        content = _content(model, quantize, rows, batch_size, any_length)
        report = _report(model, path, content, quantize, (rows, labels), tolerance)
        if not report.max_difference <= tolerance:
            raise ValueError(
                f"The TFLite file differs from `model.predict` by "
                f"{report.max_difference:.2g}, more than `tolerance`={tolerance:.2g}; "
                f"inf stands for NaN. Nothing was written. {_ADVICE[quantize]}\n"
                f"{report}"
            )
        file = folder / Path(path).name
        companions.write(model, file, quantize)
        file.write_bytes(content)
    return report


def _check(model, path, quantize, representative):
    lite_graph.check(model, "A TFLite file")
    if quantize not in MODES:
        raise ValueError(f"`quantize` wants one of {MODES}. Received: {quantize!r}")
    if quantize == "int8" and representative is None:
        raise ValueError(
            "`quantize='int8'` wants `representative` rows, to see how large "
            "activations become. Received: None. Give 100 to 300 rows of the training "
            "data, or take 'dynamic'."
        )
    if Path(path).suffix != ".tflite":
        raise ValueError(
            f"`path` wants a file ending in '.tflite'. Received: {path}. A folder is "
            f"what `mmkeras.export.saved_model` writes."
        )


def _content(model, quantize, rows, batch_size, any_length):
    bits = EMBEDDING_BITS[quantize]
    traced = lite_graph.trace(model, batch_size, any_length, bits, quantize is None)
    content = convert(*traced)
    if quantize is None:
        return content
    count = len(next(iter(rows.values()))) if rows else 0
    samples = [{name: x[i : i + 1] for name, x in rows.items()} for i in range(count)]
    return quantize_file(content, quantize, samples)


def _report(model, path, content, quantize, given, tolerance):
    rows, labels = given
    # 8 bits that fit real rows do not fit noise
    asked = lite_check.questions(model, rows, noise=quantize != "int8")
    ops = op_counts(content)
    asking = (model, path, len(content), LiteFile(content), asked)
    return lite_check.report(*asking, tolerance, ops, labels, quantize)
