"""The `mmkeras` command. TensorFlow is imported only by the commands that need it."""

import argparse
import shlex
import sys

from mmkeras.run import flags

_LABEL = "label column, of several outputs OUTPUT=COLUMN; default: that of the training"
_AGAIN = " Go on with the same command and --resume."


def main(argv=None):
    """Runs the command; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments, shlex.join(["mmkeras", *argv])) or 0
    except KeyboardInterrupt as error:
        return _stopped("interrupted", 130, str(error), arguments)
    except SystemExit as error:
        if not hasattr(error, "__notes__"):
            raise
        return _stopped("terminated", error.code, error.__notes__[0], arguments)
    except Exception as error:
        message = _message(error, arguments.command)
        if arguments.debug or message is None:
            raise
        sys.stderr.write(f"mmkeras: error: {message}\n")
        return 2


def _stopped(word, status, why, arguments):
    again = _AGAIN * (arguments.command == "train" and bool(why))
    sys.stderr.write(f"mmkeras: {word}{'. ' * bool(why)}{why}{again}\n")
    return status


def _message(error, command):
    """What to tell the user, or None where the error is a defect of ours."""
    if isinstance(error, ValueError | OSError | ImportError):
        hint = " On the command line: --trust." * ("safe_mode=False" in str(error))
        kept = command == "train" and "could not be written" in str(error)
        return f"{error}{hint}{_AGAIN * kept}"
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
    _compare_parser(commands)
    evaluate = commands.add_parser("evaluate", help="score every subset of modalities")
    evaluate.add_argument("--label", help=_LABEL)
    evaluate.add_argument(
        "--bootstrap",
        type=_draws,
        default=1000,
        metavar="N",
        help="draws for the 95 %% intervals (default 1000); 0: none",
    )
    predict = commands.add_parser("predict", help="write predictions as CSV")
    predict.add_argument("--out", default="predictions.csv")
    for command, run in ((evaluate, _evaluate), (predict, _predict)):
        text = ".keras file or folder, SavedModel, .tflite or .onnx"
        command.add_argument("model", metavar="MODEL", help=text)
        command.add_argument("table", metavar="TABLE")
        command.add_argument("--part", help="only rows whose split column says this")
        command.add_argument("--batch-size", type=_positive, default=32)
        command.add_argument("--on-bad-row", default="raise")
        _trust(command)
        command.set_defaults(run=run)
    export = commands.add_parser("export", help="write a SavedModel or a file")
    export.add_argument("model", metavar="MODEL", help=".keras file or folder")
    to = "saved_model, tflite or onnx, or several: saved_model,tflite"
    export.add_argument("--to", default="saved_model", metavar="FORMS", help=to)
    place = "version folder, or file, or of several a folder; default: beside MODEL"
    export.add_argument("--out", help=place)
    export.add_argument(
        "--quantize", help="of a TFLite file: float16, dynamic or int8; default: none"
    )
    export.add_argument(
        "--data",
        metavar="TABLE",
        help="rows that it is compared and scored on; int8 takes its ranges from them",
    )
    _trust(export)
    export.set_defaults(run=_export)
    _report_parser(commands)
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


def _draws(text):
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"wants 0 or more. Received: {text}")
    return number


def _trust(command):
    command.add_argument(
        "--trust",
        action="store_true",
        help="load a SavedModel, also inside a hub encoder: it runs code of its own",
    )


def _train_parser(commands):
    train = commands.add_parser("train", help="train from a table, or a TOML recipe")
    flags.add_sources(train)
    flags.add_settings(train)
    train.add_argument("--no-export", action="store_true", help="no SavedModel")
    train.add_argument(
        "--calibrate",
        action="store_true",
        help="fit the temperature of the probabilities on the validation rows",
    )
    train.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped"
    )
    train.set_defaults(run=_train)


def _compare_parser(commands):
    compare = commands.add_parser(
        "compare", help="fusions beside single modalities and linear models"
    )
    flags.add_sources(compare)
    flags.add_settings(compare, without=flags.NOT_IN_COMPARE)
    compare.add_argument(
        "--fusion",
        action="append",
        dest="fusions",
        default=[],
        metavar="NAME",
        help="a fusion to compare, beside concat; may be given several times",
    )
    compare.add_argument("--seeds", type=_positive, default=5, help="fits of a method")
    compare.add_argument(
        "--folds",
        type=int,
        default=0,
        help="folds of a cross-validation, stratified and by --group; default: the "
        "table's split",
    )
    compare.set_defaults(run=_compare)


def _report_parser(commands):
    report = commands.add_parser("report", help="analyse a model: one HTML page")
    report.add_argument("model", metavar="MODEL", help=".keras file or folder")
    report.add_argument("table", metavar="TABLE")
    report.add_argument("--out", required=True, metavar="FOLDER")
    report.add_argument("--label", help=_LABEL)
    report.add_argument("--part", help="only rows whose split column says this")
    report.add_argument("--batch-size", type=_positive, default=32)
    report.add_argument("--on-bad-row", default="raise")
    report.add_argument(
        "--bootstrap",
        type=_draws,
        default=1000,
        metavar="N",
        help="draws for the 95 %% intervals (default 1000); 0: none",
    )
    report.add_argument(
        "--robustness-rows",
        type=_draws,
        default=128,
        metavar="N",
        help="rows drawn for the robustness curves (default 128); 0: no curves",
    )
    report.add_argument(
        "--worst", type=_draws, default=20, metavar="N", help="rows of the error table"
    )
    report.add_argument(
        "--examples",
        type=_draws,
        default=3,
        metavar="N",
        help="rows whose answer is attributed to its inputs (default 3)",
    )
    report.add_argument(
        "--map", default="pca", choices=("pca", "umap"), help="of the fused features"
    )
    report.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    _trust(report)
    report.set_defaults(run=_report)


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


def _train(arguments, command):
    recipe = flags.recipe_of(arguments)
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


def _compare(arguments, command):
    recipe = flags.recipe_of(arguments, out="saved_models/compare")
    _quiet()
    from mmkeras.run.comparing.compare import compare
    from mmkeras.run.progress import Progress

    found = compare(
        recipe, arguments.fusions, arguments.seeds, arguments.folds, Progress()
    )
    _print(found)
    _print(f"Written: {recipe.out}/compare.md, compare.csv, compare.png, runs.jsonl")


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
        bootstrap=arguments.bootstrap,
    )
    _print(report.summary())
    if report.calibration is not None:
        _print(f"\n{report.calibration}")


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
    from mmkeras.run.export import export_model

    for report in export_model(
        arguments.model,
        arguments.out,
        arguments.trust,
        arguments.to,
        arguments.quantize,
        arguments.data,
    ):
        _print(report)


def _report(arguments, command):
    _quiet()
    from mmkeras.run.progress import Progress
    from mmkeras.run.report import Options, report

    options = Options(
        bootstrap=arguments.bootstrap,
        robustness_rows=arguments.robustness_rows,
        worst=arguments.worst,
        examples=arguments.examples,
        method=arguments.map,
        seed=arguments.seed,
    )
    written = report(
        arguments.model,
        arguments.table,
        arguments.out,
        label=arguments.label,
        part=arguments.part,
        on_bad_row=arguments.on_bad_row,
        batch_size=arguments.batch_size,
        trust=arguments.trust,
        options=options,
        progress=Progress(),
    )
    _print(written)


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
