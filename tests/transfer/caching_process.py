"""Script: caches a folder's table slowly, so that a test can kill it halfway.

python -m tests.transfer.caching_process FOLDER
"""

import sys
import time
from pathlib import Path


def main(folder):
    from mmkeras import load_model, transfer
    from mmkeras.transfer import cache
    from tests.transfer import tables  # noqa: F401, the layers of the file

    fast = cache.forward

    def slow(encoder):
        run = fast(encoder)

        def one(batch):
            time.sleep(0.1)
            return run(batch)

        return one

    cache.forward = slow
    folder = Path(folder)
    transfer.cache_features(
        load_model(folder / "model.keras"),
        folder / "table.csv",
        folder / "cache",
        batch_size=4,
        shard_rows=8,
    )


if __name__ == "__main__":
    main(sys.argv[1])
