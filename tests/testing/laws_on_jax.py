"""Run by test_table.py with KERAS_BACKEND=jax: the laws of the fusions named."""

import sys

from mmkeras.testing import LAWS, every_fusion, law_results

#: JAX compiles each op of each shape and dtype: attention is spared its longest laws.
#: Its training step is compiled whole in "weights move".
LONG = ("padding", "float16")

if __name__ == "__main__":
    broken = 0
    for name in sys.argv[1:]:
        layer = every_fusion()[name]
        long = layer.takes_tokens
        laws = [law for law in LAWS if not (long and law in LONG)]
        export, kinds = (() if long else ("XLA",)), ["mixed" if long else False]
        for law, error in law_results(layer, (2,), laws, export, kinds):
            broken += error is not None
            print(name, law, error or "ok")
    print(f"{broken} broken")
    sys.exit(broken > 0)
