"""Learning rates by layer: pretrained blocks move the less, the nearer to the input.

Howard and Ruder 2018, arXiv:1801.06146 (discriminative fine-tuning); Clark et al.
2020, arXiv:2003.10555 (layer-wise decay).
"""

import keras

from mmkeras.model import encoders
from mmkeras.transfer.compiling import copy_exclusions, unbuilt
from mmkeras.transfer.freezing import blocks


def layerwise_rates(model, optimizer, decay=0.9, rates=None):
    """An optimizer with a learning rate for each block of each encoder.

    Fusion and head learn at the optimizer's own rate; the top block of an encoder at
    `rates[name]`, or at that rate times `decay`; every block below at `decay` times the
    one above it. A block's step is that of a lone optimizer with its rate.

    Weight decay is scaled alike: Keras multiplies it by the rate. Rates may be
    schedules, for example warm-up and cosine:

        keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=900, warmup_target=1e-3, warmup_steps=100
        )

    Example:
    >>> def encoder():
    ...     pixels = mmkeras.image.Pixels((4, 4))
    ...     image = x = mmkeras.modality.tensor_input(pixels, "image")
    ...     x = keras.layers.Flatten()(pixels(x))
    ...     for i in range(2):
    ...         x = keras.layers.Dense(3, name=f"block{i}_dense")(x)
    ...     return keras.Model(image, x)
    >>> model = mmkeras.multimodal(
    ...     {"photo": encoder(), "scan": encoder()},
    ...     mmkeras.fusion.Concat(),
    ...     keras.layers.Dense(2),
    ... )
    >>> optimizer = mmkeras.transfer.layerwise_rates(
    ...     model, keras.optimizers.AdamW(1e-3), decay=0.5, rates={"scan": 1e-5}
    ... )
    >>> for name, rate in optimizer.learning_rates().items():
    ...     print(f"{name} {rate:.2e}")
    fusion and head 1.00e-03
    photo/block1 5.00e-04
    photo/block0 2.50e-04
    scan/block1 1.00e-05
    scan/block0 5.00e-06

    Args:
        model: a multimodal model; compile it with the result.
        optimizer: a Keras optimizer that has not been used, the pattern of all.
        decay: Float in (0, 1], rate of a block over that of the block above it.
        rates: dict, modality -> rate of its top block, a float or a schedule.

    Returns:
        `LayerwiseOptimizer`.

    Raises:
        ValueError: `decay` out of range, an unknown modality, or an optimizer that is
            in use or clips by the global norm (it would clip each block by itself).
    """
    _check(model, optimizer, decay, rates or {})
    groups, own = {}, {}
    groups[_REST] = (optimizer._learning_rate, model.weights)
    for name, encoder in encoders(model).items():
        top = (rates or {}).get(name)
        rate = _scaled(optimizer._learning_rate, decay) if top is None else top
        for block, layers in reversed(blocks(encoder).items()):
            weights = [w for layer in layers for w in layer.weights]
            groups[f"{name}/{block}"] = (rate, weights)
            rate = _scaled(rate, decay)
    optimizers = []
    for i, (rate, weights) in enumerate(groups.values()):
        own.update({id(w): i for w in weights})
        optimizers.append(_at_rate(optimizer, rate))
    made = LayerwiseOptimizer(optimizers, list(groups), decay=decay, rates=rates)
    made.place_by = own
    return made


_REST = "fusion and head"


