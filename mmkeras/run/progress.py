"""Progress on the screen: rich where it is installed, plain lines elsewhere."""

import contextlib
import sys
import time

#: Between two lines on what is no terminal.
_SECONDS = 30.0


class Progress:
    """Says what is being done, how far it is and how long it takes.

    Args:
        quiet: True to print nothing.
        stream: where to; default: standard error, so that results stay clean.
    """

    def __init__(self, quiet=False, stream=None):
        self.quiet = quiet
        self.stream = stream or sys.stderr

    def say(self, text):
        """One line or one block of text."""
        if not self.quiet:
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def track(self, items, total, label):
        """Yields `items`, showing how many of `total` are done."""
        start = time.perf_counter()
        bar = self._bar(label, total)
        with bar as advance:
            for item in items:
                yield item
                advance()
        if self._plain():
            self.say(f"{label}: {time.perf_counter() - start:.1f} s")

    @contextlib.contextmanager
    def rows(self, total, label):
        """Gives a function that takes numbers of rows done, and shows rows a second."""
        start, done = time.perf_counter(), 0
        said = start

        def rate():
            seconds = time.perf_counter() - start
            return f"{done / seconds if seconds else 0:,.0f} rows/s"

        with self._bar(label, total) as advance:

            def add(count):
                nonlocal done, said
                done += count
                advance(rate(), count)
                if self._plain() and time.perf_counter() - said > _SECONDS:
                    said = time.perf_counter()
                    self.say(f"{label}: {done:,} of {total:,} rows, {rate()}")

            yield add
        if self._plain():
            seconds = time.perf_counter() - start
            self.say(f"{label}: {done:,} rows, {seconds:.1f} s, {rate()}")

    @contextlib.contextmanager
    def epochs(self, total):
        """A Keras callback that shows each epoch's losses and scores."""
        import keras

        with self._bar("Training", total) as advance:

            def end(epoch, logs):
                advance(_line(logs))
                if self._plain():
                    self.say(f"epoch {epoch + 1}/{total}  {_line(logs)}")

            yield keras.callbacks.LambdaCallback(on_epoch_end=end)

    def _plain(self):
        return not self.quiet and not _on_terminal(self.stream)

    @contextlib.contextmanager
    def _bar(self, label, total):
        """Gives a function that moves the bar, with an optional remark."""
        if self.quiet or self._plain():
            yield _nothing
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        text = TextColumn("{task.description}")
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns += (TextColumn("{task.fields[remark]}"),)
        with Progress(*columns, console=Console(file=self.stream)) as bar:
            task = bar.add_task(label, total=total, remark="")

            def advance(remark="", by=1):
                bar.update(task, advance=by, remark=remark)

            yield advance


def _nothing(remark="", by=1):
    pass


def _on_terminal(stream):
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return stream.isatty()


def _line(logs):
    shown = ("loss", "accuracy", "mae", "val_loss", "val_accuracy", "val_mae")
    return "  ".join(f"{k} {logs[k]:.3f}" for k in shown if k in (logs or {}))
