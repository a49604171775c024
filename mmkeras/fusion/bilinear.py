"""Bilinear pooling, factorised and by a compact sketch."""

import keras
import numpy as np
from keras import ops

from mmkeras.fusion.base import Fusion, any_present, product_of_present
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class FactorizedBilinear(Fusion):
    """Multiplies wide projections and sums them in groups (MFB), then tames the scale.

    z_u = sum_k prod_m (V_m x_m)_{uk}, h = l2(sign(z) sqrt|z|). An absent modality is a
    factor of 1.

    Example:
    >>> fusion = mmkeras.fusion.FactorizedBilinear(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        factors: Integer, number of products that are summed into one output.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`, of length 1 (nearly); zeros where all modalities
        are absent.

    Raises:
        ValueError: `units` or `factors` is no positive integer; or as `Fusion`.

    Reference:
        Yu et al. 2017, arXiv:1708.01471 (MFB). Departs: any number of modalities; the
        root is z / sqrt(|z| + 1e-4), whose gradient at 0 is finite; no dropout between
        product and sum.
    """

    def __init__(self, units, factors=5, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.factors = positive("factors", factors)

    def build_fusion(self):
        self.project = self.projections(self.units * self.factors)

    def fuse(self, features, presence):
        x = self.stack(features, self.project)
        product = product_of_present(x, presence)
        z = ops.sum(ops.reshape(product, (-1, self.units, self.factors)), axis=-1)
        return ops.cast(tamed(z), self.compute_dtype) * any_present(presence)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "factors": self.factors}


@keras.saving.register_keras_serializable("mmkeras")
class MCB(Fusion):
    """Compact bilinear pooling: all products of entries, hashed into `units` sums.

    z = s_1(x_1) * ... * s_M(x_M), circular convolutions of count sketches s_m(x)_j =
    sum over i with hash_m(i) = j of sign_m(i) x_i; h = l2(sign(z) sqrt|z|). On average
    over the hashes, z . z' = prod_m x_m . x'_m. An absent modality is left out.

    Nothing in it trains: sketch and Fourier transform are one fixed matrix a modality,
    drawn from `seed` and stored with the weights. The convolution is a product behind
    Fourier transforms, here matmuls: TFLite has them for any `units`, and the whole
    costs what a linear map does.

    Example:
    >>> fusion = mmkeras.fusion.MCB(units=32)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 32])

    Args:
        units: Integer, width of the sketch and of the output. Wide does better, at
            units^2 multiply-adds an example for the way back.
        seed: Integer, draws hashes and signs; part of the config.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`, of length 1 (nearly); zeros where all modalities
        are absent.

    Raises:
        ValueError: `units` is no positive integer; or as `Fusion`.

    Reference:
        Fukui et al. 2016, arXiv:1606.01847. Departs: any number of modalities; the root
        is z / sqrt(|z| + 1e-2), whose gradient at 0 is finite.
    """

    def __init__(self, units, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.seed = seed

    def build_fusion(self):
        # RandomState's numbers are the same in every version of numpy, by promise
        draw = np.random.RandomState(self.seed)
        forward = fourier(self.units)
        self.sketches = {}
        for name in self.names:
            hashes = draw.randint(self.units, size=self.dims[name])
            signs = draw.choice([-1.0, 1.0], size=self.dims[name])
            self.sketches[name] = self._fixed(
                f"{name}_sketch", signs[:, None] * forward[hashes]
            )
        self.back = self._fixed("back", inverse_fourier(self.units))

    def _fixed(self, name, value):
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            autocast=False,  # products of five overflow float16
            trainable=False,
        )

    def sketch(self, features, presence):
        """The convolution z of the sketches that are there, `(batch, units)`."""
        half = self.back.shape[0] // 2
        real = imaginary = None
        for i, name in enumerate(self.names):
            x = ops.matmul(ops.cast(features[name], "float32"), self.sketches[name])
            a, b = x[:, :half], x[:, half:]
            there = presence[:, i : i + 1] > 0
            a = ops.where(there, a, ops.ones_like(a))  # 1 + 0i: times nothing
            if real is None:
                real, imaginary = a, b
            else:
                real, imaginary = (
                    real * a - imaginary * b,
                    real * b + imaginary * a,
                )
        return ops.matmul(ops.concatenate([real, imaginary], axis=1), self.back)

    def fuse(self, features, presence):
        # places that no product is hashed to are 0 but for the transforms' rounding
        z = tamed(self.sketch(features, presence), smooth=1e-2)
        return ops.cast(z, self.compute_dtype) * any_present(presence)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "seed": self.seed}


def tamed(z, smooth=1e-4):
    """Signed square root, then Euclidean length 1, along the last axis.

    Args:
        z: float32 tensor.
        smooth: Float, below about this size z / sqrt(|z| + smooth) is a line, whose
            slope 1 / sqrt(smooth) is what rounding errors around 0 grow by.
    """
    z = z / ops.sqrt(ops.abs(z) + smooth)
    return z * ops.rsqrt(ops.sum(ops.square(z), axis=-1, keepdims=True) + 1e-6)


def fourier(units):
    """Real Fourier transform as a matrix, cosines beside sines: `(units, 2 half)`."""
    half = units // 2 + 1
    angle = np.outer(np.arange(units), np.arange(half)) % units * (2 * np.pi / units)
    return np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)


def inverse_fourier(units):
    """The matrix that undoes `fourier`: `(2 half, units)`."""
    half = units // 2 + 1
    # every frequency but 0 and the middle one stands for its mirror too
    twice = np.full(half, 2.0)
    twice[0] = 1.0
    if units % 2 == 0:
        twice[-1] = 1.0
    return (fourier(units) * np.tile(twice, 2)).T / units
