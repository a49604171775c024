"""The command line: quick help, clear errors, and a whole road on small files."""

import subprocess
import sys
import time

import pandas
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import cli
from mmkeras.run import apply, demo_data

ROWS = {"train": 24, "val": 8, "test": 8}


def run(capsys, *arguments):
    status = cli.main([str(x) for x in arguments])
    return status, capsys.readouterr()


def test_help_imports_no_tensorflow():
    code = (
        "import sys; from mmkeras import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(x in sys.modules for x in ('tensorflow', 'keras', 'numpy')))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0
    assert b"encoders" in done.stdout
    assert time.perf_counter() - start < 5  # 0.1 s alone; the bound forgives a busy box


def test_encoders_table(capsys):
    status, out = run(capsys, "encoders")
    assert status == 0
    for name in ("resnet50", "vgg16", "bert", "mfcc_cnn"):
        assert name in out.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "t.csv", "--image", "photo=resnet50"], "'label' is missing"),
        (["train", "t.csv", "--image", "photo", "--label", "y"], "NAME=ENCODER"),
        (["train", "none.csv", "--image", "a=resnet50", "--label", "y"], "none.csv"),
        (["train", "none.toml"], "no recipe file"),
        (["evaluate", "nowhere", "t.csv"], "MODEL wants a .keras file"),
        (["predict", "nowhere", "t.csv"], "MODEL wants a .keras file"),
        (["export", "nowhere"], "MODEL wants a .keras file"),
    ],
)
def test_errors_are_one_clear_line(capsys, arguments, message):
    status, out = run(capsys, *arguments)
    assert status == 2
    assert message in out.err
    assert "Traceback" not in out.err


def test_a_broken_picture_is_named_in_one_line(tmp_path, capsys):
    table = pandas.read_csv(demo_data.write(tmp_path, ROWS))
    row = table.photo.first_valid_index()
    (tmp_path / table.photo[row]).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    flags = ["--image", "photo=mobilenetv3small:none", "--option", "photo.size=[32,32]"]
    flags += ["--label", "label", "--out", tmp_path / "out", "--epochs", "1"]
    status, out = run(capsys, "train", tmp_path / "table.csv", *flags)
    assert status == 2
    line = out.err.strip().splitlines()[-1]
    assert f"row {row}, column 'photo', path '{tmp_path / table.photo[row]}'" in line
    assert "PNG" in line and "on_bad_row" in line and "Traceback" not in out.err


def test_no_batch_of_nothing(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "model", "t.csv", "--batch-size", "0"])
    assert "wants 1 or more. Received: 0" in capsys.readouterr().err


def test_a_part_is_chosen_by_the_column_of_the_training(tmp_path):
    place = tmp_path / "t.csv"
    place.write_text("fold,x\ntrain,1\ntest,2\n")
    assert list(apply._rows(str(place), "test", {"split": "fold"}).x) == [2]
    with pytest.raises(ValueError, match="no column 'split'.*fold"):
        apply._rows(str(place), "test", {})


def test_a_hub_encoder_wants_trust(tmp_path, capsys):
    """Safe by default: the SavedModel inside a hub encoder is code."""
    table = demo_data.write(tmp_path / "data", ROWS)
    module = tf.Module()
    module.w = tf.Variable(tf.ones((3, 4)))
    pixels = tf.TensorSpec((None, 8, 8, 3))

    @tf.function(input_signature=[pixels])
    def call(x):
        return tf.reduce_mean(x, (1, 2)) @ module.w

    module.__call__ = call
    module.call = call
    tf.saved_model.save(
        module, str(tmp_path / "module"), signatures={"serving_default": call}
    )
    encoder = mm.hub.saved_model(
        str(tmp_path / "module"),
        size=(8, 8),
        signature="serving_default",
        output_key="output_0",
    )
    model = mm.multimodal(
        {"photo": encoder},
        mm.fusion.Concat(),
        mm.heads.classification(list(demo_data.CLASSES)).layer,
    )
    model.save(tmp_path / "m.keras")
    flags = [tmp_path / "m.keras", table, "--label", "label"]
    status, out = run(capsys, "evaluate", *flags)
    assert status == 2 and "--trust" in out.err
    status, out = run(capsys, "evaluate", *flags, "--trust")
    assert status == 0 and "photo" in out.out
