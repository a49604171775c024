"""Balance between tasks: each counts by the uncertainty that is learned for it."""

import keras

from mmkeras.heads import LogVariances, Named


def uncertainty(model, rate=1.0):
    """A training model whose tasks weigh by learned uncertainty.

    loss = sum_t w_t (a_t exp(-s_t) L_t + s_t / 2), s_t = log sigma_t^2 a learned
    number a task, a = 1/2 for numbers and 1 for classes. Where L stays as it is,
    exp(s) becomes 2 a L: a task that is always wrong by much, or by large numbers,
    counts less.

    It shares its layers with `model`: fit it and `model` is trained; the s_t stay
    behind. Save the training model too where training has to go on later.

    Example:
        kind, price = mmkeras.heads.classification(5), mmkeras.heads.regression()
        head = mmkeras.heads.several({"kind": kind, "price": price})
        model = mmkeras.multimodal(encoders, fusion, head.layer)
        training = mmkeras.balance.uncertainty(model)
        training.compile("adam", head.loss, metrics=head.metrics)
        training.fit(rows, epochs=5)
        mmkeras.balance.log_variances(training)  # {"kind": -0.7, "price": 3.1}

    Args:
        model: a multimodal model with the head layers of `mmkeras.heads.several`, or
            its trunk. Compile what this returns with the `loss` of the same `Head`.
        rate: Float above 0, how much faster than other weights s learns under Adam,
            whose steps are of one size: squared errors in the thousands are e^7, seven
            thousand steps of 0.001. Better `standardize` such numbers: where a task
            is learnt by heart, a fast s follows its loss to 0 and blows it up.

    Returns:
        `keras.Model` with the inputs of `model`; its outputs hold s in a last column,
        which the losses and metrics of `several` take off again.

    Raises:
        ValueError: one output, an output of a plain layer, a `rate` not above 0.

    Reference:
        Kendall et al. 2018, arXiv:1705.07115.
    """
    outputs = model.output
    named = isinstance(outputs, dict) and all(
        isinstance(x._keras_history.operation, Named) for x in outputs.values()
    )
    if not named or len(outputs) < 2:
        raise ValueError(
            f"`model` wants the head layers of `mmkeras.heads.several`: a dict of two "
            f"outputs or more. Received: outputs {outputs}"
        )
    if not rate > 0:
        raise ValueError(f"`rate` wants a float above 0. Received: rate={rate}")
    together = LogVariances(rate, name="log_variances")(outputs)
    return keras.Model(model.input, together, name=f"{model.name}_uncertainty")


def log_variances(training):
    """The s of every task: dict, task -> float.

    Args:
        training: what `uncertainty` returned, or that read from its file.
    """
    return training.get_layer("log_variances").values()
