import copy
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

gr = pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

from mmengine.logging import print_log  # noqa: E402

from ovseg.registry import ATTENTIONS  # noqa: E402
from ovseg.resources import configs_dir  # noqa: E402
from ovseg.web import app  # noqa: E402
from ovseg.web.segment import Setting  # noqa: E402

SETTING = Setting('Gated', True, False, False, 30, 0.0, False)


@pytest.fixture(scope='module')
def page(models):
    return app.build_page(models, 300)


def request(seconds_ago=0.0):
    """A request that arrived so long ago."""
    return SimpleNamespace(request=SimpleNamespace(scope=dict(arrived=time.monotonic() - seconds_ago)))


@pytest.fixture
def answers(models):
    return app._Answers(models, 300)


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
    answers = [function for function in page.fns.values() if function.fn.__qualname__.startswith('_Answers')]
    assert len(answers) == 4
    assert {(function.concurrency_id, function.concurrency_limit) for function in answers} == {('model', 1)}
    assert page.get_api_info()['named_endpoints'] == {}


def test_nothing_is_reported_and_no_font_is_fetched(page):
    assert page.analytics_enabled is False
    assert gr.themes.Default(**app.FONTS)._stylesheets == []


@pytest.mark.parametrize('words, message', [('', 'there are no class names'), ('<b>, <b>', 'stands twice')])
def test_what_cannot_be_done_is_said_without_markup(answers, image_file, words, message):
    with pytest.raises(gr.Error, match=message) as caught:
        answers.segment(request(), str(image_file), words, '', 0.0, *SETTING)
    assert '<b>' not in str(caught.value)


def test_segment_and_compare(answers, image_file, noise):
    painted, legend, config, tabs = answers.segment(request(), str(image_file), 'snow, sky', '', 0.0, *SETTING)
    assert painted.shape == noise.shape
    assert "attention=dict(type='Gated')" in config and tabs.selected == 'result'
    plain = SETTING._replace(method='Vanilla')
    both_settings = (*SETTING, *plain)
    (left, right), both, config, tabs = answers.compare(request(), str(image_file), 'snow, sky', '', 0.0, *both_settings)
    assert (left == painted).all()
    assert (right == answers.segment(request(), str(image_file), 'snow, sky', '', 0.0, *plain)[0]).all()
    assert '<th>A</th><th>B</th>' in both and '<th>area</th>' in legend
    assert "attention=dict(type='Gated')" in config and tabs.selected == 'compare'


def test_the_package_is_left_as_it_is(page):
    assert sorted(path.name for path in Path(app.__file__).parent.glob('*.py*')) == [
        '__init__.py', 'app.py', 'folder.py', 'guard.py', 'request_body.py', 'segment.py']


def test_image_to_click_is_the_image(answers, image_file, noise):
    shown, attention = answers.show(request(), str(image_file))
    assert (shown == noise).all() and attention is None
    assert answers.show(request(), None) == (None, None)


@pytest.mark.parametrize(('index', 'pixel'), [((82, 60), (60, 82)), ((0, 3), (3, 0))])
def test_patch_that_was_clicked(answers, image_file, monkeypatch, index, pixel):
    monkeypatch.setattr(app, 'attention_at', lambda inferencer, image, place: (place[0] * 61 // 1, place[1] * 83 // 1))
    assert answers.attention(request(), SimpleNamespace(index=index), str(image_file), *SETTING) == pixel


@pytest.mark.parametrize('index', [(83, 0), (0, 61), (10 ** 400, 0)])
def test_click_outside_the_image(answers, image_file, index):
    with pytest.raises(gr.Error, match='there is no pixel'):
        answers.attention(request(), SimpleNamespace(index=index), str(image_file), *SETTING)


def test_a_request_that_waited_too_long_is_refused(answers, image_file):
    with pytest.raises(gr.Error, match='the request has waited for more than 300 seconds: try again later'):
        answers.show(request(301), str(image_file))


def test_a_request_that_takes_too_long_is_stopped(models, image_file):
    answers = app._Answers(models, 0)
    with pytest.raises(gr.Error, match='this takes more than 0 seconds'):
        answers.segment(request(-1), str(image_file), 'snow, sky', '', 0.0, *SETTING)
    answers = app._Answers(models, 300)
    assert answers.segment(request(), str(image_file), 'snow, sky', '', 0.0, *SETTING)


def test_weights_are_named_without_their_folder(models):
    cfg = copy.deepcopy(models.cfg.model)
    cfg.clip.pretrained = '/home/someone/weights.pt'
    assert '(weights.pt)' in app._heading(cfg)


def test_warnings_of_the_log_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(gr, 'Warning', shown.append)
    answers = SimpleNamespace(max_seconds=300)
    app._guarded(lambda *args: print_log('cut <off>', 'current', 30))(answers, request())
    app._guarded(lambda *args: print_log('no warning', 'current'))(answers, request())
    assert shown == ['cut &lt;off&gt;']
