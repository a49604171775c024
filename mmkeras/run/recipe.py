"""A training recipe: what `mmkeras train` does, from flags or from a TOML file.

Nothing here imports TensorFlow: a wrong recipe is told at once.
"""

import dataclasses
import difflib
import tomllib
from pathlib import Path

KINDS = ("image", "text", "audio", "tabular")
TASKS = ("classification", "multilabel", "regression")
SCHEDULES = ("constant", "cosine")
BAD_ROWS = ("raise", "absent")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
_UNWEIGHED = {
    "multilabel": "`class_weight` wants one class a row. Received: task='multilabel'. "
    "Leave it out, or weigh the loss from Python: heads.multilabel(classes, "
    "positive_weight=data.positive_weights(data.targets(rows, label, "
    "heads.multilabel(classes)))), all of `mmkeras`.",
    "regression": "`class_weight` wants classes. Received: task='regression'. Leave "
    "it out.",
}


@dataclasses.dataclass
class Source:
    """One modality of a recipe.

    Args:
        kind: "image", "text", "audio" or "tabular".
        encoder: name of an encoder function ("resnet50", "bert", "mlp"), a `.keras`
            file, "hub:FOLDER", or a `keras.Model` with a contract.
        weights: what follows the colon: a checkpoint folder or weights file; None:
            the encoder's default; "none": random.
        column: table column; None: the modality's name. Of "tabular" a list.
        freeze: "auto" (pretrained encoders are frozen, fresh ones train), True,
            False, or the layer up to which it freezes.
        options: further arguments of the encoder function; of "tabular" also
            `numeric` and `categorical`, columns whose kind is not to be told from the
            training rows, and `max_categories` and `min_count` of
            `mmkeras.tabular.Columns.from_frame`.
    """

    kind: str
    encoder: object
    weights: str | None = None
    column: object = None
    freeze: object = "auto"
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Recipe:
    """Everything that a training run needs; the command line's flags by name."""

    table: str
    label: str
    sources: dict
    out: str = "saved_models/model"
    task: str = "classification"
    fusion: str = "gated"
    fusion_options: dict = dataclasses.field(default_factory=dict)
    split: str = "split"
    group: str | None = None
    epochs: int = 40
    finetune_epochs: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-3
    finetune_learning_rate: float = 2e-5
    weight_decay: float = 1e-2
    schedule: str = "constant"
    head_dropout: float = 0.0
    modality_dropout: float = 0.1
    patience: int = 8
    cache: str = "auto"
    seed: int = 0
    on_bad_row: str = "raise"
    #: "balanced", or in a TOML file a table, class -> weight; of the training rows.
    class_weight: object = None
    #: Whether the temperature is fitted on the validation rows at the end.
    calibrate: bool = False
    export: bool = True
    precision: str = "float32"
    jit: str = "auto"
    clip_norm: float = 0.0
    accumulate: int = 1
    keep: str = "best"
    logs: str | None = None
    #: First and last call of the train step: "10,12", or a list of two in TOML.
    profile: object = None

    def __post_init__(self):
        _choice("task", self.task, TASKS)
        _choice("on_bad_row", self.on_bad_row, BAD_ROWS)
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("precision", self.precision, PRECISIONS)
        _choice("jit", self.jit, ("auto", "on", "off"))
        _choice("keep", self.keep, ("best", "last"))
        if self.class_weight not in (None, "balanced") and not isinstance(
            self.class_weight, dict
        ):
            raise ValueError(
                f"`class_weight` wants 'balanced' or a table, class -> weight. "
                f"Received: {self.class_weight!r}"
            )
        if self.class_weight is not None and self.task != "classification":
            raise ValueError(_UNWEIGHED[self.task])
        if not self.sources:
            raise ValueError(
                "A recipe wants at least one modality: --image, --text or --audio "
                "NAME=ENCODER, --tabular NAME=COLUMN,COLUMN, or a table [image.NAME] "
                "in the TOML file."
            )
        for name, source in self.sources.items():
            if source.kind == "tabular":
                _several(name, source)
                self._no_answers(name, source)
        for field in dataclasses.fields(self):
            _number(field, getattr(self, field.name))
        if self.calibrate and self.task == "regression":
            raise ValueError(
                "`calibrate` is for probabilities, of `classification` and "
                "`multilabel`. Received: task='regression'"
            )
        self.profile = _profile(self.profile, self.logs)
        if self.clip_norm < 0:
            raise ValueError(
                f"`clip_norm` wants the largest norm of a step's gradient, or 0 for "
                f"none. Received: {self.clip_norm}"
            )
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` wants 1 or more. Received: {getattr(self, name)}"
                )

    def _no_answers(self, name, source):
        """Checks that no column of a tabular source is one of the recipe's own."""
        for what in ("label", "split", "group"):
            if getattr(self, what) in source.column:
                raise ValueError(
                    f"Column '{getattr(self, what)}' is the `{what}`: the model must "
                    f"not see it. Leave it out of '{name}'. Received: {source.column}"
                )

    def to_dict(self):
        """Plain values, for the card and for JSON."""
        # names first: asdict copies what it finds, a whole network too
        sources = {
            name: dataclasses.replace(x, encoder=getattr(x.encoder, "name", x.encoder))
            for name, x in self.sources.items()
        }
        return dataclasses.asdict(dataclasses.replace(self, sources=sources))


def from_toml(path):
    """Reads a recipe file.

    Paths in it are relative to the folder where the command runs.

    Raises:
        ValueError: unreadable file, unknown or missing key (near names listed).
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no recipe file {path!r}.")
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Recipe {path!r} is not valid TOML: {error}") from error
    sources = {}
    for kind in KINDS:
        entries = _table(content.pop(kind, {}), kind, path)
        for name, entry in entries.items():
            entry = _table(entry, f"{kind}.{name}", path)
            sources[name] = _source(kind, name, entry, path)
    fusion = content.pop("fusion", {})
    fusion = {"name": fusion} if isinstance(fusion, str) else fusion
    fusion = _table(fusion, "fusion", path)
    content |= _table(content.pop("train", {}), "train", path)
    if fusion:
        content["fusion"] = fusion.pop("name", "gated")
        content["fusion_options"] = fusion
    return from_values(content, sources, f"recipe {path!r}")


def from_values(values, sources, where="the command"):
    """A recipe from a plain dict of its fields."""
    valid = [x.name for x in dataclasses.fields(Recipe) if x.name != "sources"]
    for key in values:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, 3)
            raise ValueError(
                f"In {where}: unknown key '{key}'. "
                f"{_near(near)}Valid names: {sorted([*valid, *KINDS, 'train'])}"
            )
    for key in ("table", "label"):
        if key not in values:
            raise ValueError(f"In {where}: the key '{key}' is missing.")
    return Recipe(sources=sources, **values)


def parse_source(kind, text):
    """`NAME=ENCODER[:WEIGHTS]` of a flag, as (name, Source).

    Of `--tabular` it is NAME=COLUMN,COLUMN,...
    """
    name, equals, encoder = text.partition("=")
    if kind == "tabular":
        if not (name and encoder):
            raise ValueError(
                f"`--tabular` wants NAME=COLUMN,COLUMN,... Received: {text!r}"
            )
        return name, Source(kind, "mlp", column=_names(encoder))
    if not (name and equals and encoder):
        raise ValueError(
            f"`--{kind}` wants NAME=ENCODER or NAME=ENCODER:WEIGHTS. Received: {text!r}"
        )
    return name, Source(kind, *split_encoder(encoder))


def split_encoder(text):
    """ENCODER[:WEIGHTS] as (encoder, weights); "hub:FOLDER" and paths stay whole."""
    if text.startswith("hub:") or text.endswith(".keras"):
        return text, None
    encoder, _, weights = text.partition(":")
    return encoder, weights or None


def _source(kind, name, entry, path):
    if kind == "tabular":
        entry = {"encoder": "mlp", "column": entry.pop("columns", None), **entry}
    if "encoder" not in entry:
        raise ValueError(f"In recipe {path!r}: [{kind}.{name}] wants an `encoder`.")
    encoder, weights = split_encoder(entry.pop("encoder"))
    weights = entry.pop("weights", entry.pop("checkpoint", weights))
    own = {key: entry.pop(key) for key in ("column", "freeze") if key in entry}
    return Source(kind, encoder, weights, options=entry, **own)


def _several(name, source):
    """Checks a tabular source's columns; lists stand for words with commas."""
    source.column = _names(source.column)
    twice = sorted({x for x in source.column if source.column.count(x) > 1})
    if not source.column or "" in source.column or twice:
        raise ValueError(
            f"Tabular modality '{name}' wants different columns, at least one: "
            f"--tabular {name}=price,colour, or columns = ['price', 'colour'] in "
            f"[tabular.{name}]. Received: {source.column}"
        )
    for key in ("numeric", "categorical"):
        if key in source.options:
            source.options[key] = found = _names(source.options[key])
            unknown = [x for x in found if x not in source.column]
            if unknown:
                raise ValueError(
                    f"`{key}` of '{name}' names {unknown}, which are not among its "
                    f"columns: name them there too. Received: {source.column}"
                )


def _names(value):
    """Columns as a list: "price, colour" or ["price", "colour"]."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [str(x) for x in value]
    return [x.strip() for x in str(value).split(",")]


def _table(value, name, path):
    """A copy of a TOML table, or an error where it is something else."""
    if not isinstance(value, dict):
        raise ValueError(
            f"In recipe {path!r}: [{name}] wants a table of keys and values. "
            f"Received: {value!r}"
        )
    return dict(value)


def _number(field, value):
    """Checks that a field of numbers, or of true and false, holds one."""
    wanted = {int: int, float: int | float, bool: bool}.get(field.type, object)
    is_bool = isinstance(value, bool) and field.type in (int, float)
    if is_bool or not isinstance(value, wanted):
        raise ValueError(
            f"`{field.name}` wants a value of type {field.type.__name__}. "
            f"Received: {value!r}"
        )


def _profile(value, logs):
    """First and last call, as a list of two integers."""
    if value is None:
        return None
    words = value.split(",") if isinstance(value, str) else value
    try:
        first, last = (int(x) for x in words)
    except (TypeError, ValueError):
        first, last = 0, 0
    if not 1 <= first <= last:
        raise ValueError(
            f"`profile` wants the first and the last call of the train step, counted "
            f"from 1, such as 10,12. Received: {value!r}"
        )
    if not logs:
        raise ValueError("`profile` wants `logs` too: the folder that it is kept in.")
    return [first, last]


def _choice(name, value, valid):
    if value not in valid:
        near = difflib.get_close_matches(str(value), valid, 1)
        raise ValueError(
            f"`{name}` wants one of {list(valid)}. {_near(near)}Received: {value!r}"
        )


def _near(names):
    return f"Did you mean {' or '.join(repr(x) for x in names)}? " if names else ""


def apply_option(recipe, text):
    """`NAME.KEY=VALUE` of the flag `--option`, onto a recipe.

    NAME is a modality or "fusion"; VALUE is read as TOML where it can be (numbers,
    true, lists), else as a string. `column`, `freeze` and `weights` are the source's
    own, all other keys go to the encoder's function. Columns may be words with commas
    between them.
    """
    path, equals, value = text.partition("=")
    name, dot, key = path.partition(".")
    valid = sorted([*recipe.sources, "fusion"])
    if not (equals and dot and key) or name not in valid:
        raise ValueError(
            f"`--option` wants NAME.KEY=VALUE with NAME one of {valid}. "
            f"Received: {text!r}"
        )
    try:
        value = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        pass
    if name != "fusion" and recipe.sources[name].kind == "tabular":
        key = {"columns": "column"}.get(key, key)
    if name == "fusion":
        recipe.fusion_options[key] = value
    elif key in ("column", "freeze", "weights"):
        setattr(recipe.sources[name], key, value)
    else:
        recipe.sources[name].options[key] = value
