"""The `mmkeras` command. TensorFlow is imported only by the commands that need it."""

import argparse
import shlex
import sys

_TRAIN_FLAGS = (
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


def main(argv=None):
    """Runs the command; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments, shlex.join(["mmkeras", *argv])) or 0
    except KeyboardInterrupt as error:
        why = f". {error}" if str(error) else ""
        sys.stderr.write(f"mmkeras: interrupted{why}\n")
        return 130
    except Exception as error:
        message = _message(error)
        if arguments.debug or message is None:
            raise
        sys.stderr.write(f"mmkeras: error: {message}\n")
        return 2


def _message(error):
    """What to tell the user, or None where the error is a defect of ours."""
    if isinstance(error, ValueError | OSError | ImportError):
        hint = " On the command line: --trust." * ("safe_mode=False" in str(error))
        return f"{error}{hint}"
    if type(error).__module__.startswith("tensorflow."):
        # tf.data wraps an error raised while rows are read, traceback and all
        text = str(error).split("ValueError: ", 1)[-1]
        return text.split("\nTraceback")[0].strip()
    return None


def parser():
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="mmkeras", description="Multimodal transfer learning for Keras."
    )
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train on the embedded generated set")
    demo.add_argument("--out", default="saved_models/demo")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)
    _train_parser(commands)
    evaluate = commands.add_parser("evaluate", help="score every subset of modalities")
    evaluate.add_argument("--label", help="label column; default: that of the training")
    predict = commands.add_parser("predict", help="write predictions as CSV")
    predict.add_argument("--out", default="predictions.csv")
    for command, run in ((evaluate, _evaluate), (predict, _predict)):
        exports = ", SavedModel, .tflite or .onnx" * (command is predict)
        text = f".keras file or folder{exports}"
        command.add_argument("model", metavar="MODEL", help=text)
        command.add_argument("table", metavar="TABLE")
        command.add_argument("--part", help="only rows whose split column says this")
        command.add_argument("--batch-size", type=_positive, default=32)
        command.add_argument("--on-bad-row", default="raise")
        _trust(command)
        command.set_defaults(run=run)
    export = commands.add_parser("export", help="write a SavedModel or a file")
    export.add_argument("model", metavar="MODEL", help=".keras file or folder")
    export.add_argument(
        "--to", default="saved_model", help="saved_model, tflite or onnx"
    )
    export.add_argument(
        "--out", help="version folder, or file; default: beside the model"
    )
    export.add_argument(
        "--quantize", help="of a TFLite file: float16, dynamic or int8; default: none"
    )
    export.add_argument(
        "--data",
        metavar="TABLE",
        help="rows that a file is compared on; int8 takes its ranges from them",
    )
    _trust(export)
    export.set_defaults(run=_export)
    _shard_parser(commands)
    table = commands.add_parser("encoders", help="every encoder and when to choose it")
    table.add_argument("--kind", choices=("image", "text", "audio"))
    table.set_defaults(run=_encoders)
    return top


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wants 1 or more. Received: {text}")
    return number


def _trust(command):
    command.add_argument(
        "--trust",
        action="store_true",
        help="load a SavedModel, also inside a hub encoder: it runs code of its own",
    )


def _train_parser(commands):
    train = commands.add_parser("train", help="train from a table, or a TOML recipe")
    train.add_argument("table", metavar="TABLE|RECIPE.toml")
    for kind in ("image", "text", "audio"):
        train.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar="NAME=ENCODER[:WEIGHTS]",
            help=f"{kind} modality; NAME is the table's column",
        )
    train.add_argument(
        "--tabular",
        action="append",
        default=[],
        metavar="NAME=COLUMN,COLUMN",
        help="columns of numbers and categories as one modality",
    )
    train.add_argument("--label", help="label column")
    train.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="argument of an encoder or of the fusion: photo.size=96, fusion.units=64, "
        "photo.freeze=conv4_block6_out, photo.column=image_path, "
        "facts.units=[64, 32], facts.categorical=zip",
    )
    for flag, kind, text in _TRAIN_FLAGS:
        train.add_argument(f"--{flag}", type=kind, help=text)
    train.add_argument("--no-export", action="store_true", help="no SavedModel")
    train.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped"
    )
    train.set_defaults(run=_train)


def _shard_parser(commands):
    shard = commands.add_parser("shard", help="write a table and its files as TFRecord")
    shard.add_argument("table", metavar="TABLE")
    shard.add_argument("--out", required=True, help="folder of the shards, or a URL")
    shard.add_argument(
        "--files",
        action="append",
        metavar="COLUMN",
        help="column of files; default: told from the cells",
    )
    shard.add_argument("--split", help="column: each part gets shards of its own")
    shard.add_argument("--rows", type=_positive, default=1000, help="rows in a shard")
    shard.add_argument("--on-bad-row", default="raise")
    shard.set_defaults(run=_shard)


def _recipe(arguments):
    """The recipe of the flags; those given override the TOML file's."""
    from mmkeras.run import recipe as recipes

    flags = [x[0].replace("-", "_") for x in _TRAIN_FLAGS] + ["label"]
    values = {x: getattr(arguments, x) for x in flags}
    values = {key: value for key, value in values.items() if value is not None}
    if arguments.no_export:
        values["export"] = False
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


def _train(arguments, command):
    recipe = _recipe(arguments)
    _quiet()
    from mmkeras.run.progress import Progress
    from mmkeras.run.train import train

    result = train(recipe, Progress(), command, resume=arguments.resume)
    _print(result.report)
    if result.bad_rows:
        from mmkeras.data.bad import listing

        _print(
            f"{len(result.bad_rows)} cells could not be read and were taken as "
            f"missing; all are in {result.folder}/bad_rows.csv:\n"
            f"{listing(result.bad_rows)}"
        )
    _print(f"Written: {result.folder}/model.keras, card.md, report.csv, plots")


def _demo(arguments, command):
    _quiet()
    from mmkeras.run.demo import demo
    from mmkeras.run.progress import Progress

    _print(demo(arguments.out, Progress(), arguments.seed, command))


def _evaluate(arguments, command):
    _quiet()
    from mmkeras.run import apply

    report = apply.evaluate(
        arguments.model,
        arguments.table,
        label=arguments.label,
        part=arguments.part,
        on_bad_row=arguments.on_bad_row,
        batch_size=arguments.batch_size,
        trust=arguments.trust,
    )
    _print(report)


def _predict(arguments, command):
    _quiet()
    from mmkeras.run import apply
    from mmkeras.run.progress import Progress

    rows = apply.predict(
        arguments.model,
        arguments.table,
        arguments.out,
        part=arguments.part,
        on_bad_row=arguments.on_bad_row,
        batch_size=arguments.batch_size,
        trust=arguments.trust,
        progress=Progress(),
    )
    _print(f"Written: {arguments.out} ({len(rows)} rows)")


def _export(arguments, command):
    _quiet()
    from mmkeras.run import apply

    report = apply.export_model(
        arguments.model,
        arguments.out,
        arguments.trust,
        arguments.to,
        arguments.quantize,
        arguments.data,
    )
    _print(report)


def _shard(arguments, command):
    _quiet()
    from mmkeras.run.progress import Progress
    from mmkeras.run.shard import shard

    report = shard(
        arguments.table,
        arguments.out,
        Progress(),
        files=arguments.files,
        split=arguments.split,
        rows=arguments.rows,
        on_bad_row=arguments.on_bad_row,
    )
    _print(report)


def _encoders(arguments, command):
    from mmkeras import encoders

    _print(encoders.table(arguments.kind))


def _quiet():
    """Imports TensorFlow without its start-up notices; real errors still raise."""
    import logging
    import os

    if "tensorflow" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # written by C++ before any log level is read
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _print(text):
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
