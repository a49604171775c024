"""Keras' Distiller for a teacher and a student that do not see the same modalities."""

import keras
from keras import ops

from mmkeras.distillation.parts import Beside, PresentFeatures, Shown
from mmkeras.distillation.relations import RelationalDistillation
from mmkeras.heads import StandardizedSquaredError, output_contract
from mmkeras.model import with_features

_SHOWN = "distilled"


def distiller(
    teacher,
    student,
    *,
    logits=1.0,
    features=0.0,
    relations=0.0,
    labels=0.5,
    temperature=3.0,
    name="distiller",
):
    """A `keras.distillation.Distiller` for models with different modalities.

    L = labels * L_compiled + (1 - labels) * (logits * T^2 KL(softmax(t / T) ||
    softmax(s / T)) + features * mean |P h_s - h_t|^2 + relations * RKD(h_t, h_s)), with
    t, s the logits and h what the fusion layers give; P is a dense layer where the
    widths differ. A number's logits become a squared difference, those of several
    labels a cross-entropy with the teacher's probabilities at temperature 1.

    `compile` it as the student, `fit` it on rows with the modalities of both: each
    takes its own. Then `student` is trained, a plain model that knows no teacher. In
    `h` a row counts where both models have some modality. Works with trunks, on
    features, as well: there it takes seconds. A row without a label, of label -1, is
    left out of the compiled loss by
    `SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)`: the teacher
    labels it.

    Example:
    >>> def tiny():
    ...     pixels = mmkeras.image.Pixels((8, 8))
    ...     image = mmkeras.modality.tensor_input(pixels, "image")
    ...     return keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> def model(names):
    ...     head = mmkeras.heads.classification(["cat", "dog"])
    ...     fusion = mmkeras.fusion.GatedFusion(4)
    ...     return mmkeras.multimodal({x: tiny() for x in names}, fusion, head.layer)
    >>> teacher, student = model(["photo", "sketch"]), model(["photo"])
    >>> distiller = mmkeras.distillation.distiller(teacher, student, relations=1.0)
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> distiller.compile("adam", loss)
    >>> rows = {x: np.random.rand(6, 8, 8, 3) for x in ("photo", "sketch")}
    >>> rows |= {f"{x}_present": np.ones(6) for x in ("photo", "sketch")}
    >>> history = distiller.fit(rows, np.array([0, 1, 0, 1, 0, 1]), verbose=0)
    >>> sorted(student.input)
    ['photo', 'photo_present']

    Args:
        teacher: a trained model of `multimodal`, or its trunk; its weights are frozen.
        student: a model of `multimodal`, or its trunk, with other or fewer modalities.
        logits: Number, weight of the logits' loss.
        features: Number, weight of the fused features' loss.
        relations: Number, weight of `RelationalDistillation` of the fused features.
        labels: Float in [0, 1], share of the compiled loss; 0 learns from the teacher
            alone.
        temperature: Number, T: what logits are divided by; 1 for a head of numbers.
        name: name of the distiller.

    Raises:
        ValueError: no loss has a weight, a model without a fusion layer or with several
            outputs, outputs that do not fit, an input that differs between the models,
            or trainable weights that both hold (freezing the teacher would freeze
            them).

    Reference:
        Hinton et al. 2015, arXiv:1503.02531; Romero et al. 2015, arXiv:1412.6550; Park
        et al. 2019, arXiv:1904.05068.
    """
    weights = {"logits": logits, "features": features, "relations": relations}
    _check(teacher, student, weights)
    losses = {
        "logits": _logits_loss(student, temperature),
        "features": PresentFeatures("mse", _SHOWN, _SHOWN),
        "relations": RelationalDistillation(
            teacher_layer_name=_SHOWN, student_layer_name=_SHOWN
        ),
    }
    used = [x for x in losses if weights[x]]
    shown = with_features if features or relations else None
    inputs = _inputs(teacher, student)
    presences = [_presences(x) for x in (teacher, student)]
    width = _width(teacher) if features else None
    return keras.distillation.Distiller(
        _wide(teacher, inputs, presences, shown, None),
        _wide(student, inputs, presences, shown, width),
        [losses[x] for x in used],
        [float(weights[x]) for x in used],
        student_loss_weight=float(labels),
        name=name,
    )


