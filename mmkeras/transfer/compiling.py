"""Compiling a model again after what trains has changed, its optimizer's state kept.

Keras decides at `compile` what trains: an optimizer knows the variables that it was
built with and no others, and a new one begins with empty momentum.
"""

import contextlib

import keras

from mmkeras.transfer.adam import LATE

# a learning rate or a counter, against a slot: one value for each trained variable
_BOOKKEEPING = ("_variables", "_trainable_variables")
# their steps on a newcomer are many times the learning rate: v / (1 - b^t) counts t
# from the first step of all
_NO_NEWCOMERS = ("Nadam", "Muon", "ScheduleFreeAdamW")


def recompile(model):
    """Compiles a model again for what trains now; `freeze` and `unfreeze` call it.

    Loss, metrics and all other arguments of `compile` stay. The optimizer is a new one
    with the old one's settings, step count and learning rate; a weight that trained
    before keeps its momentum, matched by identity; a weight that joins begins with
    fresh slots, and with its own step count in Adam's and AdamW's bias correction.
    In a callback during `fit` the next step already uses it.

    Example:
    >>> inputs = keras.Input((2,))
    >>> hidden = keras.layers.Dense(3, name="hidden")(inputs)
    >>> model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    >>> model.get_layer("hidden").trainable = False
    >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    >>> history = model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    >>> model.get_layer("hidden").trainable = True
    >>> model = mmkeras.transfer.recompile(model)
    >>> int(model.optimizer.iterations), len(model.optimizer.momentums)
    (1, 4)

    Args:
        model: `keras.Model`; nothing happens where it is not compiled.

    Returns:
        `model`.

    Raises:
        ValueError: the optimizer's state cannot be carried over (a MultiOptimizer that
            chooses by a function, an optimizer with unknown variables, or a newcomer
            under Nadam, Muon or ScheduleFreeAdamW).
    """
    if not model.compiled:
        return model
    optimizer = model.optimizer
    if optimizer is not None and optimizer.built and not _fits(optimizer, model):
        optimizer = renewed(optimizer, model)
    _compile(model, optimizer)
    return model


def restart(model):
    """Compiles a model again as `recompile`, but its optimizer begins anew, at step 0.

    For weights that were drawn anew: the old momentum is not theirs.
    """
    if model.compiled:
        old = model.optimizer
        with _scope(model):
            optimizer = old and unbuilt(old, model)
            if old and old.built:  # the next step of a running fit comes too late
                optimizer.build(model.trainable_variables)
        _compile(model, optimizer)
    return model


def renewed(optimizer, model):
    """A new optimizer for the model's trainable weights, with the old one's state."""
    variables = model.trainable_variables
    with _scope(model):
        twin = unbuilt(optimizer, model)
        _note_newcomers(optimizer, twin, variables)
        twin.build(variables)
    _carry(optimizer, twin)
    return twin


def unbuilt(optimizer, model=None):
    """An optimizer with the settings of another, and none of its state."""
    if hasattr(optimizer, "unbuilt"):
        return optimizer.unbuilt(model)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return type(optimizer)(
            unbuilt(optimizer.inner_optimizer, model),
            optimizer.initial_scale,
            optimizer.dynamic_growth_steps,
            name=optimizer.name,
        )
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return _unbuilt_multi(optimizer)
    config = optimizer.get_config()
    rate = optimizer._learning_rate
    if callable(rate) and not isinstance(rate, keras.Variable):
        config["learning_rate"] = rate  # a schedule has no state: both may use it
    kind = LATE.get(type(optimizer), type(optimizer))
    twin = kind.from_config(config)
    copy_exclusions(optimizer, twin)
    return twin


def copy_exclusions(optimizer, twin):
    """What does not decay: Keras keeps it out of an optimizer's config."""
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(twin, name, getattr(optimizer, name))


def _fits(optimizer, model):
    """Whether an optimizer was built with just the weights that train now."""
    known = {id(x) for x in optimizer._trainable_variables}
    return known == {id(x) for x in model.trainable_variables}


def _compile(model, optimizer):
    trained = model.train_function is not None
    arguments = dict(model._compile_config.config)
    arguments["optimizer"] = optimizer
    # built with the first batch, which a compile within fit does not see again
    built = {
        name: getattr(model, name)
        for name in ("_compile_loss", "_compile_metrics")
        if getattr(getattr(model, name), "built", False)
    }
    with _scope(model):
        model.compile(**arguments, auto_scale_loss=False)
    for name, value in built.items():
        setattr(model, name, value)
    if trained:
        model.make_train_function()  # fit may be running: it asks for it only once


