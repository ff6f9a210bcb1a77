import asyncio
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

from mmengine.logging import print_log  # noqa: E402

from ovseg.web import answers as module  # noqa: E402
from ovseg.web.answers import Answers, public  # noqa: E402
from ovseg.web.settings import Setting  # noqa: E402

SETTING = Setting('Gated', True, False, False, 30, 0.0, False)


def request(seconds_ago=0.0, session='a'):
    """A request that arrived so long ago."""
    return SimpleNamespace(request=SimpleNamespace(scope=dict(arrived=time.monotonic() - seconds_ago)), session_hash=session)


@pytest.fixture
def answers(models, monkeypatch, tmp_path):
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'gradio'))
    return Answers(models, 300)


@pytest.mark.parametrize('words, message', [('', 'there are no class names'), ('<b>, <b>', 'stands twice')])
def test_what_cannot_be_done_is_said_without_markup(answers, image_file, words, message):
    with pytest.raises(gr.Error, match=message) as caught:
        answers.segment(request(), str(image_file), words, '', 0.0, 0.65, *SETTING)
    assert '<b>' not in str(caught.value)


def test_segment_and_compare(answers, image_file, noise):
    painted, legend, config, tabs, *_ = answers.segment(request(), str(image_file), 'snow, sky', '', 0.0, 0.65, *SETTING)
    assert painted.shape == noise.shape
    assert "attention=dict(type='Gated')" in config and tabs.selected == 'result'
    plain = SETTING._replace(method='Vanilla')
    both_settings = (*SETTING, *plain)
    (left, right), both, config, tabs = answers.compare(request(), str(image_file), 'snow, sky', '', 0.0, 0.65, *both_settings)
    assert (left == painted).all()
    assert (right == answers.segment(request(), str(image_file), 'snow, sky', '', 0.0, 0.65, *plain)[0]).all()
    assert '<th>A</th><th>B</th>' in both and '<th>area</th>' in legend
    assert "attention=dict(type='Gated')" in config and tabs.selected == 'compare'


def test_image_to_click_is_the_image(answers, image_file, noise):
    shown, attention = answers.show(request(), str(image_file))
    assert (shown == noise).all() and attention is None
    assert answers.show(request(), None) == (None, None)


