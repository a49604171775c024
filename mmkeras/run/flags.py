"""The flags of a training recipe, shared by the commands that take one."""

_SETTINGS = (
    # flag, type, help
    ("out", str, "output folder (default saved_models/model)"),
    ("task", str, "classification, multilabel or regression"),
    ("fusion", str, "gated, concat, add, weighted_sum ..."),
    ("split", str, "column with train / val / test, else 70 / 15 / 15 by --seed"),
    ("group", str, "column whose values stay on one side of a random split"),
    ("epochs", int, "epochs with the pretrained encoders frozen"),
    ("finetune-epochs", int, "epochs end to end after that (default 0)"),
    ("batch-size", int, "rows in a step"),
    ("learning-rate", float, "of the first stage"),
    ("finetune-learning-rate", float, "of the second stage"),
    ("weight-decay", float, "AdamW's"),
    ("schedule", str, "of the learning rate: constant, or cosine to 0"),
    ("head-dropout", float, "share of the fused features that training drops"),
    ("modality-dropout", float, "probability of hiding a modality in training"),
    (
        "patience",
        int,
        "epochs without a better validation loss before it stops; 0: never",
    ),
    (
        "cache",
        str,
        "folder for the features of frozen encoders; default: one that all runs "
        "share; none: memory",
    ),
    ("class-weight", str, "balanced: each class weighs the same in training"),
    ("seed", int, "of everything random"),
    ("precision", str, "float32, mixed_bfloat16 or mixed_float16 (loss scaled)"),
    ("jit", str, "XLA: auto (where Keras can), on or off"),
    ("clip-norm", float, "largest norm of a step's whole gradient; 0: any"),
    ("accumulate", int, "batches whose gradients make one step"),
    ("keep", str, "best: the epoch with the least validation loss; or last"),
    ("logs", str, "folder for TensorBoard's event files and history.csv"),
    ("profile", str, "FIRST,LAST: calls of the train step to profile into --logs"),
    ("on-bad-row", str, "raise, or absent: an unreadable cell is a missing modality"),
)
#: Those that say nothing of a comparison: it keeps frozen what is pretrained.
NOT_IN_COMPARE = (
    "fusion",
    "finetune-epochs",
    "finetune-learning-rate",
    "logs",
    "profile",
)


def add_sources(command):
    """The table, its modalities and their label."""
    command.add_argument("table", metavar="TABLE|RECIPE.toml")
    for kind in ("image", "text", "audio"):
        command.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar="NAME=ENCODER[:WEIGHTS]",
            help=f"{kind} modality; NAME is the table's column",
        )
    command.add_argument(
        "--tabular",
        action="append",
        default=[],
        metavar="NAME=COLUMN,COLUMN",
        help="columns of numbers and categories as one modality",
    )
    command.add_argument("--label", help="label column")
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="argument of an encoder or of the fusion: photo.size=96, fusion.units=64, "
        "photo.freeze=conv4_block6_out, photo.column=image_path, "
        "facts.units=[64, 32], facts.categorical=zip",
    )


def add_settings(command, without=()):
    """How it is trained."""
    for flag, kind, text in _SETTINGS:
        if flag not in without:
            command.add_argument(f"--{flag}", type=kind, help=text)


def recipe_of(arguments, **defaults):
    """The recipe of the flags; those given override the TOML file's.

    Args:
        arguments: as the parser gives them.
        **defaults: fields of the recipe where no flag says otherwise, whatever the
            TOML file says.
    """
    from mmkeras.run import recipe as recipes

    names = [x[0].replace("-", "_") for x in _SETTINGS] + ["label"]
    values = {x: getattr(arguments, x, None) for x in names}
    values = {key: value for key, value in values.items() if value is not None}
    values = {**defaults, **values}
    if getattr(arguments, "no_export", False):
        values["export"] = False
    if getattr(arguments, "calibrate", False):
        values["calibrate"] = True
    sources = {}
    for kind in recipes.KINDS:
        for text in getattr(arguments, kind):
            name, source = recipes.parse_source(kind, text)
            sources[name] = source
    if arguments.table.endswith(".toml"):
        recipe = recipes.from_toml(arguments.table)
        recipe.sources.update(sources)
        for key, value in values.items():
            setattr(recipe, key, value)
    else:
        recipe = recipes.from_values({"table": arguments.table, **values}, sources)
    for text in arguments.option:
        recipes.apply_option(recipe, text)
    recipe.__post_init__()  # of what the options changed
    return recipe
