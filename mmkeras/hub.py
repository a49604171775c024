"""Any TF2 SavedModel or TF-Hub module as an encoder: trains, freezes, saves.

A reusable SavedModel is an object with `__call__(inputs, training=...)`, `variables`,
`trainable_variables` and, perhaps, `regularization_losses`. A local folder needs
TensorFlow alone; a URL is fetched by tensorflow_hub.
"""

import os
import shutil
import tempfile
import warnings
import weakref

import keras

from mmkeras.image.features import check_pooling, pool
from mmkeras.image.pixels import Pixels
from mmkeras.modality import tensor_input


def saved_model(
    handle,
    size=(224, 224),
    scaling="unit",
    pooling="mean",
    trainable=False,
    name=None,
    contract=None,
    trust=False,
    **options,
):
    """An encoder around a TF2 SavedModel folder or a TF-Hub module.

        encoder = mmkeras.hub.saved_model("modules/efficientnet", size=(224, 224))

    The module is stored in the `.keras` file with the encoder. Being an executable
    graph, it is read back only with `keras.models.load_model(path, safe_mode=False)`.

    Args:
        handle: folder of a SavedModel, or a URL that tensorflow_hub understands.
        size: pair of integers (height, width) in pixels.
        scaling: what the module wants of RGB 0-255, as `mmkeras.image.Pixels` takes
            it; TF-Hub's image modules want "unit".
        pooling: "mean" or "max" over the places of a feature map, or None for tokens; a
            module that gives a vector keeps it.
        trainable: Boolean, whether the module's trainable variables learn.
        name: name of the encoder; default: that of the folder.
        contract: a `ModalityInput` in place of `Pixels(size, scaling)`, for modules
            that take something else.
        trust: True says that you trust who made the module; no warning then.
        **options: `output_key` and `signature` of `HubLayer`.

    Returns:
        `keras.Model` with one input, called after the contract's kind ("image").

    Raises:
        ValueError: no SavedModel there, a TF1 module, or one that refuses such inputs.
        OSError: the module cannot be fetched.

    Warns:
        UserWarning: a SavedModel is a program; `trust` says that it may run.
    """
    check_pooling(pooling)
    if not trust:
        warnings.warn(
            f"'{handle}' is a SavedModel, a program that can read and write files when "
            f"it runs. Load it only if you trust who made it; `trust=True` says so.",
            stacklevel=2,
        )
    layer = HubLayer(handle, trainable=trainable, name="module", **options)
    if contract is None:
        contract = Pixels(size, scaling, name="pixels", dtype="float32")
    tensor = tensor_input(contract, contract.kind)
    try:
        feature = layer(contract(tensor))
    except Exception as error:  # TensorFlow and Keras raise many kinds here
        raise ValueError(
            f"The module '{handle}' does not take a tensor (batch, "
            f"{', '.join(map(str, contract.tensor_shape))}). Try another `size` or "
            f"`contract`. The module says: {error}"
        ) from error
    if isinstance(feature, dict) or feature.shape[-1] is None:
        raise ValueError(
            f"An encoder wants one feature of known width. Received: {feature} from "
            f"'{handle}'. Choose with `output_key`."
        )
    title = name or os.path.basename(os.fspath(handle).rstrip("/")) or "module"
    return keras.Model(tensor, pool(feature, pooling), name=title)


