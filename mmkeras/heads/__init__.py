"""Heads: the output contract of a model, with the loss and metrics that fit it.

Any Keras layer is a head. These also remember what their outputs are called, so
that a table's labels, a report and a prediction file use the same names.
"""

from mmkeras.heads.layers import KINDS as KINDS
from mmkeras.heads.layers import Named as Named
from mmkeras.heads.layers import Outputs as Outputs
from mmkeras.heads.layers import Prediction as Prediction
from mmkeras.heads.layers import output_contract as output_contract
from mmkeras.heads.losses import ClassCrossentropy as ClassCrossentropy
from mmkeras.heads.losses import PositiveWeighted as PositiveWeighted
from mmkeras.heads.losses import StandardizedSquaredError as StandardizedSquaredError
from mmkeras.heads.made import Head as Head
from mmkeras.heads.made import classification as classification
from mmkeras.heads.made import multilabel as multilabel
from mmkeras.heads.made import regression as regression
from mmkeras.heads.tasks import LogVariances as LogVariances
from mmkeras.heads.tasks import TaskLoss as TaskLoss
from mmkeras.heads.tasks import TaskMetric as TaskMetric
from mmkeras.heads.tasks import labelled as labelled
from mmkeras.heads.tasks import several as several
