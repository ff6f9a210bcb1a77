"""The web page on a server of this process, and a visitor who sends it any request."""
import http.client
import json
import os
import threading
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

PATIENCE = 60  # seconds


@contextmanager
def served(models: Any, folder: Path, **options: Any) -> Iterator[Any]:
    """A server of the page, and the visitor of it, while it runs in a thread that keeps its files in ``folder``."""
    from ovseg.cli.web import listen
    from ovseg.web.app import make_server
    before = os.environ.get('GRADIO_TEMP_DIR')
    os.environ['GRADIO_TEMP_DIR'] = str(folder)
    with listen('127.0.0.1', 0) as listener:
        server = make_server(models, **options)
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listener]), daemon=True)
        thread.start()
        try:
            yield server, Visitor(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            os.environ.pop('GRADIO_TEMP_DIR')
            if before is not None:
                os.environ['GRADIO_TEMP_DIR'] = before
            assert not thread.is_alive(), f'the server has not ended within {PATIENCE} seconds'


class Answer(NamedTuple):
    """Response of the server."""
    status: int
    headers: Dict[str, str]
    content: bytes


class Visitor:
    """Sends requests to ``127.0.0.1:port``, and reads the answers of the queue."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.place = f'127.0.0.1:{port}'

    def request(self, method: str, path: str, body: Any = None, headers: Optional[Dict[str, str]] = None,
                timeout: float = PATIENCE) -> Answer:
        """Send one request on a connection of its own. An iterable of bytes goes in chunks."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, timeout: float = PATIENCE) -> Answer:
        """Send JSON."""
        return self.request('POST', path, json.dumps(body), {'Content-Type': 'application/json'}, timeout)

    def upload(self, content: bytes, name: str = 'image.png', **kwargs: Any) -> Answer:
        """Send a file as the page does; a JSON list of its path comes back."""
        headers = {'Content-Type': 'multipart/form-data; boundary=b'}
        return self.request('POST', '/gradio_api/upload', form(('files', name, content)), headers, **kwargs)

    def file(self, path: str) -> Dict[str, Any]:
        """An uploaded file as the page names it in a call."""
        return dict(path=path, url=f'http://{self.place}/gradio_api/file={path}', orig_name=Path(path).name, size=1,
                    mime_type='image/png', meta=dict(_type='gradio.FileData'))

    def config(self) -> Dict[str, Any]:
        """The components and endpoints of the page."""
        return json.loads(self.request('GET', '/config').content)

    def call(self, index: int, data: List[Any], **more: Any) -> Dict[str, Any]:
        """Call an endpoint through the queue, as the page does; its last message comes back."""
        session = uuid.uuid4().hex
        joined = self.post('/gradio_api/queue/join', dict(data=data, fn_index=index, session_hash=session, **more))
        if joined.status != 200:
            return dict(status=joined.status, **json.loads(joined.content))
        lines = self.request('GET', f'/gradio_api/queue/data?session_hash={session}').content.decode().splitlines()
        messages = [json.loads(line[len('data: '):]) for line in lines if line.startswith('data: ')]
        return next(message for message in messages if message['msg'] == 'process_completed')


def form(*files: Any) -> bytes:
    """The body of a form with files ``(field, name, content)``, whose boundary is ``b``."""
    head = '--b\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n'
    return b''.join(head.format(field, name).encode() + content + b'\r\n' for field, name, content in files) + b'--b--\r\n'


def defaults(config: Dict[str, Any], endpoint: Dict[str, Any]) -> List[Any]:
    """The values of an endpoint's inputs at the start of the page."""
    values = {component['id']: component['props'].get('value') for component in config['components']}
    kinds = {component['id']: component['type'] for component in config['components']}
    return [0 if kinds[number] == 'dataset' else values[number] for number in endpoint['inputs']]