@pytest.mark.parametrize(('index', 'pixel'), [((82, 60), (60, 82)), ((0, 3), (3, 0))])
def test_patch_that_was_clicked(answers, image_file, monkeypatch, index, pixel):
    monkeypatch.setattr(module, 'attention_at', lambda inferencer, image, place: (place[0] * 61 // 1, place[1] * 83 // 1))
    assert answers.attention(request(), SimpleNamespace(index=index), str(image_file), *SETTING) == pixel


@pytest.mark.parametrize('index', [(83, 0), (0, 61), (10 ** 400, 0)])
def test_click_outside_the_image(answers, image_file, index):
    with pytest.raises(gr.Error, match='there is no pixel'):
        answers.attention(request(), SimpleNamespace(index=index), str(image_file), *SETTING)


def test_a_request_that_waited_too_long_is_refused(answers, image_file):
    with pytest.raises(gr.Error, match='the request has waited for more than 300 seconds: try again later'):
        answers.show(request(301), str(image_file))


def test_a_request_that_takes_too_long_is_stopped(answers, models, image_file):
    hasty = Answers(models, 0)
    with pytest.raises(gr.Error, match='this takes more than 0 seconds'):
        hasty.segment(request(-1), str(image_file), 'snow, sky', '', 0.0, 0.65, *SETTING)
    assert answers.segment(request(), str(image_file), 'snow, sky', '', 0.0, 0.65, *SETTING)


def test_warnings_of_the_log_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(gr, 'Warning', shown.append)
    answers = SimpleNamespace(max_seconds=300, is_cancelled=lambda request: False)
    module._guarded(lambda *args: print_log('cut <off>', 'current', 30))(answers, request())
    module._guarded(lambda *args: print_log('no warning', 'current'))(answers, request())
    assert shown == ['cut &lt;off&gt;']


@pytest.mark.parametrize(('message', 'shown'), [
    ("[Errno 13] Permission denied: '/srv/some/where/a.png'", '[Errno 13] Permission denied: &#x27;a.png&#x27;'),
    ('cannot read /a.png: no', 'cannot read /a.png: no'), ('cat/dog/cow <b>', 'cat/dog/cow &lt;b&gt;'),
    ('a\nb\x1b[31m', 'a\\nb\\x1b[31m'), ('猫 is fine', '猫 is fine')])
def test_messages_for_the_page(message, shown):
    assert public(message) == shown


def test_the_files_of_a_result_and_what_is_shown_and_hidden(answers, image_file, noise):
    painted, _, _, _, drawing, names, labels, classes, overlay, details = answers.segment(
        request(), str(image_file), 'snow, sky, sand', '', 0.0, 1.0, *SETTING)
    assert [Path(file).name for file in (labels, classes, overlay)] == ['noise_labels.png', 'noise_classes.json',
                                                                       'noise_overlay.png']
    assert len({Path(file).parent for file in (labels, classes, overlay)}) == 1 and details.visible
    with Image.open(labels) as image:
        label_map = np.asarray(image)
    listed = json.loads(Path(classes).read_text())['classes']
    assert (painted == np.array([item['colour'] for item in listed])[label_map]).all()
    occurring = [item['name'] for item in listed if item['pixels']]
    assert sorted(names.value) == sorted(occurring) and [value for value, _ in names.choices] == names.value

    first = occurring[0]
    shown, file = answers.redraw(request(), drawing, 0.5, [first])
    hidden = label_map != [item['name'] for item in listed].index(first)
    with Image.open(file) as image:
        redrawn = np.asarray(image)[:61, :83]
    assert (redrawn[hidden] == noise[hidden]).all() and (redrawn[~hidden] != painted[~hidden]).any()
    with Image.open(shown) as image:
        assert np.abs(np.asarray(image) - redrawn.astype(int)).mean() < 5  # JPEG, of noise
    with pytest.raises(gr.Error, match='press Segment again'):
        answers.redraw(request(), None, 0.5, [first])


def test_a_large_image_is_scaled_down_and_said_so(answers, tmp_path):
    Image.new('RGB', (1200, 900)).save(tmp_path / 'large.png')
    arguments = (str(tmp_path / 'large.png'), 'snow, sky', '', 0.0, 0.65)
    note = 'The image has 1200 × 900 pixels, more than this page computes with. It was scaled down to 730 × 547.'
    _, legend, *_, classes, _, _ = answers.segment(request(), *arguments, *SETTING)
    assert note in legend
    assert json.loads(Path(classes).read_text())['label_map_size'] == [730, 547]
    assert note in answers.compare(request(), *arguments, *SETTING, *SETTING)[1]


def test_progress_is_reported_by_windows_and_prompts(answers, image_file, monkeypatch):
    seen = []
    monkeypatch.setattr(gr, 'Progress', lambda: lambda share, desc, unit: seen.append((share, desc, unit)))
    answers.segment(request(), str(image_file), f'thing {time.time()}, sky', '', 0.0, 0.65, *SETTING)
    assert ((0, 1), 'Segmenting', 'windows') in seen and seen[-1] == ((1, 1), 'Segmenting', 'windows')
    assert any(desc == 'Encoding class names' and done == total for (done, total), desc, _ in seen)


def cancel(answers, session):
    asyncio.run(answers.cancel(SimpleNamespace(session_hash=session)))


def test_cancel_stops_what_waits_and_not_what_comes_later_or_is_of_others(answers, image_file, monkeypatch):
    said = []
    monkeypatch.setattr(gr, 'Info', lambda message, duration: said.append(message))
    arguments = (str(image_file), 'snow, sky', '', 0.0, 0.65, *SETTING)
    waiting, of_another = request(), request(session='b')
    cancel(answers, 'a')
    assert answers.segment(waiting, *arguments) == gr.skip() and said == ['Stopped.']
    for wanted in (request(), of_another):
        assert len(answers.segment(wanted, *arguments)) == 10
    assert said == ['Stopped.']


def test_cancel_stops_a_model_between_its_layers(answers, image_file, models, monkeypatch):
    """The model ends soon after Cancel, not with its last window, and is free for the next request."""
    monkeypatch.setattr(gr, 'Info', lambda message, duration: None)
    windows = []

    def count_and_cancel():
        return lambda share, desc, unit: windows.append(share[0]) or (share[0] and cancel_in_thread())

    def cancel_in_thread():  # as the server does
        thread = threading.Thread(target=cancel, args=(answers, 'a'))
        thread.start()
        thread.join()
    monkeypatch.setattr(gr, 'Progress', count_and_cancel)
    inferencer = models.get(SETTING).variant({'model.windows.batch_size': 1, 'model.windows.crop': 32,
                                              'model.windows.stride': 16})
    monkeypatch.setattr(models, 'get', lambda setting: inferencer)
    arguments = (str(image_file), 'snow, sky', '', 0.0, 0.65, *SETTING)
    assert answers.segment(request(), *arguments) == gr.skip()
    assert windows == [0, 1]
    monkeypatch.setattr(gr, 'Progress', lambda: lambda *args, **kwargs: None)
    assert len(answers.segment(request(), *arguments)) == 10


def test_only_the_last_cancels_are_kept(answers):
    for number in range(module.KEPT_CANCELS + 7):
        cancel(answers, str(number))
    assert len(answers._cancelled) == module.KEPT_CANCELS and '6' not in answers._cancelled


def test_warnings_of_other_threads_are_not_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(gr, 'Warning', shown.append)

    def log_elsewhere(*args):
        thread = threading.Thread(target=print_log, args=('of another request', 'current', 30))
        thread.start()
        thread.join()
    module._guarded(log_elsewhere)(SimpleNamespace(max_seconds=300, is_cancelled=lambda request: False), request())
    assert shown == []
