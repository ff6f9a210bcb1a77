"""Text embeddings of class names."""
from ovseg.models.text.text_encoder import TextEncoder

__all__ = ['TextEncoder']
