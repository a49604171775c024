"""One stage of a training: how it is compiled, who looks on, what it gives."""

import keras
import numpy as np

from mmkeras import distribute
from mmkeras.resume import Resume
from mmkeras.run import devices, logs

_JIT = {"auto": "auto", "on": True, "off": False}


def compile_for(model, head, rate, recipe, steps=None, per_execution=1):
    """Compiles with AdamW; biases and norms do not decay.

    With `steps` the rate falls to 0 over them by a cosine. A trunk's steps are so
    short that starting them costs as much: `per_execution` of them start as one. Under
    a float16 policy Keras adds the scaling of the loss. On several replicas batch
    normalisation takes the statistics of all.
    """
    if devices.replicas_of(model) > 1:
        distribute.synchronize_batch_norm(model)
    with model.distribute_strategy.scope():
        _compile(model, head, rate, recipe, steps, per_execution)


def _compile(model, head, rate, recipe, steps, per_execution):
    if steps:
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clip_norm or None,
        gradient_accumulation_steps=recipe.accumulate
        if recipe.accumulate > 1
        else None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        head.loss,
        metrics=[x.__class__.from_config(x.get_config()) for x in head.metrics],
        steps_per_execution=per_execution,
        jit_compile=_JIT[recipe.jit],
    )


def callbacks(recipe, state, name):
    """Early stopping, logs where asked for, and last what keeps the training's state.

    Args:
        recipe: `recipe.Recipe`.
        state: folder of the run's state.
        name: of the stage, "head" or "finetune".
    """
    watching = []
    best = recipe.keep == "best"
    if recipe.patience or best:
        never = recipe.epochs + recipe.finetune_epochs
        stop = keras.callbacks.EarlyStopping(
            "val_loss", patience=recipe.patience or never, restore_best_weights=best
        )
        watching.append(stop)
    looking = []
    if recipe.logs:
        folder = f"{recipe.logs}/{name}"
        looking += [logs.HistoryFile(f"{folder}/history.csv"), logs.Events(folder)]
        if recipe.profile:
            looking.append(logs.Profile(folder, *recipe.profile))
    return [*watching, *looking, Resume(state / name, remember=watching)]


def fit(model, train, val, epochs, callbacks, progress):
    """Fits; gives the history as lists of floats."""
    kwargs = {"validation_data": val, "epochs": epochs, "verbose": 0}
    kwargs["shuffle"] = False  # the datasets shuffle themselves
    _make_variables(model, train)
    with progress.epochs(epochs) as callback:
        history = model.fit(train, callbacks=[*callbacks, callback], **kwargs)
    return {key: list(map(float, x)) for key, x in history.history.items()}


def _make_variables(model, rows):
    """Makes the variables of optimizer, loss and metrics before the first step.

    Keras makes them while it traces that step, and then has to trace it again, which
    for large encoders takes longer than an epoch of a few rows.
    """
    if devices.replicas_of(model) == 1:
        zeros = keras.tree.map_structure(_zeros, rows.element_spec)
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=zeros)


def _zeros(spec):
    return np.zeros((2, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
