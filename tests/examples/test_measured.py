"""Recipes: verdicts by hand-worked numbers, one table, what has run is kept."""

import json
import subprocess

import pytest

from examples import measured, recipes

EXPECTED = {
    "ours": measured.Expected(50, 70, control="prior"),
    "error": measured.Expected(0, 9, control="prior error", lower_wins=True),
    "prior": measured.Expected(10, 30),
    "prior error": measured.Expected(10, 12),
}
GOOD = {"ours": 60.0, "error": 4.0, "prior": 20.0, "prior error": 11.0}


def verdicts(**changed):
    rows = measured.summary([{**GOOD, **changed}], EXPECTED)
    return {x["name"]: x["verdict"] for x in rows}


def test_verdicts():
    assert set(verdicts().values()) == {"as expected"}
    assert verdicts(ours=71.0)["ours"] == "out of its range"
    assert verdicts(prior=60.0) == {
        "ours": "does not beat 'prior'",  # level is not ahead
        "error": "as expected",
        "prior": "out of its range",
        "prior error": "as expected",
    }
    found = verdicts(error=11.5)["error"]
    assert found == "out of its range, does not beat 'prior error'"


def test_means_are_over_the_runs():
    runs = [GOOD, {**GOOD, "ours": 80.0}]
    row = measured.summary(runs, EXPECTED)[0]
    assert (row["mean"], row["least"], row["most"]) == (70.0, 60.0, 80.0)
    assert row["control_mean"] == 20.0
    assert measured.line(row) == (
        "ours: 70.0 (60.0-80.0), expected 50 to 70; prior 20.0, gain +50.0 "
        "(standard error 10.0): as expected"
    )


def test_each_seed_has_its_own_control():
    runs = [GOOD, {**GOOD, "ours": GOOD["ours"] + 7, "prior": GOOD["prior"] + 7}]
    row = measured.summary(runs, EXPECTED)[0]
    assert (row["gain"], row["gain_error"]) == (GOOD["ours"] - GOOD["prior"], 0.0)
    assert measured.summary(runs[:1], EXPECTED)[0]["gain_error"] is None


def test_a_number_that_is_not_expected_is_named():
    with pytest.raises(ValueError, match=r"Missing: \['prior'\]; unknown: \['x'\]"):
        wrong = {**GOOD, "x": 1}
        wrong.pop("prior")
        measured.main(lambda options: [wrong], EXPECTED, "Idea.", __file__, [])


@pytest.mark.parametrize(("ours", "status"), [(60.0, 0), (10.0, 1)])
def test_status_and_record(tmp_path, ours, status):
    def measure(options):
        for _ in range(options.seeds):
            yield {**GOOD, "ours": ours}

    argv = ["--out", str(tmp_path), "--seeds", "2"]
    path = tmp_path / "stamps" / "search.py"
    found = measured.main(measure, EXPECTED, "Idea.", path, argv)
    assert found == status
    record = json.loads((tmp_path / "stamps.search.json").read_text())
    assert record["seeds"] == 2 and not record["smoke"]
    argv += ["--smoke"]
    assert measured.main(measure, EXPECTED, "Idea.", path, argv) == 0
    assert recipes.record(tmp_path, "stamps.search")["seeds"] == 1


def test_what_has_run_is_not_run_again(tmp_path, monkeypatch, capsys):
    calls = []

    def run(command, **_):
        name = command[2].removeprefix("examples.")
        calls.append(name)
        rows = measured.summary([GOOD], EXPECTED)
        record = {"rows": rows, "minutes": 0.5, "seeds": 1, "smoke": False}
        if name != "b.broken":
            (tmp_path / f"{name}.json").write_text(json.dumps(record))
        return subprocess.CompletedProcess(command, int(name == "b.broken"))

    monkeypatch.setattr(recipes.subprocess, "run", run)
    monkeypatch.setattr(recipes, "RECIPES", ("a.good", "b.broken"))
    assert recipes.main(["--out", str(tmp_path)]) == 1
    assert recipes.main(["--out", str(tmp_path)]) == 1
    assert calls == ["a.good", "b.broken", "b.broken"]
    printed = capsys.readouterr().out
    row = "| a.good | ours | 60.0 (60.0-60.0) | 50-70 | prior 20.0, gain +40.0 "
    row += "| as expected | 0.5"
    assert row in printed and "b.broken: stopped with an error" in printed
    assert recipes.main(["--out", str(tmp_path), "a.good", "--again"]) == 0
    assert calls[3:] == ["a.good"]
    with pytest.raises(SystemExit):
        recipes.main(["c.unknown"])
