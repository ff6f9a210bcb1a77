import io

import pytest
from rich.console import Console

from ovseg.apis import progress
from ovseg.apis.progress import ProgressLine


@pytest.fixture
def shown(monkeypatch):
    """Output of the progress line over sources."""
    def show(total, terminal=True, wanted=True, tiles=()):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=100)
        monkeypatch.setattr(progress, 'Console', lambda **_: console)
        found = []
        with ProgressLine(total, wanted) as line:
            for source in line.images(iter(range(total or 5))):
                found.append(source)
                assert not tiles or list(line.tiles('a.tif', list(tiles))) == list(tiles)
        assert found == list(range(total or 5))
        return file.getvalue()
    return show


def test_many_images_on_a_terminal_have_a_line(shown):
    assert 'Segmenting' in shown(4) and '100%' in shown(4)


def test_so_have_images_of_unknown_number(shown):
    assert 'Segmenting' in shown(None)


def test_the_tiles_of_a_raster_are_counted(shown):
    assert 'tile 2 of 2 of a.tif' in shown(1, tiles='ab')


@pytest.mark.parametrize('case', [dict(total=3), dict(total=4, terminal=False), dict(total=None, terminal=False),
                                  dict(total=4, wanted=False), dict(total=1, terminal=False, tiles='ab')])
def test_others_have_none(shown, case):
    assert shown(**case).strip() == ''
