import asyncio
import json
import os
import re
import socket
from pathlib import Path

import pytest

pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')

from starlette.testclient import TestClient

from ovseg.web import guard
from ovseg.web.guard import Guard

GET_ROUTES = ['/openapi.json', '/docs', '/redoc', '/robots.txt', '/login', '/logout', '/monitoring', '/monitoring/summary',
              '/pwa_icon', '/svelte/svelte.js', '/gradio_api/info', '/gradio_api/openapi.json',
              '/gradio_api/deep_link?session_hash=a', '/gradio_api/token', '/gradio_api/user', '/gradio_api/app_id',
              '/gradio_api/runs', '/gradio_api/startup-events', '/gradio_api/queue/status', '/gradio_api/dev/reload',
              '/gradio_api/vibe-code', '/gradio_api/mcp', '/gradio_api/custom_component/a/client/component/index.js',
              '/gradio_api/stream/a/b/1/playlist.m3u8', '/gradio_api/call/segment/1', '/gradio_api/proxy=http://a.hf.space/',
              '/gradio_api/file=http://example.org/a.png']


@pytest.fixture
def guarded(server_and_visitor):
    """A client of the app that is served, under any name, with the default --host."""
    app = server_and_visitor[0].config.app

    def client(name='localhost:7860', allowed=(), host='127.0.0.1'):
        return TestClient(Guard(app._app, app._page, app._uploads, 1, host, allowed), base_url=f'http://{name}')
    return client


@pytest.mark.parametrize('path', GET_ROUTES)
def test_what_the_page_does_not_need_is_not_served(visitor, path):
    assert visitor.request('GET', path).status == 404


def test_all_routes_of_gradio_but_those_of_the_page_are_closed(server_and_visitor, visitor):
    gradio = server_and_visitor[0].config.app._app.routes[-1].app
    open_routes = set()
    for path, methods in every_route(gradio):
        for method in methods:
            # the values that parameters have here occur nowhere, so that an open route says more than "Not Found", or nothing
            answer = visitor.request(method, re.sub(r'{.*?}', 'x', path), '' if method == 'POST' else None, timeout=5) \
                if path not in ('/gradio_api/heartbeat/{session_hash}', '/gradio_api/queue/data') else None
            if answer is None or answer.status != 404:
                open_routes.add((method, path))
    assert open_routes <= {
        ('GET', '/'), ('HEAD', '/'), ('GET', '/config'), ('GET', '/theme.css'), ('GET', '/favicon.ico'),
        ('GET', '/manifest.json'), ('GET', '/assets/{path:path}'), ('GET', '/static/{path:path}'),
        ('GET', '/gradio_api/queue/data'), ('GET', '/gradio_api/heartbeat/{session_hash}'),
        ('GET', '/gradio_api/upload_progress'), ('POST', '/gradio_api/upload'),
        ('POST', '/gradio_api/queue/join'), ('POST', '/gradio_api/run/{api_name}')}
    assert ('POST', '/gradio_api/queue/join') in open_routes and len(open_routes) > 5


def every_route(app):
    """The address and the methods of each route; newer FastAPIs keep an included router as one."""
    for route in app.routes:
        if hasattr(route, 'original_router'):
            yield from ((inner.path, sorted(inner.methods)) for inner in route.original_router.routes)
        else:
            yield route.path, sorted(route.methods)