def _scope(model):
    """The strategy that the model's variables live under."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy else contextlib.nullcontext()


def _unbuilt_multi(optimizer):
    chosen = optimizer._optimizer_map
    if not isinstance(chosen, keras.optimizers.OptimizerMap):
        raise ValueError(
            "The state of a MultiOptimizer is carried over where it chooses by an "
            f"OptimizerMap. Received: {chosen!r}. Use `transfer.layerwise_rates`, or "
            "compile the model again yourself with a new optimizer."
        )
    twins = {id(x): unbuilt(x) for x in optimizer.optimizers}
    return type(optimizer)(
        keras.optimizers.OptimizerMap(
            twins[id(chosen.default_optimizer)],
            {key: twins[id(x)] for key, x in chosen.items()},
        ),
        optimizer.loss_scale_factor,
        name=optimizer.name,
    )


def _note_newcomers(optimizer, twin, variables):
    """Tells a new Adam at which step each of its variables joined."""
    old, steps = _plain(optimizer), int(_value(optimizer.iterations))
    known = {id(x): y for y in old for x in y._trainable_variables}
    joined = {id(x): _joined(known.get(id(x)), x, steps) for x in variables}
    newcomers = [x for x in variables if id(x) not in known]
    for new in _plain(twin):
        if type(new).__name__ in _NO_NEWCOMERS and newcomers and steps:
            raise ValueError(
                f"{type(new).__name__} takes steps of many times the learning rate on "
                f"weights that join after step 0. Received: {len(newcomers)} of them "
                f"at step {steps}. Use Adam, AdamW, SGD or RMSprop, or compile the "
                f"model again yourself with a new optimizer."
            )
        if hasattr(new, "joined_by"):
            new.joined_by = joined


def _joined(optimizer, variable, steps):
    if optimizer is None:
        return steps
    joined = getattr(optimizer, "joined", None)
    return joined[optimizer._get_variable_index(variable)] if joined else 0


def _plain(optimizer):
    """The optimizers that take the steps."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return _plain(optimizer.inner_optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return list(optimizer.optimizers)
    return [optimizer]


def _carry(old, new):
    """Copies the state: scalars in order, slots by the variable they belong to."""
    for source, target in zip(_wrappers(old), _wrappers(new), strict=True):
        _copy_scalars(source._variables, target._variables, old)
    slots = {}
    for optimizer in _plain(old):
        slots.update(_slots_by_variable(optimizer))
    for source, target in zip(_plain(old), _plain(new), strict=True):
        if source.built:
            _copy_scalars(_scalars(source), _scalars(target), old)
        else:  # no variable of it trained: the clock is that of the others
            target._iterations.assign(_value(old._iterations))
        for variable, own in _slots_by_variable(target).items():
            _copy_slots(slots.get(variable), own)


def _wrappers(optimizer):
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return [optimizer, *_wrappers(optimizer.inner_optimizer)]
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return [optimizer]
    return []


def _slot_lists(optimizer):
    """The lists that hold one slot (or None) for each trained variable."""
    if not optimizer.built:
        return {}
    size = len(optimizer._trainable_variables)
    return {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, list)
        and name not in _BOOKKEEPING
        and len(value) == size
        and any(isinstance(x, keras.Variable) for x in value)
        and all(x is None or isinstance(x, keras.Variable) for x in value)
    }


def _slots_by_variable(optimizer):
    """Variable's id -> name of the slot -> `keras.Variable`, the variable as ""."""
    lists = _slot_lists(optimizer)
    return {
        id(x): {"": x, **{name: slots[i] for name, slots in lists.items()}}
        for i, x in enumerate(optimizer._trainable_variables)
    }


def _scalars(optimizer):
    """The variables that belong to no trained variable: counters, learning rate."""
    slots = {id(x) for y in _slot_lists(optimizer).values() for x in y}
    return [x for x in optimizer._variables if id(x) not in slots]


def _copy_scalars(sources, targets, optimizer):
    shapes = [x.shape for x in sources]
    if shapes != [x.shape for x in targets] or any(len(x) for x in shapes):
        raise ValueError(
            f"The state of {type(optimizer).__name__} cannot be carried over: it keeps "
            f"variables that belong to no trained weight: {[x.path for x in sources]}. "
            f"Compile the model again yourself with a new optimizer."
        )
    for source, target in zip(sources, targets, strict=True):
        target.assign(_value(source))


def _copy_slots(old, new):
    """A newcomer (`old` is None) keeps its fresh slots; its average begins at it."""
    variable = new[""]
    for name, slot in new.items():
        if not name or slot is None:
            continue
        if old is not None:
            slot.assign(_value(old[name]))
        elif name == "_model_variables_moving_average":
            slot.assign(_value(variable))  # Keras' begins at step 0 of all


def _value(variable):
    return keras.ops.convert_to_numpy(variable)  # under replicas it holds several
