"""Run by test_table.py with KERAS_BACKEND=jax: the laws of the fusions named."""

import sys

from mmkeras.testing import every_fusion, law_table

if __name__ == "__main__":
    fusions = {name: every_fusion()[name] for name in sys.argv[1:]}
    broken, laws = 0, set()
    for name, layer in fusions.items():
        kinds = ["mixed" if layer.takes_tokens else False]
        for _, row in law_table({name: layer}, (2,), tokens=kinds):
            laws |= set(row)
            for law, error in row.items():
                broken += error is not None
                print(name, law, error or "ok")
    print(f"{len(fusions)} fusions, laws {sorted(laws)}, {broken} broken")
    sys.exit(broken > 0)
