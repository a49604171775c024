"""What a fusion accepts, and the messages for what it does not."""


def positive(name, value, optional=False):
    """`value`, if it is an integer of 1 or more (or None, where optional)."""
    if optional and value is None:
        return value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` wants a positive integer{', or None' * optional}. Received: "
            f"{name}={value!r}"
        )
    return value


def divides(name, value, units):
    """`value`, if it divides `units`."""
    if units % value:
        near = [x for x in range(1, units + 1) if units % x == 0]
        raise ValueError(
            f"`{name}` wants a divisor of units={units}. Received: {name}={value}. "
            f"Valid: {near}"
        )
    return value


def feature_shapes(fusion, shapes):
    """Shapes of the features, tokens' shape for token features.

    Args:
        fusion: the `Fusion`, for its name and for what it takes.
        shapes: dict, modality -> shape, or -> {"tokens": shape, "mask": shape}.

    Returns:
        Dict, modality -> shape as a tuple.

    Raises:
        ValueError: not such a dict.
    """
    kind = type(fusion).__name__
    if not isinstance(shapes, dict) or not shapes:
        raise ValueError(
            f"`{kind}` wants `features` as a dict, modality -> tensor, with one "
            f"modality or more. Received: {_describe(shapes)}. Name them: "
            "{'photo': photo_feature, 'title': title_feature}."
        )
    return {name: _shape(fusion, name, shape) for name, shape in shapes.items()}


def _shape(fusion, name, shape):
    kind = type(fusion).__name__
    if isinstance(shape, dict):
        if set(shape) != {"tokens", "mask"}:
            raise ValueError(
                f"`{kind}` wants token features as {{'tokens': (batch, length, dim), "
                f"'mask': (batch, length)}}. Received: features['{name}'] with the "
                f"keys {sorted(shape)}."
            )
        shape = shape["tokens"]
    shape = tuple(shape)
    if len(shape) == 3 and not fusion.takes_tokens:
        raise ValueError(
            f"`{kind}` wants vectors (batch, dim). Received: features['{name}'] of "
            f"shape {shape}. Give its encoder `pooling='mean'`, or use a fusion that "
            "takes tokens."
        )
    if len(shape) not in (2, 3):
        raise ValueError(
            f"`{kind}` wants vectors (batch, dim){' or tokens' * fusion.takes_tokens}. "
            f"Received: features['{name}'] of shape {shape}. Flatten or pool it first."
        )
    if shape[-1] is None:
        raise ValueError(
            f"`{kind}` wants features of known width. Received: features['{name}'] of "
            f"shape {shape}. Fix the last dimension in its encoder."
        )
    return shape


def same_modalities(fusion, shapes):
    """Refuses another set of modalities, or other widths, than the first call's."""
    kind = type(fusion).__name__
    if set(shapes) != set(fusion.names):
        raise ValueError(
            f"`{kind}` was built for the modalities {list(fusion.names)}. Received: "
            f"{sorted(shapes)}. Pass all of them at every call, and mark one that is "
            "missing by presence 0."
        )
    for name, shape in shapes.items():
        if shape[-1] != fusion.dims[name]:
            raise ValueError(
                f"`{kind}` was built for features['{name}'] of width "
                f"{fusion.dims[name]}. Received: shape {shape}."
            )
        if fusion.lengths[name] == 1 and len(shape) == 3 and shape[1] != 1:
            raise ValueError(
                f"`{kind}` was built for features['{name}'] as a vector, one token "
                f"long. Received: shape {shape}. Call it with tokens first, or pool "
                "them."
            )


def presence_names(fusion, names, shapes):
    """Refuses a presence that is no dict, of unknown modalities, or not `(batch,)`."""
    kind = type(fusion).__name__
    if shapes is None:
        return
    if not isinstance(shapes, dict):
        raise ValueError(
            f"`{kind}` wants `presence` as a dict, modality -> tensor (batch,). "
            f"Received: {_describe(shapes)}."
        )
    unknown = sorted(set(shapes) - set(names))
    if unknown:
        raise ValueError(
            f"`{kind}` wants `presence` for its modalities. Received: unknown names "
            f"{unknown}. Valid names: {list(names)}."
        )
    for name, shape in shapes.items():
        if len(shape) != 1:
            raise ValueError(
                f"`{kind}` wants presence of shape (batch,), 1 present, 0 missing. "
                f"Received: presence['{name}'] of shape {tuple(shape)}."
            )


def equal_dims(fusion):
    """Refuses features of unequal width where nothing projects them."""
    if len(set(fusion.dims.values())) > 1:
        raise ValueError(
            f"`{type(fusion).__name__}` without `units` wants features of one width. "
            f"Received: {dict(fusion.dims)}. Give `units` to project them."
        )


def _describe(shapes):
    if isinstance(shapes, dict):
        return "an empty dict"
    if isinstance(shapes, tuple) and all(isinstance(x, int | None) for x in shapes):
        return f"one tensor of shape {shapes}"
    return f"{type(shapes).__name__} {shapes!r}"


def modality_weights(weights, names):
    """Raises unless `weights` has a number from 0 for each name, one above 0."""
    if sorted(weights) != sorted(names):
        raise ValueError(
            f"`weights` wants one for each of {sorted(names)}. "
            f"Received: {sorted(weights)}"
        )
    values = [float(x) for x in weights.values()]
    if not all(0 <= x < float("inf") for x in values) or not any(values):
        raise ValueError(
            f"`weights` wants numbers from 0, at least one above. Received: {weights}"
        )
