"""Tables to tf.data: reading, labels, splits, and what to do with bad cells."""

from mmkeras.data.bad import BadRow as BadRow
from mmkeras.data.dataset import from_table as from_table
from mmkeras.data.dataset import order as order
from mmkeras.data.directory import table_from_directory as table_from_directory
from mmkeras.data.labels import targets as targets
from mmkeras.data.mixing import mix as mix
from mmkeras.data.semi_paired import SemiPaired as SemiPaired
from mmkeras.data.semi_paired import semi_paired as semi_paired
from mmkeras.data.sharding.orders import shard_order as shard_order
from mmkeras.data.sharding.read import from_shards as from_shards
from mmkeras.data.sharding.write import write_shards as write_shards
from mmkeras.data.splits import split as split
from mmkeras.data.table import read_table as read_table
from mmkeras.data.weighting import positive_weights as positive_weights