@pytest.mark.parametrize('method', ['PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'POST'])
def test_other_methods(visitor, method):
    assert visitor.request(method, '/').status == 404


@pytest.mark.parametrize('path', ['/', '/config', '/theme.css', '/favicon.ico', '/manifest.json', '/nothing'])
def test_headers(visitor, path):
    headers = visitor.request('GET', path).headers
    assert "frame-ancestors 'none'" in headers['content-security-policy']
    assert (headers['x-frame-options'], headers['x-content-type-options']) == ('DENY', 'nosniff')


@pytest.mark.parametrize('name', ['localhost', 'LocalHost:7860', '127.0.0.1:7860', '10.2.3.4', '[::1]:7860', 'Demo.Example.org',
                                  'demo.example.org.:80'])
def test_names_of_the_page(guarded, name):
    assert guarded(allowed=['Demo.example.org']).get('/theme.css', headers={'Host': name}).status_code == 200
    assert guarded(host='demo.Example.org').get('/theme.css', headers={'Host': name}).status_code == 200


@pytest.mark.parametrize('name', ['evil.org', 'localhost.evil.org', 'evil.org:7860', '127.0.0.1.evil.org', 'demo.example.org',
                                  '', 'x@127.0.0.1', '[::1', '127.0.0.1:x', 'localhost/'])
def test_foreign_names_are_refused(guarded, name):
    for method, path in (('GET', '/'), ('GET', '/config'), ('POST', '/gradio_api/upload'), ('POST', '/gradio_api/queue/join')):
        answer = guarded(allowed=['']).request(method, path, headers={'Host': name})
        assert answer.status_code == 403 and '--allow-host' in answer.text


def test_two_names_or_none_are_refused(visitor):
    for lines in ('Host: localhost\r\nHost: evil.org\r\n', ''):
        with socket.create_connection(('127.0.0.1', visitor.port), timeout=10) as connection:
            connection.sendall(f'GET / HTTP/1.0\r\n{lines}Connection: close\r\n\r\n'.encode())
            assert connection.makefile().readline().split()[1] in ('400', '403')


@pytest.mark.parametrize(('origin', 'status'), [
    ('http://localhost:7860', 200), ('https://localhost:7860', 200), ('https://demo.example.org', 200),
    ('https://proxy.example.org:8443', 200), ('http://proxy.example.org', 403), ('http://demo.example.org:3000', 403),
    ('http://127.0.0.1:3000', 403), ('http://localhost:3000', 403), ('http://127.0.0.1', 403), ('http://localhost:80', 403),
    ('http://evil.org', 403), ('http://127.0.0.1:7860', 403), ('null', 403), ('', 403),
    ('http://localhost:7860.evil.org', 403)])
def test_requests_of_other_sites_are_refused(guarded, origin, status):
    client = guarded(allowed=['demo.example.org', 'proxy.example.org:8443', ''])
    assert client.get('/theme.css', headers={'Origin': origin}).status_code == status
    assert client.get('/gradio_api/upload_progress', headers={'Origin': origin}).status_code == status
    assert (client.post('/gradio_api/upload', headers={'Origin': origin}).status_code == 403) == (status == 403)


def test_pages_of_other_ports_of_the_same_address_are_refused(guarded):
    for host in ('127.0.0.1', '10.2.3.4', 'demo.example.org'):
        client = guarded(f'{host}:7860', host=host)
        for port, status in ((7860, 200), (3000, 403), (80, 403)):
            assert client.get('/theme.css', headers={'Origin': f'http://{host}:{port}'}).status_code == status
        assert client.get('/theme.css', headers={'Origin': f'http://{host}'}).status_code == 403


@pytest.mark.parametrize(('kind', 'status'), [
    ('application/json', 400), ('Application/JSON; charset=utf-8', 400), ('text/plain', 415), ('', 415), (None, 415),
    ('application/x-www-form-urlencoded', 415), ('text/plain; application/json', 415)])
def test_a_call_must_say_that_it_is_json(visitor, kind, status):
    for path in ('/gradio_api/queue/join', '/gradio_api/run/predict'):
        answer = visitor.request('POST', path, b'no JSON', {} if kind is None else {'Content-Type': kind})
        assert answer.status == status and len(answer.content.splitlines()) == 1


def test_an_upload_is_kept_under_a_harmless_name(visitor, page):
    for name, kept in (('a b.png', 'a_b.png'), ('../../x.png', 'x.png'), ('.bashrc', 'bashrc'), ('..', 'image'), ('', 'image'),
                       ('a\\b\x1b[31m.png', 'a_b__31m.png'), ('n' * 300 + '.png', 'n' * 56 + '.png'), ('猫.png', '猫.png')):
        answer = visitor.upload(b'content', name)
        [path] = json.loads(answer.content)
        assert os.path.basename(path) == kept and path in page.upload_file_set and Path(path).read_bytes() == b'content'


@pytest.mark.parametrize('size', [1024 * 1024, 1024 * 1024 + 1])
def test_a_file_has_a_size_limit(visitor, size):
    answer = visitor.upload(bytes(size))
    assert answer.status == (200 if size == 1024 * 1024 else 413)
    assert answer.status == 200 or answer.content == b'the request exceeds the maximum allowed size of 1 MB'


def test_a_body_has_a_size_limit_whatever_it_claims(server_and_visitor, visitor):
    sent = []

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(1000):
            sent.append(1)
            yield bytes(100_000)
    before = os.listdir(server_and_visitor[0].config.app._uploads)
    for path, kind in (('upload', 'multipart/form-data; boundary=b'), ('queue/join', 'application/json')):
        sent.clear()
        try:
            headers = {'Content-Type': kind, 'Transfer-Encoding': 'chunked'}
            status = visitor.request('POST', f'/gradio_api/{path}', endless(), headers).status
        except (BrokenPipeError, ConnectionResetError):  # the server has answered and closed
            status = 413
        assert status == 413 and len(sent) < 1000
    assert os.listdir(server_and_visitor[0].config.app._uploads) == before


def test_json_has_a_size_limit(visitor):
    body = dict(data=['a' * guard.JSON_BYTES], fn_index=1, session_hash='a')
    assert visitor.post('/gradio_api/queue/join', body).status == 413


FIELD = b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext\r\n--b--\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\nx\r\n'
END = b'--b--\r\n'


@pytest.mark.parametrize('body', [
    b'', b'nothing', FIELD, FILE % b'other' + END, FILE % b'files' + FILE % b'files' + END, b'--b\r\n' + b'a' * 100_000,
    b'--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n' + END, b'--b\r\n\xff\xfe: \x00\r\n\r\n'])
@pytest.mark.parametrize('kind', ['multipart/form-data; boundary=b', 'multipart/form-data', 'application/x-www-form-urlencoded',
                                  ''])
def test_broken_uploads_leave_nothing(server_and_visitor, visitor, body, kind):
    uploads = server_and_visitor[0].config.app._uploads
    before = os.listdir(uploads)
    answer = visitor.request('POST', '/gradio_api/upload', body, {'Content-Type': kind})
    assert answer.status == 400 and len(answer.content.splitlines()) == 1
    assert os.listdir(uploads) == before


def test_an_upload_that_breaks_off_leaves_nothing(server_and_visitor, visitor):
    uploads = server_and_visitor[0].config.app._uploads
    before = os.listdir(uploads)
    with socket.create_connection(('127.0.0.1', visitor.port)) as connection:
        connection.sendall(b'POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n'
                           b'Content-Type: multipart/form-data; boundary=b\r\n\r\n' + FILE % b'files' + bytes(50_000))
    assert visitor.upload(b'more').status == 200  # the server is well
    assert len(os.listdir(uploads)) <= len(before) + 1


def test_a_body_has_a_time_limit(guarded, monkeypatch):
    monkeypatch.setattr(guard, 'BODY_SECONDS', 0.05)
    messages = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        messages.append(message)
    for path, kind in (('upload', b'multipart/form-data; boundary=b'), ('queue/join', b'application/json')):
        headers = [(b'host', b'localhost'), (b'content-type', kind)]
        scope = dict(type='http', method='POST', path=f'/gradio_api/{path}', headers=headers)
        asyncio.run(guarded().app(scope, never, send))
        assert messages[-2]['status'] == 408


def test_few_uploads_are_read_at_a_time(guarded):
    body = FILE % b'files' + END
    scope = dict(type='http', method='POST', path='/gradio_api/upload', headers=[
        (b'host', b'localhost'), (b'content-type', b'multipart/form-data; boundary=b')])
    begun, statuses = [], []

    async def visit():
        may_end = asyncio.Event()

        async def receive():
            begun.append(1)
            await may_end.wait()
            return dict(type='http.request', body=body)

        async def send(message):
            statuses.extend([message['status']] if 'status' in message else [])
        app = guarded().app
        uploads = [asyncio.ensure_future(app(scope, receive, send)) for _ in range(guard.UPLOADS_AT_ONCE + 3)]
        await asyncio.sleep(0.1)
        assert len(begun) == guard.UPLOADS_AT_ONCE and statuses == []
        may_end.set()
        await asyncio.gather(*uploads)
    asyncio.run(visit())
    assert statuses == [200] * (guard.UPLOADS_AT_ONCE + 3)


def test_old_uploads_make_room(visitor, page, monkeypatch):
    monkeypatch.setattr(guard, 'KEPT_FOLDERS', 3)
    paths = [json.loads(visitor.upload(b'upload %d' % number).content)[0] for number in range(7)]
    assert [os.path.exists(path) for path in paths] == [False] * 4 + [True] * 3
    assert all(os.path.exists(file['path']) for component in page.blocks.values() if type(component).__name__ == 'Dataset'
               for [file] in component.samples)
