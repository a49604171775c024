"""`mmkeras report`: all that the analysis room knows of a model, on one page."""

import dataclasses
import functools
import warnings
from pathlib import Path

from mmkeras import analysis, data, heads
from mmkeras.analysis.pages import html
from mmkeras.analysis.plots.style import new_figure
from mmkeras.analysis.rows.embedding_map import run as outputs_and_features
from mmkeras.analysis.rows.errors import of_outputs
from mmkeras.data.bad import BadRows
from mmkeras.data.cells import of as cells_of
from mmkeras.data.table import match_columns
from mmkeras.load import load_model
from mmkeras.model import readers
from mmkeras.run import apply, files, report_rows, report_sections
from mmkeras.run.opened import scored
from mmkeras.run.progress import Progress

PAGE = "report.html"
#: Title and function of each section, in order.
SECTIONS = (
    ("The model", report_sections.model),
    ("Scores of every subset", report_sections.scores),
    ("Does each modality earn its place?", report_sections.contributions),
    ("Classes", report_sections.classes),
    ("Calibration", report_sections.calibration),
    ("Robustness", report_sections.robustness),
    ("The worst rows", report_rows.worst),
    ("Slices", report_rows.slices),
    ("Map of the fused features", report_rows.embedding),
    ("What single answers come from", report_rows.attributions),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """How much a report does.

    Args:
        bootstrap: Integer, draws for intervals; 0: none.
        robustness_rows: Integer, rows drawn for the robustness curves; 0: no curves.
        levels: levels of corruption.
        worst: Integer, rows in the table of errors.
        examples: Integer, rows whose answer is attributed; 0: none.
        max_steps: Integer, gradients of such a row at most.
        method: of the map, "pca" or "umap".
        seed: Integer, of all that is drawn.
    """

    bootstrap: int = 1000
    robustness_rows: int = 128
    levels: tuple = (0.25, 0.5, 1.0)
    worst: int = 20
    examples: int = 3
    max_steps: int = 512
    method: str = "pca"
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Written:
    """What `report` gives.

    Args:
        path: of the page.
        failed: dict, title of a section that could not be made -> why.
        bad_rows: list of `BadRow`, the cells that were taken as missing.
    """

    path: Path
    failed: dict
    bad_rows: list

    def __str__(self):
        told = [f"Written: {self.path}, and its figures and tables beside it"]
        told += [f"Not made: {name} ({why})" for name, why in self.failed.items()]
        if self.bad_rows:
            told.append(f"{len(self.bad_rows)} cells could not be read")
        return "\n".join(told)


def report(
    model,
    table,
    out,
    label=None,
    part=None,
    on_bad_row="raise",
    batch_size=32,
    trust=False,
    options=None,
    progress=None,
):
    """Writes report.html, and beside it its figures as PNG, its tables as CSV.

    A section that does not apply is left out; one that fails is named in the page, and
    the others are made.

    Args:
        model: path of a `.keras` file or of an output folder of `mmkeras train`.
        table: path of the table.
        out: folder.
        label: label column, default: the one it was trained with; of a model with
            several outputs "OUTPUT=COLUMN", the one that the page is about.
        part: rows whose split column (the recipe's) holds this word; default: all.
        on_bad_row: "raise" or "absent".
        batch_size: Integer.
        trust: True to load the SavedModel inside a hub encoder.
        options: optional `Options`.
        progress: `progress.Progress`; default: none is shown.

    Returns:
        `Written`.

    Raises:
        ValueError: the model or the table cannot be read, or there are no labels.
        ImportError: matplotlib or scikit-learn is not installed.
    """
    new_figure(1, 1)  # or says at once what is not installed
    options, progress = options or Options(), progress or Progress(quiet=True)
    file = apply.find_model(model)
    recipe = apply._recipe(file.parent)
    network = load_model(file, safe_mode=not trust)
    rows = apply._rows(table, part, recipe)
    network, label, rows = scored(network, label or recipe.get("label"), rows)
    job = Job(
        file=file,
        recipe=recipe,
        network=network,
        frame=rows,
        table=table,
        part=part,
        label=label,
        folder=Path(out),
        reading={"on_bad_row": on_bad_row, "batch_size": batch_size},
        options=options,
        progress=progress,
    )
    job.errors, job.scores  # noqa: B018 without these there is no report
    sections, failed = [], {}
    for title, make in SECTIONS:
        made = _made(job, title, make, failed)
        if made:
            sections.append(html.Section(title, made))
    page = html.page(f"Report on {job.name}", _intro(job, failed), sections)
    files.write_text(job.folder / PAGE, page)
    return Written(job.folder / PAGE, failed, job.bad_rows)


def _made(job, title, make, failed):
    """The parts of a section; what went wrong in place of one that failed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one row or class too few; told there
            return make(job)
    except Exception as error:  # whatever it is, the other sections are worth having
        why = f"{type(error).__name__}: {error}"
        failed[title] = why
        job.progress.say(f"{title}: not made. {why}")
        told = f"This section could not be made. {why}"
        return [html.paragraph(told, "failed")]


def _intro(job, failed):
    rows = f"{job.scores.rows} rows of {job.table}"
    if job.part is not None:
        rows += f", part {job.part}"
    parts = [f"Scored on {rows}. Label: {job.label}.", str(job.errors) + "."]
    if failed:
        names = ", ".join(failed)
        parts.append(html.paragraph(f"Sections that failed: {names}.", "failed"))
    return parts


class Job:
    """What the sections share: the model, its rows, and what is worked out once.

    Args:
        **given: file, recipe, network, frame, table, part, label, folder, reading,
            options and progress; see `report`.
    """

    def __init__(self, **given):
        vars(self).update(given)
        self.bad_rows = []
        self.head = heads.output_contract(self.network)
        self.contracts = readers(self.network)
        own = apply._columns(self.recipe, self.contracts)
        self.columns = match_columns(self.frame, self.contracts, own)

    @property
    def name(self):
        """What the model is called."""
        named = self.file.name == "model.keras"
        return self.file.resolve().parent.name if named else self.file.stem

    def rows(self, frame, bad_rows=None):
        """Batches of some rows."""
        return data.from_table(
            frame,
            self.network,
            label=self.label,
            columns=self.columns,
            root=self.frame.attrs.get("root"),
            bad_rows=bad_rows,
            **self.reading,
        )

    def tracked(self, text, bad_rows=None):
        """Batches of all rows, with progress."""
        rows = self.rows(self.frame, bad_rows)
        return self.progress.track(rows, len(rows), text)

    @functools.cached_property
    def passed(self):
        """Labels, outputs and fused features of all rows."""
        rows = self.tracked("Outputs", self.bad_rows)
        return outputs_and_features(self.network, rows)

    @functools.cached_property
    def errors(self):
        """`ErrorReport` of all rows."""
        labels, outputs, _ = self.passed
        return of_outputs(labels, outputs, self.frame, self.head)

    @functools.cached_property
    def scores(self):
        """`ModalityReport` of all rows."""
        several = apply._EMAP if len(self.contracts) > 1 else {}
        return analysis.modality_report(
            self.network,
            self.tracked("Scores of every subset"),
            bootstrap=self.options.bootstrap,
            seed=self.options.seed,
            **several,
        )

    def cells(self, frame, name):
        """A modality's cells in some rows: full paths, bytes or strings."""
        bad = BadRows("absent", [], frame.index)
        root = self.frame.attrs.get("root") or "."
        return cells_of(frame, self.columns[name], self.contracts[name], root, bad)[0]

    def figure(self, name, draw, alt, caption=None):
        """Draws FOLDER/name.png; gives it as a part of the page."""
        path = self.folder / f"{name}.png"
        draw(path)
        return html.figure(path, alt, caption)

    def csv(self, name, frame):
        """Writes FOLDER/name.csv."""
        index = frame.index.names != [None]
        files.write_text(self.folder / f"{name}.csv", frame.to_csv(index=index))
