"""Dense encoders: windows to patch features, one method per file."""
from ovseg.models.dense.corrclip_encoder import CorrCLIPEncoder
from ovseg.models.dense.dense_encoder import DenseEncoder, project
from ovseg.models.dense.last_block_encoder import LastBlockEncoder
from ovseg.models.dense.proxyclip_encoder import ProxyCLIPEncoder
from ovseg.models.dense.resclip_encoder import ResCLIPEncoder
from ovseg.models.dense.scclip_encoder import SCCLIPEncoder
from ovseg.models.window_batch import WindowBatch
from ovseg.precision import PRECISIONS

__all__ = ['PRECISIONS', 'CorrCLIPEncoder', 'DenseEncoder', 'LastBlockEncoder', 'ProxyCLIPEncoder', 'ResCLIPEncoder',
           'SCCLIPEncoder', 'WindowBatch', 'project']
