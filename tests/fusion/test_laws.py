"""Every fusion through every law, for 1, 2, 3 and 5 modalities of unequal width.

Those of tokens, which grow with the square of their number, for 1, 2 and 3, and with 4
through the laws that count modalities; `python -m mmkeras.testing` has all of them
with 5.
"""

import pytest

from mmkeras import testing

FUSIONS = testing.every_fusion()
HEAVY = [name for name, layer in FUSIONS.items() if layer.takes_tokens]
# test_late.py checks the late ones, in more forms
LIGHT = [x for x in FUSIONS if x not in HEAVY and not x.startswith("Late")]


# the four that the main road offers are exported at every run, the others in `slow`
FIRST = ("Concat token", "Add", "WeightedSum", "Gated")
EXPORTED = [
    x if x in FIRST else pytest.param(x, marks=pytest.mark.slow)
    for x in [*LIGHT, *HEAVY]
]


@pytest.mark.parametrize("name", LIGHT)
def test_keeps_the_laws(name):
    testing.check_fusion(FUSIONS[name], (1, 3), export=False, fresh_process=False)


@pytest.mark.parametrize("name", HEAVY)
def test_keeps_the_laws_on_tokens_beside_vectors(name):
    kinds = {"tokens": ["mixed"], "export": False, "fresh_process": False}
    testing.check_fusion(FUSIONS[name], (2,), **kinds)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_keeps_the_laws_on_vectors_and_on_tokens(name):
    testing.check_fusion(FUSIONS[name], (1, 3), export=False, fresh_process=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_keeps_the_laws_with_more_modalities(name):
    testing.check_fusion(FUSIONS[name], (2, 5), export=False, fresh_process=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
@pytest.mark.parametrize("law", ["shape", "absent unread", "weights move"])
def test_attends_to_four_modalities(name, law):
    tried = testing.case(FUSIONS[name], 4, tokens="mixed")
    testing.check_law(law, testing.LAWS[law], tried)


@pytest.mark.parametrize("law", testing.EXPORT_LAWS)
@pytest.mark.parametrize("name", EXPORTED)
def test_compiled_and_exported(name, law):
    tried = testing.case(FUSIONS[name], tokens=name in HEAVY and "mixed")
    testing.check_law(law, testing.EXPORT_LAWS[law], tried)


def test_the_one_by_attention_that_is_exported_at_every_run():
    tried = testing.case(FUSIONS["TransformerFusion"], 2, tokens="mixed")
    testing.check_law("export", testing.EXPORT_LAWS["export"], tried)


def test_reloaded_in_a_fresh_process():
    testing.check_fresh_process({k: testing.case(v) for k, v in FUSIONS.items()})


@pytest.mark.slow
@pytest.mark.parametrize("names", [LIGHT, HEAVY], ids=["vectors", "tokens"])
def test_two_replicas_train_as_one_device(names):
    kind = names == HEAVY and "mixed"
    testing.check_replicas({k: testing.case(FUSIONS[k], 2, kind) for k in names})