@keras.saving.register_keras_serializable("mmkeras")
class HubLayer(keras.layers.Layer):
    """A TF2 SavedModel as a layer whose variables Keras trains, freezes and saves.

    Frozen, the module is called with `training=False`: neither its weights nor its
    statistics move and its dropout rests.

    Args:
        handle: folder of a SavedModel, or a URL that tensorflow_hub understands.
        output_key: which output to take where the module gives a dict.
        signature: name of a signature to call where the module has no `__call__`
            (such as "serving_default"); it runs as in inference.
        trainable: Boolean.
        spec: for reloading; the variables and the output that the module had.

    Call arguments:
        inputs: what the module takes.

    Output shape: what the module gives.

    Raises:
        ValueError: no SavedModel there, a TF1 module, an unknown `output_key` or
            `signature`, or reading it from a file in safe mode.
    """

    def __init__(
        self,
        handle,
        output_key=None,
        signature=None,
        trainable=False,
        spec=None,
        **kwargs,
    ):
        # a module's graph has fixed dtypes, whatever the policy
        super().__init__(**{"dtype": "float32", **kwargs})
        self.handle = os.fspath(handle)
        self.output_key = output_key
        self.signature = signature
        self.supports_jit = False  # lookup tables and string ops do not compile
        self.module = None
        self._output_spec = None
        if spec is None:
            self.module = _load(self.handle)
            self._fn = _callable(self.module, self.handle, signature)
            spec = {"variables": _variable_specs(self.module, self._fn)}
            initial = _variables(self.module, self._fn)
        else:
            # the module comes with the file's assets, after the weights: an
            # optimizer must find its variables before
            self._output_spec = spec["output"]
            initial = ["zeros"] * len(spec["variables"])
        self._variable_specs = spec["variables"]
        self.module_variables = [
            keras.Variable(value, autocast=False, **keys)
            for value, keys in zip(initial, self._variable_specs, strict=True)
        ]
        self.built = True
        self.trainable = trainable

    def call(self, inputs, training=False):
        outputs = self.run(inputs, training)
        self.add_penalties()
        if self.output_key is None:
            return outputs
        if not isinstance(outputs, dict) or self.output_key not in outputs:
            valid = sorted(outputs) if isinstance(outputs, dict) else "no keys"
            raise ValueError(
                f"`output_key` wants one of {valid}. Received: '{self.output_key}'"
            )
        return outputs[self.output_key]

    def run(self, inputs, training=False):
        """What the module gives for `inputs`, all of it."""
        self._require_module()
        if self.signature:
            return _call_signature(self._fn, inputs)
        if _takes_training(self._fn):
            return self._fn(inputs, training=bool(training and self.trainable))
        return self._fn(inputs)

    def add_penalties(self):
        """The module's own regularisation losses, while it learns."""
        if self.trainable:
            module = self._require_module()
            for loss in getattr(module, "regularization_losses", None) or []:
                self.add_loss(loss())

    def compute_output_spec(self, inputs, training=False):
        if self.module is None and self._output_spec is not None:
            return _from_spec(self._output_spec)
        outputs = super().compute_output_spec(inputs, training=training)
        self._output_spec = _to_spec(outputs)
        return outputs

    def trackables(self):
        """What an export must keep beside variables: the module with its tables."""
        return [self.module]

    def save_assets(self, dir_path):
        import tensorflow as tf

        module = self._require_module()
        signatures = dict(getattr(module, "signatures", None) or {})
        tf.saved_model.save(module, os.path.join(dir_path, "module"), signatures)

    def load_assets(self, dir_path):
        # Keras deletes its folder after loading, but tables read theirs at export
        folder = tempfile.mkdtemp(prefix="mmkeras_module_")
        weakref.finalize(self, shutil.rmtree, folder, True)
        shutil.copytree(os.path.join(dir_path, "module"), folder, dirs_exist_ok=True)
        self._bind(folder)

    def get_config(self):
        return {
            **super().get_config(),
            "handle": self.handle,
            "output_key": self.output_key,
            "signature": self.signature,
            "spec": {
                "variables": self._variable_specs,
                "output": self._output_spec,
            },
        }

    @classmethod
    def from_config(cls, config):
        from keras.src.saving.serialization_lib import in_safe_mode

        if in_safe_mode():
            raise ValueError(
                "The file holds a `HubLayer`, a SavedModel, which is a program that "
                "can do anything. If you trust who made the file, read it with "
                "keras.models.load_model(path, safe_mode=False)."
            )
        return cls(**config)

    def _require_module(self):
        if self.module is None:
            self._bind(self.handle)
        return self.module

    def _bind(self, folder):
        """Loads the module and lets the layer's variables stand for the module's."""
        import tensorflow as tf

        with tf.init_scope():
            module = _load(folder)
            fn = _callable(module, folder, self.signature)
            if _variable_specs(module, fn) != list(self._variable_specs):
                raise ValueError(
                    f"The module in '{folder}' has other variables than the layer "
                    f"'{self.name}' was made with."
                )
            pairs = zip(self.module_variables, _variables(module, fn), strict=True)
            for variable, own in pairs:
                _take_over(own, variable)
        self.module, self._fn = module, fn


