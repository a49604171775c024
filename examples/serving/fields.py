"""What the clients' command lines share: NAME=VALUE, or NAME=@FILE for a file."""

import argparse
import pathlib


def parser(text, **defaults):
    """An argument parser for a model, its endpoint and one row."""
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument(
        "fields",
        nargs="+",
        type=field,
        metavar="NAME=VALUE",
        help="a modality: text as it is, @FILE for a file, nothing where it is absent",
    )
    for name, value in defaults.items():
        made.add_argument(f"--{name}", default=value, help=" ")
    return made


def field(text):
    """`name=value` as a pair; the value of `name=@file` is the file's bytes."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"wants NAME=VALUE. Received: {text!r}")
    if value.startswith("@"):
        try:
            return name, pathlib.Path(value[1:]).read_bytes()
        except OSError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return name, value
