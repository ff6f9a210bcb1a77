"""Requests that ask every endpoint of the page for files of the server, by every route that takes a body."""
import http.server
import json
import os
import runpy
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from ovseg.web.settings import Models

pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

VISITOR = runpy.run_path(str(Path(__file__).parents[1] / 'visitor.py'))
SECONDS = 5  # within which a refusal comes

# Those that the page sends, and those that gradio has for programs.
BODY_ROUTES = ['queue/join', 'queue/join/', 'run/predict', 'run/{name}', 'run/{name}/', 'api/predict', 'api/{name}',
               'call/{name}', 'call/{name}/', 'call/v2/{name}', 'component_server', 'stream/{name}', 'process_recording']


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return tmp_path_factory.mktemp('gradio')


@pytest.fixture(scope='module')
def visitor(files):
    with VISITOR['served'](Models(device='cpu'), files, max_upload_mb=1) as (_, visitor):
        yield visitor


@pytest.fixture(scope='module')
def fetched():
    """The paths for which a web server of this machine was asked, and its address."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked, f'http://127.0.0.1:{server.server_address[1]}'
        server.shutdown()


@pytest.fixture(scope='module')
def paths(files, fetched, tmp_path_factory):
    """Paths that are no upload, and for each whether there is something."""
    folder = tmp_path_factory.mktemp('server')
    secret = folder / 'secret.png'
    Image.new('RGB', (7, 5)).save(secret)
    others = tmp_path_factory.mktemp('other') / ('a' * 64) / 'upload.png'  # of another server, or another user
    hidden = files / ('b' * 64) / 'hidden.png'  # in the right folder, but not uploaded
    for copy in (others, hidden):
        copy.parent.mkdir()
        copy.write_bytes(secret.read_bytes())
    link = files / ('c' * 64) / 'link.png'
    link.parent.mkdir()
    link.symlink_to(secret)
    pipe = folder / 'pipe.png'
    os.mkfifo(pipe)
    return [str(secret), str(folder / 'missing.png'), f'file://{secret}', f'{fetched[1]}/image.png', '/dev/zero',
            '/proc/self/environ', os.path.relpath(secret), f'{files}/../{folder.name}/secret.png', str(others), str(hidden),
            str(link), str(folder), str(pipe), '', '/etc/\0passwd']


def contents(folder):
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob('*'))


def payloads(path):
    """The forms in which gradio takes a file."""
    meta = dict(_type='gradio.FileData')
    return [dict(path=path, meta=meta), dict(path=path, url=path, meta=meta, is_stream=True), dict(url=path, meta=meta),
            [dict(path=path, meta=meta)], path]


def test_no_endpoint_takes_a_file_of_the_server(visitor, files, paths, fetched):
    config = visitor.config()
    before, refusals = contents(files), set()
    assert {endpoint['queue'] for endpoint in config['dependencies']} == {True, False}
    types = {component['id']: component['type'] for component in config['components']}
    for endpoint in config['dependencies']:
        route = '/gradio_api/queue/join' if endpoint['queue'] else '/gradio_api/run/predict'
        values = VISITOR['defaults'](config, endpoint)
        for position, number in enumerate(endpoint['inputs']):
            for path in paths:
                for payload in payloads(path) if types[number] == 'image' else payloads(path)[:1]:
                    data = [*values[:position], payload, *values[position + 1:]]
                    start = time.monotonic()
                    answer = visitor.post(route, dict(data=data, fn_index=endpoint['id'], session_hash='a',
                                                      event_data=dict(index=[0, 0], value=None)), timeout=SECONDS)
                    assert answer.status == 400 and time.monotonic() - start < SECONDS, (endpoint['api_name'], payload, answer)
                    if types[number] == 'image':
                        refusals.add(answer.content)
    assert refusals == {b'{"detail":"this image is not on the server: drop it again"}'}  # whether or not there is a file
    assert contents(files) == before and fetched[0] == []


def test_no_other_route_takes_a_body(visitor, files, paths, fetched):
    config, before = visitor.config(), contents(files)
    for endpoint in config['dependencies']:
        values = VISITOR['defaults'](config, endpoint)
        for route in BODY_ROUTES:
            name = f'/gradio_api/{route}'.format(name=endpoint['api_name'])
            bodies = [dict(data=[payloads(path)[0], *values[1:]], fn_index=endpoint['id'], session_hash='a') for path in paths]
            answers = [visitor.post(name, body, timeout=SECONDS) for body in bodies]
            assert {answer.status for answer in answers} <= {400, 404}, (name, answers)
            assert len({answer.content for answer in answers}) == 1, (name, answers)
    assert contents(files) == before and fetched[0] == []


def test_no_address_serves_a_file_of_the_server(visitor, paths, fetched):
    before = visitor.request('GET', '/gradio_api/file=/no/such/file')
    assert before.status == 404
    for path in [*paths, 'docs', '.gradio', '/etc/passwd']:
        for route in ('file=', 'file/', 'proxy='):
            quoted = path.replace('\0', '%00').replace(' ', '%20')
            answer = visitor.request('GET', f'/gradio_api/{route}{quoted}', timeout=SECONDS)
            assert (answer.status, answer.content) == (404, before.content), path
    for path in ('/assets/../../../../../../etc/passwd', '/static/%2e%2e/%2e%2e/%2e%2e/routes.py', '/static//etc/passwd'):
        assert visitor.request('GET', path).status in (403, 404)
    assert fetched[0] == []


def test_what_is_uploaded_and_what_is_an_example_is_segmented(visitor, paths):
    config = visitor.config()
    endpoints = {endpoint['api_name']: endpoint for endpoint in config['dependencies']}
    segment = endpoints['segment']
    rest = VISITOR['defaults'](config, segment)[1:]
    [path] = json.loads(visitor.upload(Path(paths[0]).read_bytes(), 'a b.png').content)
    picked = json.loads(visitor.post('/gradio_api/run/predict', dict(
        data=[2], fn_index=endpoints['load_example']['id'], session_hash='a')).content)['data'][0]
    for file in (visitor.file(path), picked):
        message = visitor.call(segment['id'], [file, *rest])
        assert message['success'], message
        painted, legend, text, *_ = message['output']['data']
        assert 'time taken' in legend and 'CLIPSegmentor' in text
        address = painted['url'][painted['url'].index('/gradio_api'):]
        assert visitor.request('GET', address).content.startswith(b'\x89PNG')
    click = dict(index=[6, 4], value=None)
    attended = visitor.call(endpoints['attention']['id'], [visitor.file(path), *rest[4:]], event_data=click)
    assert attended['success'] and attended['output']['data'][0]['plot'].startswith('data:image/png')
