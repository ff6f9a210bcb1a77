"""Dense encoders: windows to patch features, one method per file."""
from ovseg.models.dense.dense_encoder import DenseEncoder, project
from ovseg.models.dense.last_block_encoder import LastBlockEncoder
from ovseg.models.dense.resclip_encoder import ResCLIPEncoder
from ovseg.models.dense.scclip_encoder import SCCLIPEncoder
from ovseg.models.window_batch import WindowBatch
from ovseg.precision import PRECISIONS

__all__ = ['PRECISIONS', 'DenseEncoder', 'LastBlockEncoder', 'ResCLIPEncoder', 'SCCLIPEncoder', 'WindowBatch', 'project']
