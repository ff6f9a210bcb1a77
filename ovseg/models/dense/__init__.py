"""Dense encoders: windows to patch features, one method per file."""
from ovseg.models.dense.dense_encoder import PRECISIONS, DenseEncoder, WindowBatch, project
from ovseg.models.dense.last_block_encoder import LastBlockEncoder

__all__ = ['PRECISIONS', 'DenseEncoder', 'LastBlockEncoder', 'WindowBatch', 'project']
