import inspect
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from mmkeras import encoders


def operations(model, size):
    """Operations of one forward pass, a multiply-add being two."""
    spec = tf.TensorSpec((1, size, size, 3), tf.float32)
    graph = tf.function(model).get_concrete_function(spec, training=False).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


@pytest.mark.parametrize("name", ["mobilenet", "mobilenetv3small", "efficientnetb0"])
def test_figures_are_those_of_the_graph(name):
    row = encoders.find(name)
    model = getattr(keras.applications, row.application)(
        include_top=False,
        weights=None,
        input_shape=(row.size, row.size, 3),
        pooling="avg",
    )
    assert model.count_params() / 1e6 == pytest.approx(row.parameters, rel=5e-3)
    assert operations(model, row.size) / 1e9 == pytest.approx(row.gflops, rel=5e-3)
    assert model.output_shape == (None, row.width)


def test_resnet50_agrees_with_its_paper():
    """He et al. 2016, table 1: 3.8e9 multiply-adds at 224; ours counts both, no top."""
    assert encoders.find("resnet50").gflops / 2 == pytest.approx(3.8, rel=0.03)


@pytest.mark.parametrize(
    "name, build",
    [
        ("mfcc_cnn", "mfcc_cnn"),
        ("mfcc_rnn", "mfcc_rnn"),
        ("mfcc_statistics", "mfcc_statistics"),
        ("conformer", "conformer"),
    ],
)
def test_audio_figures(name, build):
    from mmkeras import audio

    encoder, row = getattr(audio, build)(), encoders.find(name)
    assert encoder.count_params() / 1e6 == pytest.approx(row.parameters, rel=5e-3)
    assert encoder.output_shape == (None, row.width)


def test_default_size_is_that_of_keras():
    """With its top, a network is built at its default size."""
    for name in ("efficientnetb0", "mobilenetv3small", "mobilenetv2"):
        row = encoders.find(name)
        model = getattr(keras.applications, row.application)(weights=None)
        shape = model.input_shape[1:3]
        assert shape in ((row.size, row.size), (None, None))


def test_rows_are_complete():
    for row in encoders.rows("image"):
        assert row.application in inspect.getmembers(keras.applications).__repr__()
        assert row.family in encoders.FAMILIES
        assert row.licence and row.choose and row.gflops > 0 and row.parameters > 0
    assert {x.kind for x in encoders.rows()} == {"image", "text", "audio"}
    assert len({x.name for x in encoders.rows()}) == len(encoders.rows())


def test_find_names_what_is_near():
    assert encoders.find("resnet50").width == 2048
    with pytest.raises(ValueError, match=r"no encoder 'resnet5'. Near names: \['resn"):
        encoders.find("resnet5")
    with pytest.raises(ValueError, match=r"no image encoder 'bert'.*Valid names"):
        encoders.find("bert", "image")
    with pytest.raises(ValueError, match=r"`kind` wants one of \['audio'.*'video'"):
        encoders.rows("video")


def test_table_has_a_line_a_row():
    lines = encoders.table("audio").splitlines()
    assert len(lines) == 1 + len(encoders.rows("audio"))
    assert lines[0].split()[:2] == ["name", "kind"]
    assert lines[1].startswith("mfcc_cnn")


def test_importable_without_tensorflow():
    code = "import sys; from mmkeras import encoders; encoders.table(); "
    code += "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