@keras.saving.register_keras_serializable("mmkeras")
class LayerwiseOptimizer(keras.optimizers.MultiOptimizer):
    """What `layerwise_rates` gives: one optimizer for each block.

    Keras' MultiOptimizer chooses by a weight's path, which does not tell two encoders
    apart; this one knows each weight, and keeps the order of them in its config.

    Args:
        optimizers: list of Keras optimizers, one a group.
        names: list of strings, the groups' names.
        places: list of integers, the group of each trained variable, in order.
        decay: Float, as `layerwise_rates` took it.
        rates: dict, as `layerwise_rates` took it.
    """

    def __init__(
        self, optimizers, names, places=None, decay=1.0, rates=None, name="layerwise"
    ):
        chosen = _ByPlace(optimizers)
        super().__init__(chosen, name=name)
        self.names = list(names)
        self.places = places
        self.decay = decay
        self.rates = rates
        self.place_by = {}  # variable's id -> group, for a build to come
        self._chosen = chosen

    def learning_rates(self):
        """Group's name -> its learning rate now."""
        return {
            name: float(keras.ops.convert_to_numpy(x.learning_rate))
            for name, x in zip(self.names, self.optimizers, strict=True)
        }

    def build(self, var_list):
        if not self.built:
            if self.place_by:
                self.places = [self.place_by.get(id(x), 0) for x in var_list]
                self.place_by = {}
            self._chosen.places = {
                id(x): i for x, i in zip(var_list, self.places, strict=True)
            }
        super().build(var_list)

    def unbuilt(self, model):
        """The same groups for a model in which other layers train."""
        twin = layerwise_rates(
            model, unbuilt(self.optimizers[0]), self.decay, self.rates
        )
        for rate, x in zip(twin.optimizers, self.optimizers, strict=True):
            copy_exclusions(x, rate)
        twin.name = self.name
        return twin

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizers": [serialize(x) for x in self.optimizers],
            "names": self.names,
            "places": self.places and list(self.places),
            "decay": self.decay,
            "rates": self.rates
            and {name: serialize(x) for name, x in self.rates.items()},
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        read = keras.saving.deserialize_keras_object
        config = dict(config)
        config["optimizers"] = [read(x, custom_objects) for x in config["optimizers"]]
        if config["rates"]:
            config["rates"] = {
                name: read(x, custom_objects) for name, x in config["rates"].items()
            }
        return cls(**config)


class _ByPlace:
    """Chooses a variable's optimizer, as MultiOptimizer asks for it."""

    def __init__(self, optimizers):
        self.optimizers = optimizers
        self.places = {}

    def __call__(self, variable):
        return self.optimizers[self.places[id(variable)]]

    def values(self):
        return self.optimizers


@keras.saving.register_keras_serializable("mmkeras")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule times a constant.

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule`.
        factor: Float.
    """

    def __init__(self, schedule, factor):
        super().__init__()
        self.schedule = schedule
        self.factor = factor

    def __call__(self, step):
        return self.schedule(step) * self.factor

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["factor"])


def _scaled(rate, factor):
    if isinstance(rate, Scaled):
        return Scaled(rate.schedule, rate.factor * factor)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return Scaled(rate, factor)
    return float(keras.ops.convert_to_numpy(rate)) * factor


def _at_rate(optimizer, rate):
    config = optimizer.get_config()
    schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    config["learning_rate"] = rate if schedule else _scaled(rate, 1.0)
    made = type(optimizer).from_config(config)
    copy_exclusions(optimizer, made)
    return made


def _check(model, optimizer, decay, rates):
    plain = isinstance(optimizer, keras.optimizers.Optimizer) and not isinstance(
        optimizer,
        (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer),
    )
    if not plain or optimizer.built:
        raise ValueError(
            f"`optimizer` wants a Keras optimizer that has not been used, for example "
            f"keras.optimizers.AdamW(1e-3). Received: {optimizer!r}"
        )
    if optimizer.global_clipnorm:
        raise ValueError(
            "`global_clipnorm` would clip every block by itself. Received: "
            f"global_clipnorm={optimizer.global_clipnorm}. Use `clipnorm`."
        )
    if not 0 < decay <= 1:
        raise ValueError(f"`decay` wants a float in (0, 1]. Received: decay={decay}")
    unknown = sorted(set(rates) - set(encoders(model)))
    if unknown:
        raise ValueError(
            f"`rates` names no modality {unknown}. "
            f"Valid names: {sorted(encoders(model))}"
        )
