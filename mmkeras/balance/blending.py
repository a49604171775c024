"""Gradient Blending: loss weights from how each modality overfits and generalises."""

import keras

from mmkeras.balance.deep_supervision import row_weight
from mmkeras.balance.parts import mapped

#: An overfitting smaller than this counts as this, or one output would take all.
SMALLEST_OVERFITTING = 1e-3


def blending_weights(train_before, train_after, val_before, val_after):
    """Loss weights from four measured losses: w_k = (1 / Z) G_k / O_k^2.

    G_k = V_k - V'_k, what training took off the validation loss; O_k = (V'_k - T'_k) -
    (V_k - T_k), how far the gap between validation and training grew; Z makes the sum
    of the weights 1. Where G_k <= 0 training did not generalise and the weight is 0;
    |O_k| counts as 0.001 at least.

    Example:
    >>> before, after = {"fused": 1.0, "photo": 1.0}, {"fused": 0.5, "photo": 0.2}
    >>> val = {"fused": 0.7, "photo": 0.8}
    >>> w = mmkeras.balance.blending_weights(before, after, before, val)
    >>> {name: round(x, 2) for name, x in w.items()}
    {'fused': 0.93, 'photo': 0.07}

    Args:
        train_before: dict, output -> training loss T at the first checkpoint.
        train_after: the same at the second, T'.
        val_before: dict, output -> validation loss V at the first checkpoint.
        val_after: the same at the second, V'.

    Returns:
        Dict, output -> weight.

    Raises:
        ValueError: the dicts differ in names, or no validation loss fell.

    Reference:
        Wang et al. 2020, arXiv:1905.12681. Departs: the two clamps, where the paper
        leaves a negative or infinite weight.
    """
    names = sorted(train_before)
    for other in (train_after, val_before, val_after):
        if sorted(other) != names:
            raise ValueError(
                f"The four dicts want the same names. Received: {names} and "
                f"{sorted(other)}"
            )
    ratios = {}
    for name in names:
        gain = val_before[name] - val_after[name]
        gap_before = val_before[name] - train_before[name]
        overfitting = abs(val_after[name] - train_after[name] - gap_before)
        overfitting = max(overfitting, SMALLEST_OVERFITTING)
        ratios[name] = max(gain, 0.0) / overfitting**2
    total = sum(ratios.values())
    if not total > 0:
        raise ValueError(
            f"No output's validation loss fell, so there is nothing to weigh. "
            f"Received: {val_before} before, {val_after} after. Measure earlier, for "
            f"fewer epochs, or with a smaller learning rate."
        )
    return {name: float(x / total) for name, x in ratios.items()}


def gradient_blending(training, train, val, loss, optimizer="adam", epochs=1):
    """Measures the loss weights of `supervised` by Gradient Blending.

    For each output by itself (each modality alone, and the fused one): trains for
    `epochs` from the weights of now, compares the losses before and after, and puts all
    weights back. Costs one short training an output. Call it once before the training
    (the paper's offline form), or every few epochs, each time compiling anew (online).

    Example:
        training = mmkeras.balance.supervised(model)
        weights = mmkeras.balance.gradient_blending(
            training, train, val, head.loss, epochs=3
        )
        training.compile("adam", **mmkeras.balance.losses(training, head, weights))
        training.fit(mmkeras.balance.with_targets(train, training), epochs=20)

    Args:
        training: what `supervised` returned. Under a strategy, call this in its scope.
        train: training rows `(inputs, labels[, weights])`: a batched `tf.data.Dataset`,
            or one tuple of arrays. Rows that lack a modality do not count for it.
        val: validation rows in the same form, not among the training rows.
        loss: a `keras.losses.Loss`, such as a head's.
        optimizer: name, or optimizer to copy the settings of for each output.
        epochs: Integer, how long each output is trained.

    Returns:
        Dict, output -> loss weight; they sum to 1. See `blending_weights`.

    Raises:
        ValueError: no output's validation loss fell.

    Reference:
        Wang et al. 2020, arXiv:1905.12681, algorithm 1.
    """
    start = [keras.ops.convert_to_numpy(x.value) for x in training.variables]
    found = ({}, {}, {}, {})
    for name in training.output:
        single = keras.Model(training.input, training.output[name])
        pattern = keras.optimizers.get(optimizer)
        single.compile(
            type(pattern).from_config(pattern.get_config()),
            loss,
            # the mean over the rows that count; Keras' own loss divides by all rows
            weighted_metrics=[keras.metrics.MeanMetricWrapper(loss.call, name="rows")],
        )
        rows, held = _weighed(train, name), _weighed(val, name)
        try:
            before = _loss(single, rows), _loss(single, held)
            _fit(single, rows, epochs)
            after = _loss(single, rows), _loss(single, held)
        finally:
            for variable, value in zip(training.variables, start, strict=True):
                variable.assign(value)
        measured = (before[0], after[0], before[1], after[1])
        for losses, value in zip(found, measured, strict=True):
            losses[name] = value
    return blending_weights(*found)


def _weighed(data, name):
    """The rows with the weights that count for one output."""

    def weighed(x, y, weight=1.0):
        return x, y, row_weight(x, weight, name)

    return mapped(data, weighed)


def _fit(model, data, epochs):
    if isinstance(data, tuple):
        model.fit(*data[:2], sample_weight=data[2], epochs=epochs, verbose=0)
    else:
        # Keras warns of shuffling where a tf.data.Dataset does its own
        model.fit(data, epochs=epochs, shuffle=False, verbose=0)


def _loss(model, data):
    if isinstance(data, tuple):
        x, y, weight = data
        found = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    else:
        found = model.evaluate(data, verbose=0, return_dict=True)
    return found["rows"]
