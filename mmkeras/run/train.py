"""The training job: a table becomes a trained, reported, exported model."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras

from mmkeras import analysis, data, export, transfer
from mmkeras.aside import aside
from mmkeras.data.bad import to_csv
from mmkeras.data.labels import class_name, class_names
from mmkeras.data.table import is_missing
from mmkeras.model import multimodal, readers
from mmkeras.run import build, card, devices, facts, files, precision, stage
from mmkeras.run.progress import Progress
from mmkeras.run.recipe import Recipe
from mmkeras.run.rows import Rows

# the column that tells the parts where the recipe names none
_SPLIT = next(x.default for x in dataclasses.fields(Recipe) if x.name == "split")


@dataclasses.dataclass
class Result:
    """What a training run gives."""

    model: keras.Model
    report: object
    history: dict
    folder: Path
    bad_rows: list
    #: `analysis.TemperatureReport` on the validation rows, where it was asked for.
    temperature: object = None


def train(recipe, progress=None, command="mmkeras train", resume=False):
    """Runs a recipe.

    Frozen encoders run once over the table (feature transfer); the fusion, the head
    and the encoders that train are then fitted on that. With `finetune_epochs` the
    frozen encoders are released and the whole model goes on end to end.

    Several GPUs of this host share each batch; batch normalisation that trains takes
    its statistics over all of them, and a last, smaller batch is left out. Frozen
    encoders run on the first GPU, and so does all that comes after training.

    Args:
        recipe: `recipe.Recipe`.
        progress: `progress.Progress`; default: silent.
        command: the command as typed, for the model's card.
        resume: whether a run of the same recipe that was stopped goes on, at the step
            where it was. What it needs is kept in `recipe.out`/.state until it ends.

    Returns:
        `Result`; the folder `recipe.out` then holds model.keras, 1/ (SavedModel),
        card.md, report.csv, history.csv, recipe.json and plots.

    Raises:
        ValueError: a wrong table, label, encoder or option; nothing is written then.
            Or `resume` and the run that was stopped had another recipe. Or TF_CONFIG
            names several workers; several GPUs and a batch that they cannot share.
    """
    with precision.policy(recipe.precision):
        return _train(recipe, progress or Progress(quiet=True), command, resume)


def _train(recipe, progress, command, resume):
    strategy = devices.strategy_for(recipe)
    replicas = strategy.num_replicas_in_sync
    state = _state(recipe, resume, progress)
    keras.utils.set_random_seed(recipe.seed)
    parts = split(recipe)
    devices.check_rows(parts, recipe.batch_size, replicas)
    columns = {name: x.column or name for name, x in recipe.sources.items()}
    names = classes(recipe, parts)
    head = build.head(recipe.task, names, recipe.head_dropout, recipe.fusion)
    with strategy.scope():
        model = assemble(recipe, head, parts["train"], columns)
    if replicas > 1:
        progress.say(f"Training on {replicas} replicas, which share each batch.")
    for name, source in recipe.sources.items():
        if source.kind == "tabular":
            progress.say(facts.told(name, source, readers(model)[name]))
    progress.say(transfer.summary(model).to_string())

    bad = []
    rows = Rows(recipe, model, parts, columns, bad, progress)
    rows.adapt()
    files.write_json(state / "recipe.json", recipe.to_dict())
    history = _fit_head(model, head, rows, recipe, progress, state)
    if recipe.finetune_epochs:
        _join(history, _finetune(model, head, rows, recipe, progress, state))
    model = precision.in_float32(devices.here(model))
    stage.compile_for(model, head, recipe.learning_rate, recipe)

    fitted = _calibrate(model, rows, progress) if recipe.calibrate else None
    progress.say("Scoring every subset of the modalities on the test rows.")
    report = analysis.modality_report(model, rows.stream("test"))
    result = Result(model, report, history, Path(recipe.out), bad, fitted)
    _save(result, recipe, parts, columns, head, command, progress)
    shutil.rmtree(state)
    return result


def _state(recipe, resume, progress):
    """The folder of the training's state; that of an earlier run where it goes on."""
    folder = Path(recipe.out) / ".state"
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    elif not (folder / "recipe.json").is_file():
        progress.say("No stopped run here: training begins anew.")
    else:
        kept = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        now = json.loads(json.dumps(recipe.to_dict(), default=str))
        other = sorted(x for x in now if now[x] != kept.get(x))
        if other:
            shown = ", ".join(f"{x}={kept.get(x)!r}, now {now[x]!r}" for x in other)
            raise ValueError(
                f"The run that was stopped in '{recipe.out}' had another recipe: "
                f"{shown}. Give the same, or train without --resume to begin anew."
            )
        progress.say("Going on with the run that was stopped here.")
    return folder


