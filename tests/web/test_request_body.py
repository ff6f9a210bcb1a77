import json
import os
from pathlib import Path

import pytest

gr = pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

from ovseg.web.request_body import checked_body  # noqa: E402

SETTING = ['Gated', True, False, False, 30, 0, False]


def index_of(page, name):
    return next(number for number, function in page.fns.items() if function.api_name == name)


@pytest.fixture
def upload(visitor, image_file):
    [path] = json.loads(visitor.upload(image_file.read_bytes(), 'noise.png').content)
    return visitor.file(path)


@pytest.fixture
def body(page, upload):
    """A call of ``segment`` as the page sends it."""
    return dict(data=[upload, 'cat, dog', '', 0.25, 0.5, *SETTING], fn_index=index_of(page, 'segment'), session_hash='a1_B')


def check(page, body, queued=True):
    return json.loads(checked_body(page, json.dumps(body).encode(), queued))


def test_only_known_parts_are_kept(page, body, upload):
    more = dict(trigger_id=8, batched=True, event_id='x', oauth_token='y', event_data=dict(path='/etc/passwd'))  # noqa: S106
    file = dict(path=upload['path'], meta=dict(_type='gradio.FileData'))
    assert check(page, {**body, **more}) == dict(body, data=[file, *body['data'][1:]])


def test_what_is_in_use_is_deleted_last(page, body, upload):
    folder = os.path.dirname(upload['path'])
    os.utime(folder, (1, 1))
    check(page, body)
    assert os.stat(folder).st_mtime > 1


def test_a_place_is_part_of_a_click_only(page, upload):
    body = dict(data=[upload, *SETTING], fn_index=index_of(page, 'attention'), session_hash='a')
    event = dict(index=[3, 5], value=None)
    assert check(page, dict(body, event_data=dict(event, more=1)))['event_data'] == event
    for wrong in (None, {}, 5, *(dict(index=index) for index in (3, [3], [-1, 3], [1.5, 2], ['a', {}], [True, 1]))):
        with pytest.raises(ValueError, match='event_data has no index'):
            check(page, dict(body, event_data=wrong))


def test_an_upload_that_was_deleted_is_one_that_never_was(page, body, upload):
    Path(upload['path']).unlink()
    with pytest.raises(ValueError, match=r'^this image is not on the server: drop it again$'):
        check(page, body)


@pytest.mark.parametrize(('place', 'value'), [
    (0, 'a.png'), (0, 5), (0, []), (0, {}), (0, dict(path=5)), (0, dict(path=None, url='data:image/png;base64,AA=='))])
def test_no_other_images(page, body, place, value):
    body['data'][place] = value
    with pytest.raises(ValueError, match='not on the server'):
        check(page, body)


@pytest.mark.parametrize(('place', 'label', 'values'), [
    (1, 'Class names', [None, 5, ['cat'], dict(path='/etc/passwd')]),
    (3, 'Threshold', [True, '0.5', -0.1, 1.1, 10 ** 400, None]),
    (4, 'Opacity', [1.5, None]),
    (5, 'Method', ['No such', None, 5, []]), (6, 'Similarity', [1, 'true', None]), (9, 'Outliers', [101, '30', [3]])])
def test_values_that_the_page_does_not_send(page, body, place, label, values):
    for value in values:
        body['data'][place] = value
        with pytest.raises(ValueError, match=f'^{label}.* is not what the page sends$'):
            check(page, body)


@pytest.mark.parametrize(('key', 'values', 'message'), [
    ('fn_index', [None, 99, -1, True, 2.0, '2', [2]], 'fn_index is not that of an endpoint'),
    ('session_hash', [None, '', 5, 'a b', 'a' * 65, 'é', 'a\n'], 'session_hash must be'),
    ('data', [None, {}, 'abc', [], [None]], 'data must be a list of 12 values')])
def test_parts_that_the_page_does_not_send(page, body, key, values, message):
    for value in values:
        with pytest.raises(ValueError, match=message):
            check(page, dict(body, **{key: value}))


@pytest.mark.parametrize('content', [b'', b'{', b'\xff', b'[]', b'5', b'null', b'[' * 100_000, b'{"data":' * 50_000, b'"a'])
def test_what_is_no_json_object(page, content):
    with pytest.raises(ValueError, match='the body is no JSON'):
        checked_body(page, content, True)


@pytest.mark.parametrize('number', ['NaN', 'Infinity', '1e999', '-1e999'])
def test_numbers_that_are_none(page, body, number):
    content = json.dumps(body).replace('0.25', number).encode()
    with pytest.raises(ValueError, match='is not what the page sends'):
        checked_body(page, content, True)


def test_text_that_cannot_be_encoded(page, body):
    body['data'][1] = 'cat \ud800'
    with pytest.raises(ValueError, match='surrogates'):
        check(page, body)


def test_the_queue_cannot_be_avoided(page, body):
    with pytest.raises(ValueError, match='fn_index'):
        check(page, body, queued=False)
    example = dict(data=[4], fn_index=index_of(page, 'load_example'), session_hash='a')
    assert check(page, example, queued=False) == example
    for number in (-1, 99, 1.0, True, '1', None):
        with pytest.raises(ValueError, match='is not what the page sends'):
            check(page, dict(example, data=[number]), queued=False)


def test_a_state_of_the_server_and_names_that_are_no_list(page):
    body = dict(data=[None, 0.5, ['snow']], fn_index=index_of(page, 'redraw'), session_hash='a')
    assert check(page, body)['data'][0] is None
    for place, values in ((0, [{}, 'a.png', [], 0]), (2, [None, 'snow', [5], [['snow']], {}])):
        for value in values:
            with pytest.raises(ValueError, match='is not what the page sends'):
                check(page, dict(body, data=[*body['data'][:place], value, *body['data'][place + 1:]]))


def test_scripts_of_the_page_are_no_endpoints(page):
    scripts = [number for number, function in page.fns.items() if function.fn is None]
    assert scripts
    for number in scripts:
        for queued in (True, False):
            with pytest.raises(ValueError, match='fn_index is not that of an endpoint'):
                check(page, dict(data=[], fn_index=number, session_hash='a'), queued)
