"""Class names to text embeddings."""
from ovseg.models.text.text_encoder import TextEncoder

__all__ = ['TextEncoder']
