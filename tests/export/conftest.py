import pytest

from ovseg.apis import OVSegInferencer


@pytest.fixture(scope='session')
def tiny():
    """Makes segmentors of the embedded tiny CLIP; its weights are read once."""
    first = OVSegInferencer('gated_tiny-clip', device='cpu', cfg_options={'model.vocabulary.templates': 'plain'}).model
    return first.variant
