import sys

import pytest

from ovseg.apis.missing import needed


def test_a_package_is_imported():
    assert needed('json', 'web', 'never said') is sys.modules['json']


def test_a_missing_package_is_one_line_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    with pytest.raises(ValueError) as caught:
        needed('pillow_heif', 'heif', 'a.heic is a HEIC image')
    assert str(caught.value) == ('a.heic is a HEIC image, which needs pillow-heif: pip install "ovseg[heif]", or '
                                 'pip install -e ".[heif]" in a checkout')
