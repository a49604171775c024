"""Which output of a model a question is about: a class, or the predicted one."""

import numpy as np

from mmkeras import heads


def names(model, width):
    """The names of a model's outputs, as strings."""
    contract = heads.output_contract(model)
    return tuple(contract.classes if contract else map(str, range(width)))


def scores(model, outputs, probabilities):
    """Outputs, or the probabilities that the head makes of them; tensors.

    Raises:
        ValueError: probabilities of a head that does not say what its outputs are.
    """
    contract = heads.output_contract(model)
    if not probabilities:
        return outputs
    if contract is None:
        raise ValueError(
            "`probabilities=True` wants a head of `mmkeras.heads`, which knows what "
            "its outputs are. Received: a model without one."
        )
    return contract.probabilities(outputs)


def places(target, outputs, classes):
    """The output asked for in each row, as integers `(rows,)`.

    Args:
        target: None (the largest output of each row), a name or number, or a sequence
            of them, one a row.
        outputs: array `(rows, outputs)`.
        classes: names of the outputs.

    Raises:
        ValueError: an unknown class, or a sequence of another length.
    """
    if target is None:
        return outputs.argmax(-1)
    if isinstance(target, str) or np.ndim(target) == 0:
        target = [target] * len(outputs)
    if len(target) != len(outputs):
        raise ValueError(
            f"`target` wants one class, or one for each of {len(outputs)} rows. "
            f"Received: {len(target)}"
        )
    return np.array([_place(x, classes) for x in target], int)


def _place(target, classes):
    if isinstance(target, str) and target in classes:
        return classes.index(target)
    number = isinstance(target, int | np.integer) and not isinstance(target, bool)
    if number and 0 <= target < len(classes):
        return int(target)
    raise ValueError(
        f"`target` wants one of {list(classes)[:50]}, or a number from 0 to "
        f"{len(classes) - 1}. Received: {target!r}"
    )