@keras.saving.register_keras_serializable("mmkeras")
def probabilities_crossentropy(teacher, student):
    """-mean_c p log q + (1 - p) log(1 - q), p and q the sigmoids of the logits."""
    return keras.losses.binary_crossentropy(
        ops.sigmoid(teacher), student, from_logits=True
    )


def _logits_loss(student, temperature):
    contract = output_contract(student)
    kind = contract.kind if contract is not None else "single"
    if kind == "number":
        deviation = getattr(contract, "deviation", None)
        loss = StandardizedSquaredError(deviation) if deviation else "mse"
        return keras.distillation.FeatureDistillation(loss)
    if kind == "multi":
        return keras.distillation.LogitsDistillation(1.0, probabilities_crossentropy)
    loss = keras.losses.KLDivergence()  # of the name Keras gives its function alone
    return keras.distillation.LogitsDistillation(temperature, loss)


def _wide(model, inputs, presences, shown, width):
    """The model's own graph with the inputs of both; features to be found by name.

    Keras' Distiller gives the same rows to both models and wants them to have the same
    inputs; those that a model does not know lead nowhere.
    """
    own = {**inputs, **model.input}
    if shown is None:
        return keras.Model(own, model.output, name=model.name)
    output, feature = with_features(model).output
    if width is not None and feature.shape[-1] != width:
        feature = keras.layers.Dense(width, name="distilled_projection")(feature)
    there = [[own[key] for key in keys] for keys in presences]
    made = Shown(name=_SHOWN)(feature, there)
    return keras.Model(own, Beside(name="beside")(output, made), name=model.name)


def _inputs(teacher, student):
    """Inputs like those of both models, by name."""
    found = {}
    for model in (teacher, student):
        for key, x in model.input.items():
            shape, dtype = tuple(x.shape[1:]), x.dtype
            if key in found and (tuple(found[key].shape[1:]), found[key].dtype) != (
                shape,
                dtype,
            ):
                raise ValueError(
                    f"`teacher` and `student` want one tensor for input '{key}'. "
                    f"Received: {found[key].shape} and {x.shape}. Use one contract, or "
                    f"rename the modality of one."
                )
            found.setdefault(key, keras.Input(shape, dtype=dtype, name=key))
    return found


def _presences(model):
    return sorted(key for key in model.input if key.endswith("_present"))


def _width(model):
    return with_features(model).output[1].shape[-1]


def _check(teacher, student, weights):
    for argument, model in (("teacher", teacher), ("student", student)):
        if not isinstance(getattr(model, "input", None), dict):
            raise ValueError(
                f"`{argument}` wants a model of `mmkeras.multimodal`, or its trunk. "
                f"Received: {model!r}"
            )
        if isinstance(model.output, dict):
            raise ValueError(
                f"`{argument}` wants one output. Received: {sorted(model.output)}"
            )
    if min(weights.values()) < 0 or not any(weights.values()):
        raise ValueError(
            f"{', '.join(f'`{x}`' for x in weights)} want numbers of 0 or more, one "
            f"above 0. Received: {weights}"
        )
    named = [output_contract(x) for x in (teacher, student)]
    told = [(x.kind, x.classes) for x in named if x is not None]
    if len(told) == 2 and told[0] != told[1]:
        raise ValueError(
            f"`teacher` and `student` want heads of one kind and the same classes in "
            f"one order. Received: {told[0]} and {told[1]}"
        )
    known = {id(w) for w in teacher.weights}
    shared = [w.path for w in student.trainable_weights if id(w) in known]
    if shared:
        raise ValueError(
            f"`student` wants weights of its own, since the teacher's are frozen. Both "
            f"train: {shared[:4]}. Build its encoders anew, or freeze them."
        )
