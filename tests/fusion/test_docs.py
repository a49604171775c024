"""The package's tables: every fusion in them, and weights as they say."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

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
    """The value of 'M(d + 1)u + LC(1, N)': a product needs no sign."""
    setting = dict(setting)
    setting["v"] = (setting["M"] - 1) * setting["u"]
    setting["P"] = (setting["M"] - 1) * setting["M"]

    def block(found):
        width = setting["v" if found[1] else "u"]
        q, s = value(found[2], setting), value(found[3], setting)
        return f"({(10 * q + 2 * s) * width**2 + 2 * q * s * width})"

    formula = re.sub(r"C('?)\(([^,]+),([^)]+)\)", block, formula)
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


def test_the_readme_has_both_tables():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = [x for x in fusion.__doc__.splitlines() if x.startswith("| ")]
    assert len(lines) == len(FORMULAS) + len(COSTS) + 4
    assert [x for x in lines if f"\n{x}\n" not in readme] == []


def test_value():
    assert value("2M(d + 1)u^2 + B/2, a remark", {"M": 3, "d": 4, "u": 2}) == 156
    # 2 x ((10 x 1 + 2 x 4) x 4 + 2 x 1 x 4 x 2) + 1
    assert value("2C(1, M + 1) + 1", {"M": 3, "u": 2}) == 177


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


def products(layer, shape, names):
    """Multiply-adds of the matrix products in the layer's graph, for one example."""
    inputs = {name: tf.zeros(shape) for name in names}
    layer(inputs)
    graph = tf.function(lambda x: layer(x)).get_concrete_function(inputs).graph
    total = 0
    for op in graph.get_operations():
        shapes = [x.shape.as_list() for x in op.inputs]
        if op.type in ("MatMul", "BatchMatMulV2"):
            turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            inner = shapes[0][-2 if turned else -1]
            total += int(np.prod(op.outputs[0].shape.as_list())) * inner
        elif op.type == "Einsum":
            sizes, ends = {}, op.get_attr("equation").decode().split("->")[0]
            for letters, found in zip(ends.split(","), shapes, strict=True):
                sizes |= zip(letters, found, strict=True)
            total += int(np.prod(list(sizes.values())))
    return total


def biases(layer):
    return sum(w.shape[0] for w in layer.weights if w.name == "bias")


BOTH = [row for row, cells in COSTS.items() if cells[0] == "both"]


@pytest.mark.parametrize(
    "row, tokens", [(row, 1) for row in COSTS] + [(row, 2) for row in BOTH]
)
def test_multiply_adds_are_as_many_as_the_table_says(row, tokens):
    takes, weights, formula = COSTS[row]
    setting = dict(SETTINGS[tokens - 1])  # 2 modalities of vectors, 3 of tokens
    if takes == "vectors":
        setting = dict(SETTINGS[1])
    setting |= {"T": tokens, "N": tokens * setting["M"]}
    setting |= {"S": setting["N"] + 1, "Q": tokens + setting["b"]}
    names = [f"m{i}" for i in range(setting["M"])]
    layer = layer_of(row, setting)
    shape = (1, tokens, setting["d"]) if takes == "both" else (1, setting["d"])
    found = products(layer, shape, names)
    if formula == "as weights":
        assert found == value(weights, setting) - biases(layer)
        return
    wanted = value(formula, setting)
    if takes == "both":
        wanted += len(names) * tokens * setting["d"] * setting["u"]
    if tokens == 1:
        wanted -= saved_on_one_key(row, setting)
    assert found == wanted


def saved_on_one_key(row, setting):
    """What blocks that meet one key only do not compute."""
    layers, count = setting["L"], setting["M"]
    widths = {
        "CrossAttentionFusion": layers * count * [setting["u"]] * (count == 2),
        "MulT": layers * count * (count - 1) * [setting["u"]]
        + layers * count * [(count - 1) * setting["u"]],
    }
    return sum(2 * u**2 + 2 * u for u in widths.get(row, ()))
