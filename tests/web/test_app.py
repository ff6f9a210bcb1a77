import copy
from pathlib import Path

import pytest

gr = pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

from ovseg.registry import ATTENTIONS  # noqa: E402
from ovseg.resources import configs_dir  # noqa: E402
from ovseg.web import app  # noqa: E402


@pytest.fixture(scope='module')
def page(models):
    return app.build_page(models, 300)


def components(page, kind):
    return [block for block in page.blocks.values() if type(block) is kind]


def test_methods_of_both_settings_are_the_attentions_registered_and_the_configs(page):
    first, second = components(page, gr.Dropdown)
    configs = sorted(path.name[:-len('_tiny-clip_demo.py')] for path in (configs_dir() / 'demo').glob('*_tiny-clip_demo.py'))
    expected = ['as configured', *sorted(ATTENTIONS.module_dict), *(f'{name} (method)' for name in configs)]
    assert [value for value, _ in first.choices] == [value for value, _ in second.choices] == expected
    assert 'corrclip (method)' in expected
    assert (first.value, second.value) == ('Gated', 'Vanilla')


def test_one_request_at_a_time_and_no_interface_for_programs(page):
    functions = {function.api_name: (function.concurrency_id, function.concurrency_limit, function.queue)
                 for function in page.fns.values() if function.fn is not None}
    one_at_a_time = [name for name, kind in functions.items() if kind == ('model', 1, True)]
    assert sorted(one_at_a_time) == ['attention', 'compare', 'segment', 'segment_1', 'show']
    assert functions.keys() - one_at_a_time == {'cancel', 'load_example', 'redraw'}  # they run no model
    assert not functions['cancel'][2]  # it does not wait behind what it stops
    assert page.get_api_info()['named_endpoints'] == {}


def test_nothing_is_reported_and_no_font_is_fetched(page):
    assert page.analytics_enabled is False
    assert gr.themes.Default(**app.FONTS)._stylesheets == []


def test_the_package_is_left_as_it_is(page):
    assert sorted(path.name for path in Path(app.__file__).parent.glob('*.py*')) == [
        '__init__.py', 'answers.py', 'app.py', 'drawing.py', 'examples.py', 'folder.py', 'guard.py', 'request_body.py',
        'running.py', 'segment.py', 'settings.py', 'style.py', 'uploads.py']


def test_weights_are_named_without_their_folder(models):
    cfg = copy.deepcopy(models.cfg.model)
    cfg.clip.pretrained = '/home/someone/weights.pt'
    assert '(weights.pt)' in app._heading(cfg)
