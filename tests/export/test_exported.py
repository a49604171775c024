"""What an export says is decoded to columns, none of which hides another."""

import numpy as np
import pytest

import mmkeras as mm
from mmkeras.export import exported


def test_columns_of_one_name():
    heads = {
        "price": mm.heads.Outputs(["low", "class_low"]),
        "price_class": mm.heads.Outputs(["low", "high"]),
    }
    outputs = {name: np.zeros((1, 2), "float32") for name in heads}
    told = (
        r"Received: \['price_class_low'\] of 'price_class' .*\['price', 'price_class'\]"
    )
    with pytest.raises(ValueError, match=told):
        exported.decoded(outputs, heads)
    heads["price"] = mm.heads.Outputs(["low", "high"])
    (row,) = exported.decoded(outputs, heads)
    assert (row["price_class"], row["price_class_class"]) == ("low", "low")
