"""Every fusion through every law, for 1, 2, 3 and 5 modalities of unequal width."""

import pytest

from mmkeras import fusion, testing

FUSIONS = {
    "Concat": fusion.Concat(),
    "Concat token": fusion.Concat(missing="token"),
    "Concat normalized": fusion.Concat(normalize="layer", dropout=0.2),
    "Add": fusion.Add(4),
    "WeightedSum": fusion.WeightedSum(4),
    "WeightedSum per example": fusion.WeightedSum(4, per_example=True),
    "Gated": fusion.GatedFusion(4),
    "Gated one gate": fusion.GatedFusion(4, per_unit=False, dropout=0.2),
    "Gated normalized": fusion.GatedFusion(4, normalize="layer"),
    "Gated equal length": fusion.GatedFusion(4, normalize="length"),
    "GMU": fusion.GMU(4),
    "Mean": fusion.Mean(4),
    "Max": fusion.Max(4),
    "Product": fusion.Product(4),
    "FiLM": fusion.FiLM("photo", 4),
    "MultiplicativeInteractions": fusion.MultiplicativeInteractions(4, width=3),
    "TensorFusion": fusion.TensorFusion(4, width=2),
    "LowRankFusion": fusion.LowRankFusion(4),
    "FactorizedBilinear": fusion.FactorizedBilinear(4),
}


# the four that the main road offers are exported at every run, the others in `slow`
FIRST = ("Concat token", "Add", "WeightedSum", "Gated")
EXPORTED = [
    x if x in FIRST else pytest.param(x, marks=pytest.mark.slow) for x in FUSIONS
]


@pytest.mark.parametrize("name", FUSIONS)
def test_keeps_the_laws(name):
    testing.check_fusion(FUSIONS[name], (1, 3), export=False, fresh_process=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSIONS)
def test_keeps_the_laws_with_more_modalities(name):
    testing.check_fusion(FUSIONS[name], (2, 5), export=False, fresh_process=False)


@pytest.mark.parametrize("law", testing.EXPORT_LAWS)
@pytest.mark.parametrize("name", EXPORTED)
def test_compiled_and_exported(name, law):
    tried = testing.case(FUSIONS[name])
    testing.check_law(law, testing.EXPORT_LAWS[law], tried)


def test_reloaded_in_a_fresh_process():
    testing.check_fresh_process({k: testing.case(v) for k, v in FUSIONS.items()})


@pytest.mark.slow
def test_two_replicas_train_as_one_device():
    testing.check_replicas({k: testing.case(v) for k, v in FUSIONS.items()})
