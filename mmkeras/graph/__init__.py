"""Knowledge graphs: entities as vectors, learned from triples, as one more modality.

`Triples` holds (head, relation, tail); `TransE` and `DistMult` learn a vector for each
entity and relation with `fit`, `ranks` and `link_scores` say how well they predict
links; `encoder` makes a modality of the vectors, or of imported ones.
"""

from mmkeras.graph.entities import Entities as Entities
from mmkeras.graph.entities import EntityVectors as EntityVectors
from mmkeras.graph.entities import encoder as encoder
from mmkeras.graph.models import DistMult as DistMult
from mmkeras.graph.models import LinkLoss as LinkLoss
from mmkeras.graph.models import TransE as TransE
from mmkeras.graph.models import fit as fit
from mmkeras.graph.ranking import link_scores as link_scores
from mmkeras.graph.ranking import ranks as ranks
from mmkeras.graph.triples import Triples as Triples
