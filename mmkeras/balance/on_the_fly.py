"""OGM-GE: slows the modality that is ahead, by its gradient."""

import keras
from keras import ops

from mmkeras.balance.parts import Behind, label_input, parts


def ogm_scales(scores, there, alpha):
    """What each modality keeps of its gradient: 1 - tanh(alpha rho), 1 if rho <= 1.

    rho_m = s_m / mean of the other s; with two modalities the paper's s_m / s_n.

    Args:
        scores: tensor `(modalities,)`: mean probability of the true class by each
            modality alone.
        there: tensor `(modalities,)`, 0 for one that no row of the batch has; it keeps
            scale 1 and does not count for the others.
        alpha: Number, 0 or more.
    """
    scores = scores * there
    count = ops.maximum(ops.sum(there) - there, 1.0)
    others = (ops.sum(scores) - scores) / count
    ratio = scores / ops.maximum(others, 1e-8)
    ahead = (ratio > 1) & (others > 0)
    return ops.where(ahead, 1.0 - ops.tanh(alpha * ratio), 1.0)


@ops.custom_gradient
def modulate(x, scale, noise, keep):
    """X forward; backward scale * dx + std(dx) * noise, std over what `keep` keeps.

    Args:
        x: tensor.
        scale: scalar.
        noise: tensor like `x`, standard normal; zeros for none.
        keep: tensor that broadcasts to `x`, 1 where the modality is there.
    """

    def gradient(*args, upstream=None):
        # torch hands the forward arguments over and names the gradient
        dx = args[0] if upstream is None else upstream
        wide = ops.cast(dx, "float32")
        keep32 = ops.broadcast_to(ops.cast(keep, "float32"), ops.shape(wide))
        count = ops.maximum(ops.sum(keep32), 1.0)
        mean = ops.sum(wide * keep32) / count
        std = ops.sqrt(ops.sum(ops.square(wide - mean) * keep32) / count)
        wide = wide * scale + std * keep32 * ops.cast(noise, "float32")
        nothing = [ops.zeros_like(y) for y in (scale, noise, keep)]
        return ops.cast(wide, dx.dtype), *nothing

    return x, gradient


class OnTheFly(Behind):
    """The features as they are; their gradients slowed where a modality is ahead."""

    def __init__(self, found, alpha, noise, seed, **kwargs):
        super().__init__(found, **kwargs)
        self.alpha, self.noise = alpha, noise
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, features, presence, label, training=False):
        if not training:
            return features
        alone = {name: self.answer(features, presence, (name,)) for name in self.names}
        scores, there = self.scores(alone, presence, label, probability=True)
        scale = ops.stop_gradient(ogm_scales(scores, there, self.alpha))
        self.scale.assign(scale)
        return {
            name: self._slowed(features[name], scale[i], presence[name])
            for i, name in enumerate(self.names)
        }

    def _slowed(self, feature, scale, present):
        if isinstance(feature, dict):
            mask = (feature["mask"] > 0) & (present[:, None] > 0)
            tokens = self._modulate(feature["tokens"], scale, mask[..., None])
            return {**feature, "tokens": tokens}
        axes = (-1,) + (1,) * (len(feature.shape) - 1)
        return self._modulate(feature, scale, ops.reshape(present > 0, axes))

    def _modulate(self, x, scale, keep):
        if self.noise:
            noise = keras.random.normal(
                ops.shape(x), dtype="float32", seed=self.seed_generator
            )
        else:
            noise = ops.zeros(ops.shape(x), "float32")
        return modulate(x, scale, noise, ops.cast(keep, "float32"))


def ogm_ge(model, alpha=0.1, noise=True, seed=None):
    """A training model that slows the modality which is ahead: OGM-GE.

    k_m = 1 - tanh(alpha rho_m) where rho_m > 1, else 1; rho_m = s_m / mean of the other
    s_n; s_m is the mean probability of the true class by the model itself, shown
    modality m alone, over the rows that have it. Forward nothing changes. Backward, the
    gradient that flows into encoder m is k_m dx_m + std(dx_m) * normal noise; what is
    behind the encoders learns as ever.

    Wants SGD: Adam divides gradients by their size, which undoes a steady k_m. See
    `mmkeras.balance` for what it was worth on our generated task: nothing certain.

    It shares its layers with `model`: fit it and `model` is trained. Each batch costs
    one pass more a modality through fusion and head, not through the encoders.

    Example:
        training = mmkeras.balance.ogm_ge(model, alpha=0.3)
        training.compile("sgd", head.loss, metrics=head.metrics)
        training.fit(mmkeras.balance.with_label(dataset), epochs=5)
        mmkeras.balance.scales(training)   # k of the last batch

    Args:
        model: a multimodal model, or its trunk, with one output: logits of one class a
            row (a plain layer is taken as such) or of several. An encoder that is
            frozen has no gradient to slow.
        alpha: Number, 0 or more; the paper takes 0.1 to 1. 0 slows nothing.
        noise: Boolean, whether to add the noise ("GE").
        seed: optional integer, of the noise.

    Returns:
        `keras.Model` with the inputs of `model` and "label". Under a strategy, call
        this in its scope; k then is that of the joined batch, the noise each replica's.

    Raises:
        ValueError: regression, several outputs, one modality alone, one called "label",
            or a negative `alpha`.

    Reference:
        Peng et al. 2022, arXiv:2203.15332. Departs: any number of modalities; s_m by
        masking, so with any fusion, where the paper splits a linear layer; gradient and
        noise act on the feature, from where they reach the encoder's weights, where
        the paper acts on the weights of its convolutions one by one. For several
        classes a row, the probability is the geometric mean over the classes.
    """
    _check(alpha)
    found = parts(model, reserved=("label",))
    label = label_input(found, "ogm_ge")
    layer = OnTheFly(found, alpha, noise, seed, name="on_the_fly")
    features = layer(found.features, found.presence, label)
    outputs = found.head(found.fusion(features, found.presence))
    inputs = {**found.inputs, "label": label}
    return keras.Model(inputs, outputs, name=f"{model.name}_ogm_ge")


def _check(alpha):
    if alpha < 0:
        raise ValueError(
            f"`alpha` wants a number of 0 or more. Received: alpha={alpha}"
        )
