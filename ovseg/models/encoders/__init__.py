"""Frozen CLIP: loading, the image encoder with its swapped last block, the text encoder."""
from ovseg.models.encoders.image_encoder import CLIPImageEncoder, CompiledCLIPImageEncoder
from ovseg.models.encoders.loading import load_clip
from ovseg.models.encoders.text_encoder import TextEncoder

__all__ = ['CLIPImageEncoder', 'CompiledCLIPImageEncoder', 'TextEncoder', 'load_clip']
