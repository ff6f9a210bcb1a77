from pathlib import Path

import pytest

gr = pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

from mmengine.logging import print_log  # noqa: E402

from ovseg.registry import ATTENTIONS  # noqa: E402
from ovseg.web import app  # noqa: E402
from ovseg.web.segment import Setting  # noqa: E402

SETTING = Setting('Gated', True, False, False, 30, 0.0, False)


@pytest.fixture(scope='module')
def page(models):
    return app.build_page(models)


def components(page, kind):
    return [block for block in page.blocks.values() if type(block) is kind]


def test_attentions_of_both_settings_are_those_registered(page):
    first, second = components(page, gr.Dropdown)
    assert [value for value, _ in first.choices] == [value for value, _ in second.choices] == sorted(ATTENTIONS.module_dict)
    assert (first.value, second.value) == ('Gated', 'Vanilla')


def test_one_request_at_a_time_and_no_interface_for_programs(page):
    answers = [function for function in page.fns.values() if function.fn.__qualname__.startswith('_Answers')]
    assert len(answers) == 4
    assert {(function.concurrency_id, function.concurrency_limit) for function in answers} == {('model', 1)}
    assert page.get_api_info()['named_endpoints'] == {}


def test_nothing_is_reported_and_no_font_is_fetched(page):
    assert page.analytics_enabled is False
    assert gr.themes.Default(**app.FONTS)._stylesheets == []


@pytest.mark.parametrize('words, message', [('', 'there are no words'), ('<b>, <b>', 'stands twice')])
def test_what_cannot_be_done_is_said_without_markup(models, picture_file, words, message):
    with pytest.raises(gr.Error, match=message) as caught:
        app._Answers(models).segment(str(picture_file), words, '', 0.0, *SETTING)
    assert '<b>' not in str(caught.value)


def test_segment_and_compare(models, picture_file, noise):
    answers = app._Answers(models)
    painted, legend, config, tabs = answers.segment(str(picture_file), 'snow, sky', '', 0.0, *SETTING)
    assert painted.shape == noise.shape
    assert "model_type='Gated'" in config and tabs.selected == 'result'
    plain = SETTING._replace(attention='Vanilla')
    (left, right), both, config, tabs = answers.compare(str(picture_file), 'snow, sky', '', 0.0, *SETTING, *plain)
    assert (left == painted).all() and (right == answers.segment(str(picture_file), 'snow, sky', '', 0.0, *plain)[0]).all()
    assert '<th>A</th><th>B</th>' in both and '<th>area</th>' in legend
    assert "model_type='Gated'" in config and tabs.selected == 'compare'


def test_the_package_is_left_as_it_is(page):
    assert sorted(path.name for path in Path(app.__file__).parent.glob('*.py*')) == ['__init__.py', 'app.py', 'segment.py']


def test_picture_to_click_is_the_picture(models, picture_file, noise):
    shown, attention = app._Answers(models).show(str(picture_file))
    assert (shown == noise).all() and attention is None
    assert app._Answers(models).show(None) == (None, None)


def test_warnings_of_the_log_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(gr, 'Warning', shown.append)
    app._guarded(lambda: print_log('cut <off>', 'current', 30))()
    app._guarded(lambda: print_log('no warning', 'current'))()
    assert shown == ['cut &lt;off&gt;']
