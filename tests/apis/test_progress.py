import io

import pytest
from rich.console import Console

from ovseg.apis import ovseg_inferencer


@pytest.fixture
def shown(monkeypatch):
    """Output of a progress bar over a source of numbers."""
    def show(sources, terminal=True, **kwargs):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal)
        monkeypatch.setattr(ovseg_inferencer, 'Console', lambda **_: console)
        expected = list(range(5)) if not isinstance(sources, list) else sources
        assert list(ovseg_inferencer._tracked(sources, **{'show_progress': True, **kwargs})) == expected
        return file.getvalue()
    return show


def test_many_images_on_a_terminal_have_a_bar(shown):
    assert 'Segmenting' in shown([1, 2, 3, 4]) and '100%' in shown([1, 2, 3, 4])


def test_so_have_images_of_unknown_number(shown):
    assert 'Segmenting' in shown(iter(range(5)))


@pytest.mark.parametrize('case', [
    dict(sources=[1, 2, 3]), dict(sources=[1, 2, 3, 4], terminal=False), dict(sources=iter(range(5)), terminal=False),
    dict(sources=[1, 2, 3, 4], show_progress=False)], ids=['few', 'no terminal', 'no terminal, unknown number', 'unwanted'])
def test_others_have_none(shown, case):
    assert shown(**case) == ''
