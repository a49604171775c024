import logging
import subprocess
import sys
import textwrap

import numpy as np
import pandas
import pytest
import tensorflow as tf

import mmkeras as mm
from tests.data.rows import CLASSES, columns


# Bad cells: kind -> (column, how it is made, what the error says)
def _corrupt(path):
    path.write_bytes(path.read_bytes()[:20] + b"nonsense")


def _text(path):
    path.write_text("This is no such file.")


LATE = {
    "corrupt png": ("photo", "4.png", _corrupt),
    "text as png": ("photo", "4.png", _text),
    "corrupt wav": ("clip", "4.wav", _corrupt),
    "text as wav": ("clip", "4.wav", _text),
}


@pytest.mark.parametrize("case", LATE)
def test_undecodable_file_raises(folder, frame, contracts, case):
    column, file, spoil = LATE[case]
    spoil(folder / file)
    frame.index = [f"id{i}" for i in range(10)]
    rows = mm.data.from_table(frame, contracts, label="label", classes=CLASSES)
    message = rf"row 4 \(index 'id4'\), column '{column}', path '{folder}/{file}': \S+"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(rows)


@pytest.mark.parametrize("case", LATE)
def test_undecodable_file_is_absent_and_noted_once(
    folder, frame, contracts, case, caplog
):
    column, file, spoil = LATE[case]
    spoil(folder / file)
    bad = []
    rows = mm.data.from_table(
        frame,
        contracts,
        label="label",
        classes=CLASSES,
        on_bad_row="absent",
        bad_rows=bad,
    )
    for _ in range(2):
        inputs, labels = columns(rows)
        assert len(labels) == 10
        want = np.ones(10)
        want[4] = 0
        np.testing.assert_array_equal(inputs[f"{column}_present"], want)
        assert not inputs[column][4].any()
    assert [x[:3] for x in bad] == [(4, column, f"'{folder}/{file}'")]
    assert bad[0].reason and "\n" not in bad[0].reason
    assert sum("row 4" in x.message for x in caplog.records) == 1


def _spoil_up_front(folder, frame):
    """Eleven cells that can be seen to be bad before anything is decoded."""
    (folder / "0.png").write_bytes(b"")
    (folder / "1.png").unlink()
    (folder / "1.png").mkdir()
    frame["photo"] = [*frame["photo"][:2], *(f"gone{i}.png" for i in range(2, 10))]
    frame["clip"] = [3.5, *frame["clip"][1:]]


def test_files_that_are_not_there_are_all_found_up_front(folder, frame, contracts):
    _spoil_up_front(folder, frame)
    with pytest.raises(ValueError, match=r"found 11 cell\(s\)") as caught:
        mm.data.from_table(frame, contracts)
    text = str(caught.value)
    assert f"row 0, column 'photo', path '{folder}/0.png': the file is empty" in text
    assert f"row 1, column 'photo', path '{folder}/1.png': it is a directory" in text
    assert f"row 2, column 'photo', path '{folder}/gone2.png': no such file" in text
    assert text.count("gone") == 8
    assert "and 1 more" in text
    assert repr(str(folder)) in text
    frame["photo"] = None
    with pytest.raises(ValueError, match="row 0, column 'clip'.*path or bytes.*float"):
        mm.data.from_table(frame, contracts)
    frame["clip"] = None
    frame["title"] = [["a"], *frame["title"][1:]]
    with pytest.raises(ValueError, match="row 0, column 'title'.*a string.*list"):
        mm.data.from_table(frame, contracts)
    frame["title"] = [b"\xff", *frame["title"].iloc[1:]]
    with pytest.raises(ValueError, match="row 0, column 'title'.*UTF-8"):
        mm.data.from_table(frame, contracts)


def test_files_that_are_not_there_are_absent(folder, frame, contracts, caplog):
    _spoil_up_front(folder, frame)
    bad = []
    with caplog.at_level(logging.WARNING, "mmkeras"):
        rows = mm.data.from_table(
            frame, contracts, on_bad_row="absent", bad_rows=bad, batch_size=10
        )
    assert len(bad) == 11
    assert "11 cell(s)" in caplog.text
    inputs = next(iter(rows))
    np.testing.assert_array_equal(inputs["photo_present"], np.zeros(10))
    np.testing.assert_array_equal(inputs["clip_present"], [0] + [1] * 9)
    again = mm.data.from_table(frame, contracts, on_bad_row="absent", bad_rows=bad)
    assert len(again) == 10
    assert len(bad) == 11  # the same cells, for the second dataset too


def test_a_defect_of_the_contract_is_no_absent_row(frame):
    class Broken(mm.image.Pixels):
        def read_cell(self, cell):
            return np.zeros((2, 2))

    rows = mm.data.from_table(frame, {"photo": Broken((4, 4))}, on_bad_row="absent")
    with pytest.raises(tf.errors.OpError, match="`Broken.read_cell` failed on row 0"):
        list(rows)


def test_values_that_do_not_parse_name_their_row():
    from tests.tiny import Numbers

    frame = pandas.DataFrame({"size": ["1,2", "", "3,x", "5,6"]})
    rows = mm.data.from_table(frame, {"size": Numbers(2)})
    with pytest.raises(tf.errors.InvalidArgumentError, match="row 2, column 'size'"):
        list(rows)
    bad = []
    rows = mm.data.from_table(
        frame, {"size": Numbers(2)}, on_bad_row="absent", bad_rows=bad
    )
    got = np.stack([x["size"] for x in rows.as_numpy_iterator()])
    np.testing.assert_array_equal(got, [[1, 2], [0, 0], [0, 0], [5, 6]])
    assert [x.row for x in bad] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("end", ["list(rows)", "it = iter(rows); next(it)"])
def test_process_ends_while_rows_are_read_ahead(folder, end, batch):
    """An unfinished pass, or an error, must not hang the process when it ends."""
    (folder / "9.png").write_bytes(b"nonsense")
    program = f"""
        import pandas, mmkeras as mm
        rows = pandas.read_csv({str(folder / "table.csv")!r})
        rows = pandas.concat([rows] * 100)
        photo = mm.image.Pixels((64, 64))
        rows = mm.data.from_table(
            rows, {{"photo": photo}}, root={str(folder)!r}, batch_size={batch}
        )
        {end}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        timeout=120,
        capture_output=True,
        text=True,
    )
    failed = end.startswith("list")
    assert done.returncode == int(failed), done.stderr
    assert ("row 9" in done.stderr) == failed