def _take_over(own, variable):
    """Moves a `keras.Variable` onto the storage of the module's variable `own`.

    Models and optimizers hold the keras.Variable and look their slots up by the id of
    what it holds: neither may change, so `own` takes both the value and the id.
    """
    own.assign(variable.value)
    own._unique_id = variable.value._unique_id
    variable._value = own


def _load(handle):
    """Loads a SavedModel, fetching it first where `handle` is a URL."""
    import tensorflow as tf

    remote = handle.startswith(("http://", "https://"))
    folder = _fetched(handle) if remote else handle
    if not tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        raise ValueError(
            f"`handle` wants the folder of a SavedModel (with saved_model.pb) or a "
            f"URL. Received: '{handle}'"
        )
    module = tf.saved_model.load(folder)
    if hasattr(module, "prune"):  # what the loader gives for a TF1 graph
        raise ValueError(
            f"`handle` wants a TF2 SavedModel. Received: '{handle}', a TF1 module, "
            f"which cannot be trained or saved again. TF-Hub has most modules in both "
            f"forms: take the TF2 one."
        )
    return module


def _fetched(handle):
    try:
        import tensorflow_hub

        return tensorflow_hub.resolve(handle)
    except ImportError as error:
        raise ImportError(
            f"A module at a URL wants the package tensorflow-hub (with setuptools < "
            f"81): {error}. Received: '{handle}'. A local folder needs neither."
        ) from error
    except Exception as error:  # urllib, TensorFlow and zip errors
        raise OSError(
            f"The module '{handle}' could not be fetched: {error}. Give the folder of "
            f"a SavedModel that was fetched elsewhere."
        ) from error


def _callable(module, handle, signature):
    """The module's `__call__`, or its signature of that name."""
    signatures = dict(getattr(module, "signatures", None) or {})
    if signature is not None:
        if signature not in signatures:
            raise ValueError(
                f"`signature` wants one of {sorted(signatures)}, those of '{handle}'. "
                f"Received: '{signature}'"
            )
        return signatures[signature]
    if not callable(module):
        raise ValueError(
            f"The SavedModel '{handle}' is not a reusable one: it has no `__call__`. "
            f"Give one of its signatures, `signature=...`: {sorted(signatures)}"
        )
    return module.__call__


def _call_signature(fn, inputs):
    if isinstance(inputs, dict):
        return fn(**inputs)
    names = list(fn.structured_input_signature[1])
    return fn(**{names[0]: inputs})


def _takes_training(fn):
    for concrete in fn.concrete_functions:
        args, keywords = concrete.structured_input_signature
        if "training" in keywords or any(isinstance(x, bool) for x in args):
            return True
    return False


def _name(variable):
    return variable.name


def _variables(module, fn):
    """All variables: those that the module lists, or else those its function reads."""
    listed = getattr(module, "variables", None)
    if listed is not None:
        return list(listed)
    concrete = getattr(fn, "concrete_functions", [fn])
    found = {x.ref(): x for function in concrete for x in function.variables}
    return sorted(found.values(), key=_name)


def _variable_specs(module, fn):
    """What `keras.Variable` must know of each variable, in the module's order."""
    variables = _variables(module, fn)
    learning = getattr(module, "trainable_variables", None)
    if learning is None:
        learning = [x for x in variables if x.trainable]
    learning = {x.ref() for x in learning}
    return [
        {
            "name": x.name.split(":")[0].replace("/", "_"),
            "shape": list(x.shape),
            "dtype": x.dtype.name,
            "trainable": x.ref() in learning,
        }
        for x in variables
    ]


def _to_spec(outputs):
    return keras.tree.map_structure(
        lambda x: f"{x.dtype}:{','.join('' if d is None else str(d) for d in x.shape)}",
        outputs,
    )


def _from_spec(spec):
    def tensor(text):
        dtype, _, dims = text.partition(":")
        shape = [int(d) if d else None for d in dims.split(",")]
        return keras.KerasTensor(shape, dtype)

    return keras.tree.map_structure(tensor, spec)
