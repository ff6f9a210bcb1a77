import contextlib
import http.server
import threading
import time

import pytest

from ovseg.apis import downloads
from ovseg.apis.downloads import download


@pytest.fixture
def serve():
    """Starts a server that answers each GET by ``answer(handler)``, and gives its address."""
    servers = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked has left
                    answer(self)

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler))
        servers[-1].daemon_threads = True
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{servers[-1].server_port}/a.png'

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(handler, content, **headers):
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace('_', '-'), value)
    handler.end_headers()
    handler.wfile.write(content)


@pytest.mark.parametrize('headers', [{}, dict(Content_Length=200_003)], ids=['without', 'with'])
def test_content_with_and_without_its_length(serve, headers):
    content = bytes(200_000) + b'end'
    assert download(serve(lambda handler: answer(handler, content, **headers))) == content


def test_a_length_over_the_limit_is_refused_before_anything_is_read(serve, monkeypatch):
    monkeypatch.setattr(downloads, 'MAX_BYTES', 1000)
    url = serve(lambda handler: (answer(handler, b'', Content_Length=1001), time.sleep(5)))
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=rf'cannot get {url}: it has 1001 bytes, and 1000 are allowed'):
        download(url)
    assert time.monotonic() - start < 4


def test_a_content_without_end_is_left_at_the_limit(serve, monkeypatch):
    monkeypatch.setattr(downloads, 'MAX_BYTES', 300_000)

    def endless(handler):
        answer(handler, b'')
        while True:
            handler.wfile.write(bytes(10_000))

    with pytest.raises(FileNotFoundError, match='it has more than 300000 bytes'):
        download(serve(endless))


def drip_content(handler):
    answer(handler, b'', Content_Length=1000)
    for _ in range(1000):
        handler.wfile.write(b'x')
        time.sleep(0.05)


def drip_headers(handler):
    handler.wfile.write(b'HTTP/1.0 200 OK\r\nX-Slow: ')
    for _ in range(1000):
        handler.wfile.write(b'x')
        time.sleep(0.05)


@pytest.mark.parametrize('drip', [drip_content, drip_headers])
def test_a_server_that_is_never_silent_is_left_after_the_total_time(serve, monkeypatch, drip):
    monkeypatch.setattr(downloads, 'TOTAL', 0.5)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r'cannot get .*/a\.png: it takes more than 0\.5 seconds'):
        download(serve(drip))
    assert time.monotonic() - start < 5


def test_a_download_that_breaks_off_is_an_error(serve):
    with pytest.raises(FileNotFoundError, match='900 of 1000 bytes are missing'):
        download(serve(lambda handler: answer(handler, bytes(100), Content_Length=1000)))


@pytest.mark.parametrize('target', ['file:///etc/hostname', 'ftp://127.0.0.1/a.png', 'data:image/png;base64,AAAA'])
def test_a_redirect_to_another_scheme_is_not_followed(serve, target):
    def redirect(handler):
        handler.send_response(302)
        handler.send_header('Location', target)
        handler.end_headers()

    with pytest.raises(FileNotFoundError, match=r'cannot get .*/a\.png: .*(not allowed|unknown url type)'):
        download(serve(redirect))


def test_a_redirect_to_http_is_followed(serve):
    there = serve(lambda handler: answer(handler, b'there'))

    def redirect(handler):
        handler.send_response(302)
        handler.send_header('Location', there)
        handler.end_headers()

    assert download(serve(redirect)) == b'there'


@pytest.mark.parametrize('url', ['http://127.0.0.1:port/a.png', 'http://[::1/a.png', 'http:///a.png'])
def test_what_is_no_url_is_named(url):
    with pytest.raises(FileNotFoundError, match='cannot get http:'):
        download(url)
