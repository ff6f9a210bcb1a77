"""Settings of a segmentor by short names, for tests that vary one at a time."""
from ovseg.models.segmentors.switches import NESTED_ONLY


def components(**cfg):
    """Keywords of a ``CLIPSegmentor``: flat names, and those that only components have (``precision``) put into theirs."""
    given = {}
    for name, value in cfg.items():
        if name in NESTED_ONLY:
            component, key = NESTED_ONLY[name].split('.')
            given.setdefault(component, {})[key] = value
        else:
            given[name] = value
    return given