def split(recipe):
    """The table's rows as a dict, "train", "val", "test" -> DataFrame."""
    table = data.read_table(recipe.table)
    missing = [
        x
        for x in [
            recipe.label,
            *_columns_of(recipe),
        ]
        if x not in table.columns
    ]
    if missing:
        raise ValueError(
            f"Table {recipe.table!r} has no column {missing}. "
            f"Its columns: {list(table.columns)}"
        )
    # only the default may be absent: a column that was asked for must be there
    if recipe.split in table.columns or recipe.split != _SPLIT:
        parts = data.split(table, recipe.split)
    else:
        stratify = recipe.label if recipe.task == "classification" else None
        parts = data.split(
            table, stratify=stratify, group=recipe.group, seed=recipe.seed
        )
    sizes = {key: len(rows) for key, rows in parts.items()}
    for part in ("train", "val", "test"):
        if not sizes.get(part):
            raise ValueError(
                f"The split has no rows '{part}': column '{recipe.split}' wants the "
                f"words train, val and test. Received: {sizes}"
            )
    batches = -(-sizes["train"] // recipe.batch_size)
    if recipe.accumulate > batches:
        raise ValueError(
            f"`accumulate` wants at most the {batches} batches of an epoch, else no "
            f"epoch takes a step. Received: {recipe.accumulate}"
        )
    return parts


def _columns_of(recipe):
    """Every column that a modality takes."""
    for name, source in recipe.sources.items():
        several = source.kind == "tabular"
        yield from source.column if several else [source.column or name]


def classes(recipe, parts):
    """The head's names: the label's values over all parts, or the label itself."""
    if recipe.task == "regression":
        return [recipe.label]
    found = set()
    for part in parts.values():
        for cell in part[recipe.label].astype(object):
            if not is_missing(cell):
                several = recipe.task == "multilabel"
                found |= set(class_names(cell)) if several else {class_name(cell)}
    if len(found) < 2:
        raise ValueError(
            f"Column '{recipe.label}' holds {sorted(found)}: `{recipe.task}` wants two "
            f"or more classes."
        )
    return sorted(found, key=_natural)


def assemble(recipe, head, train_rows, columns):
    """The multimodal model of a recipe, frozen as it says."""
    made = {}
    for name, source in recipe.sources.items():
        if isinstance(source.encoder, keras.Model):
            encoder = devices.here(source.encoder)
            source = dataclasses.replace(source, encoder=encoder)
        sentences = ()
        if source.kind == "text":  # a column of numbers is text too
            sentences = train_rows[columns[name]].dropna().astype(str)
            if not sentences.str.strip().any():
                raise ValueError(
                    f"Column '{columns[name]}' holds no text in the training rows: "
                    f"leave modality '{name}' out."
                )
        rows = (train_rows, recipe.on_bad_row)
        made[name] = build.encoder(name, source, sentences, *rows)
    layer = build.fusion_layer(recipe.fusion, recipe.fusion_options, head.layer)
    model = multimodal(
        made, layer, head.layer, modality_dropout=recipe.modality_dropout
    )
    for name, source in recipe.sources.items():
        if source.freeze is True or (
            source.freeze == "auto" and build.is_pretrained(source)
        ):
            transfer.freeze(model, name)
        elif isinstance(source.freeze, str) and source.freeze != "auto":
            transfer.freeze(model, name, until=source.freeze)
    return model


def _fit_head(model, head, rows, recipe, progress, state):
    """Fits all that is not frozen; what is frozen runs once."""
    steps = rows.steps(recipe.epochs)
    callbacks = stage.callbacks(recipe, state, "head")
    shuffled = {"shuffle": True, "resume": callbacks[-1]}
    if not (rows.folder or rows.fit_in_memory()):
        progress.say("Training on rows read in every epoch.")
        stage.compile_for(model, head, recipe.learning_rate, recipe, steps)
        train, val = rows.stream("train", **shuffled), rows.stream("val")
        return stage.fit(model, train, val, recipe.epochs, callbacks, progress)
    train, val = rows.features("train", **shuffled), rows.features("val")
    with model.distribute_strategy.scope():
        part = transfer.trunk(model)
    rate = recipe.learning_rate
    stage.compile_for(part, head, rate, recipe, steps, rows.per_execution())
    progress.say(f"Training {part.count_params():,} parameters{rows.on_what()}.")
    return stage.fit(part, train, val, recipe.epochs, callbacks, progress)


def _finetune(model, head, rows, recipe, progress, state):
    transfer.unfreeze(model)
    steps = rows.steps(recipe.finetune_epochs)
    rate = recipe.finetune_learning_rate
    stage.compile_for(model, head, rate, recipe, steps)
    progress.say("Fine-tuning the whole model end to end.")
    callbacks = stage.callbacks(recipe, state, "finetune")
    train = rows.stream("train", shuffle=True, resume=callbacks[-1])
    val = rows.stream("val")
    return stage.fit(model, train, val, recipe.finetune_epochs, callbacks, progress)


def _calibrate(model, rows, progress):
    """Fits the temperature; a training is not lost where none can be found."""
    try:
        fitted = analysis.fit_temperature(model, rows.stream("val"))
    except ValueError as error:
        progress.say(f"No temperature: {error}")
        return None
    progress.say(str(fitted))
    return fitted


def _join(history, more):
    for key, values in more.items():
        history.setdefault(key, []).extend(values)


def _save(result, recipe, parts, columns, head, command, progress):
    """Writes the output folder; each file appears whole or not at all."""
    import pandas

    folder = result.folder
    folder.mkdir(parents=True, exist_ok=True)
    with aside(folder / "model.keras") as temporary:
        result.model.save(temporary)
    if recipe.export:
        progress.say("Exporting the SavedModel.")
        export.saved_model(result.model, str(files.next_version(folder)))
    files.write_json(folder / "recipe.json", recipe.to_dict())
    files.write_text(folder / "report.csv", result.report.to_frame().to_csv())
    if result.bad_rows:
        files.write_text(folder / "bad_rows.csv", to_csv(result.bad_rows))
    history = pandas.DataFrame(result.history)
    files.write_text(folder / "history.csv", history.to_csv(index_label="epoch"))
    files.write_text(
        folder / "card.md", card.card(result, recipe, parts, columns, head, command)
    )
    try:
        card.draw(result)
    except ImportError as error:  # matplotlib is an extra
        progress.say(f"No plots: {error}")


def _natural(name):
    """Sorts "2" before "10" and numbers before words."""
    try:
        return (0, float(name), "")
    except ValueError:
        return (1, 0.0, name)
