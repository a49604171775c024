"""The best predictor of the demo set: its report agrees with theory."""

import keras
import numpy as np
import pytest

import mmkeras
from mmkeras.analysis import modality_report
from mmkeras.fusion.base import Fusion
from mmkeras.run import demo_data, demo_theory
from tests.analysis import standins

pytestmark = pytest.mark.slow
ROWS = 4000


class Posterior(Fusion):
    """log p(class | symbols), looked up: one-hot symbols in, a table inside."""

    def fused_dim(self):
        return len(demo_data.CLASSES)

    def fuse(self, features, presence):
        table = demo_theory.log_posterior().astype("float32")
        there = {x: presence[:, i : i + 1] for i, x in enumerate(self.names)}
        # the last place of a table says that the modality is missing
        chosen = [
            keras.ops.concatenate([features[x], 1 - there[x]], axis=-1)
            for x in demo_data.MODALITIES
        ]
        return keras.ops.einsum("bi,bj,bk,ijkc->bc", *chosen, table)


def best_model():
    encoders = {}
    for name in demo_data.MODALITIES:
        contract = standins.Numbers((demo_data.symbol_table(name).shape[1],))
        x = standins.tensor_input(contract, "x")
        encoders[name] = keras.Model(x, contract(x))
    head = mmkeras.heads.classification(list(demo_data.CLASSES), dense=False)
    return mmkeras.multimodal(encoders, Posterior(), head.layer)


@pytest.fixture(scope="module")
def report():
    drawn = demo_data.draw(ROWS, np.random.default_rng(8))
    inputs = {}
    for name in demo_data.MODALITIES:
        symbols = np.eye(demo_data.symbol_table(name).shape[1] + 1)[drawn[name]]
        inputs[name] = symbols[:, :-1].astype("float32")
        inputs[f"{name}_present"] = (drawn[name] >= 0).astype("float32")
    # 18 statements below are to hold together 95 times in 100: Bonferroni
    return modality_report(
        best_model(),
        (inputs, drawn["class"]),
        metric="accuracy",
        batch_size=1000,
        emap=1500,
        emap_samples=200,
        bootstrap=4000,
        confidence=1 - 0.05 / 18,
    )


def test_scores_and_shares_agree_with_theory(report):
    best = {frozenset(x): y for x, y in demo_data.best_accuracies().items()}
    everything = frozenset(demo_data.MODALITIES)
    for subset in report.table:
        low, high = report.interval(subset)
        assert low <= best[frozenset(subset)] <= high
        assert high - low < 0.06  # and says something
    parts = report.parts()
    theory = {
        "shapley": demo_theory.best_shapley(),
        "unique": {x: best[everything] - best[everything - {x}] for x in everything},
        "solo": {x: best[frozenset([x])] - best[frozenset()] for x in everything},
    }
    for column, values in theory.items():
        for name, expected in values.items():
            row = parts.loc[name]
            assert row[f"{column}_low"] <= expected <= row[f"{column}_high"]
            assert row[f"{column}_high"] - row[f"{column}_low"] < 0.08


def test_the_interaction_agrees_with_theory(report):
    """The weather that flag and siren tell together, which no sum can read."""
    best = demo_data.best_accuracy(demo_data.MODALITIES)
    expected = best - demo_theory.emap_accuracy()
    assert expected == pytest.approx(0.17, abs=0.005)
    low, high = report.interaction_interval()
    assert low <= expected <= high
    assert high - low < 0.1
