"""The package's tables: every fusion in them, and weights as they say."""

import re

import numpy as np
import pytest

from mmkeras import fusion
from mmkeras.run.build import fusions

SETTINGS = [
    {"M": 2, "d": 5, "u": 6, "L": 2, "w": 3, "r": 2, "k": 3, "h": 5, "b": 2, "n": 3},
    {"M": 3, "d": 4, "u": 8, "L": 3, "w": 2, "r": 3, "k": 2, "h": 7, "b": 3, "n": 4},
]
OPTIONS = {
    "FiLM": {"target": "m0"},
    "MultiplicativeInteractions": {"width": "w"},
    "TensorFusion": {"width": "w"},
    "LowRankFusion": {"rank": "r"},
    "FactorizedBilinear": {"factors": "k"},
    "CrossAttentionFusion": {"layers": "L", "heads": 2},
    "TransformerFusion": {"layers": "L", "heads": 2},
    "MulT": {"layers": "L", "heads": 2},
    "BottleneckFusion": {"layers": "L", "heads": 2, "bottlenecks": "b"},
    "PerceiverFusion": {"layers": "L", "heads": 2, "latents": "n"},
    "WeightedSum(per_example)": {"per_example": True},
}


def tables():
    """The two tables: name -> cells behind it."""
    found = []
    for line in fusion.__doc__.splitlines():
        cells = [x.strip() for x in line.strip("|").split("|")]
        if line.startswith("| fusion |"):
            found.append({})
        elif line.startswith("| ") and "---" not in line:
            found[-1][cells[0]] = cells[1:]
    return found


FORMULAS, COSTS = tables()


def value(formula, setting):
    """The value of 'M(d + 1)u + 2u': a product needs no sign."""
    setting = dict(setting)
    setting["v"] = (setting["M"] - 1) * setting["u"]
    tokens = re.findall(r"[A-Za-z]'?|\d+|[-+/()^]", formula.split(",")[0])
    python, before = [], ""
    for token in tokens:
        if re.match(r"[\w(]", token) and re.match(r"[\w)]", before):
            python.append("*")
        for name, width in (("B", "u"), ("B'", "v")):
            if token == name:
                setting[name] = 12 * setting[width] ** 2 + 12 * setting[width]
        known = str(setting.get(token, token))
        python.append("**" if token == "^" else known)
        before = token
    return eval("".join(python), {})


def layer_of(row, setting):
    options = {k: setting.get(x, x) for k, x in OPTIONS.get(row, {}).items()}
    if row == "LateMLP":
        options["hidden"] = (setting["h"],)
    kind = getattr(fusion, re.match(r"\w+", row)[0])
    return (
        kind(**options)
        if kind is fusion.Concat
        else kind(units=setting["u"], **options)
    )


def test_value():
    assert value("2M(d + 1)u^2 + B/2, a remark", {"M": 3, "d": 4, "u": 2}) == 156


def test_every_fusion_is_in_both_tables():
    named = {kind.__name__ for kind in fusions().values()}
    for table in (FORMULAS, COSTS):
        assert {re.match(r"\w+", row)[0] for row in table} == named


@pytest.mark.parametrize("setting", SETTINGS, ids=["2", "3"])
@pytest.mark.parametrize("row", COSTS)
def test_weights_are_as_many_as_the_table_says(row, setting):
    takes, weights, _ = COSTS[row]
    layer = layer_of(row, setting)
    shape = (1, 2, setting["d"]) if takes == "both" else (1, setting["d"])
    layer.build({f"m{i}": shape for i in range(setting["M"])})
    assert layer.takes_tokens == (takes == "both")
    assert layer.count_params() == value(weights, setting)


@pytest.mark.parametrize("row", ["CrossAttentionFusion", "MulT"])
def test_vectors_that_meet_one_key_cost_less(row):
    setting = SETTINGS[0]
    u, blocks = setting["u"], {"CrossAttentionFusion": 2, "MulT": 4}[row]
    layer = layer_of(row, setting)
    layer({f"m{i}": np.ones((1, setting["d"])) for i in range(2)})
    less = blocks * setting["L"] * (2 * u**2 + u)
    assert layer.count_params() == value(COSTS[row][1], setting) - less
