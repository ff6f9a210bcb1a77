"""The middleware in front of gradio. Gradio sees only requests that the page itself sends.

Gradio opens, copies and then serves any file, or fetches any URL, that the body of a request names, before it calls a function
of ours; its own check of paths is skipped for a page that is mounted rather than launched. There are a dozen routes through
which a body reaches it. Rather than to close each, all requests are answered here with 404 except the few that the page needs,
and the bodies of these are rebuilt from their known parts.
"""
import asyncio
import ipaddress
import re
import time
from functools import partial
from pathlib import Path
from typing import Any, Collection

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovseg.web.folder import remove_oldest
from ovseg.web.request_body import checked_body

READ = re.compile(r'/(config|theme\.css|favicon\.ico|manifest\.json|assets/.+|static/.+)?'
                  r'|/gradio_api/(queue/data|heartbeat/\w+)')
FILE, UPLOAD = '/gradio_api/file=', '/gradio_api/upload'
PROGRESS = '/gradio_api/upload_progress'
CALLS = {'/gradio_api/queue/join': True, '/gradio_api/run/predict': False}  # whether it is the queue that calls the endpoint

HOST = re.compile(r'(\[[\da-f:.]+\]|[\w.-]+?)\.?(:\d+)?', re.ASCII | re.IGNORECASE)
# Only this server's scripts, styles and images, and no frames. unsafe-eval: gradio compiles templates in the browser.
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' blob: data:; font-src 'self' data:; base-uri 'self'; form-action 'none'; object-src 'none'; "
          "frame-ancestors 'none'")
HEADERS = {'Content-Security-Policy': POLICY, 'X-Frame-Options': 'DENY', 'X-Content-Type-Options': 'nosniff',
           'Referrer-Policy': 'no-referrer'}

MB = 1024 * 1024  # as gradio counts
JSON_BYTES = 256 * 1024  # of the body of a call
FORM_BYTES = 16 * 1024  # of an upload, beyond its file
LONGEST_NAME = 60  # of an uploaded file, in characters
BODY_SECONDS = 300  # until a body has arrived
UPLOADS_AT_ONCE = 4  # that are received, and held in memory; others wait
KEPT_FOLDERS = 200  # of uploads and results, at most
KEPT_UPLOADS = 20  # the same, in uploads of the largest size


class Guard:
    """ASGI middleware that answers all but the page's own requests with an error.

    Args:
        app: The page, mounted at ``/``.
        page: The same, as gradio's ``Blocks``.
        uploads: The folder of gradio's files.
        max_upload_mb: Larger files are refused, in megabytes.
        host: Address or name on which the server listens.
        allowed: Further names under which the page can be reached, apart from ``localhost``, whose pages may send requests
            even where a proxy has replaced the ``Host`` header. Any IP address is accepted as ``Host``, too: a web site whose
            name its owner points to this machine (DNS rebinding) still has that name in the browser's requests.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks, uploads: Path, max_upload_mb: int, host: str = 'localhost',
                 allowed: Collection[str] = ()) -> None:
        self._app = app
        self._page = page
        self._uploads = uploads
        self._max_upload_mb = max_upload_mb
        self._uploading = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._allowed = {name.lower() for name in allowed if name}
        self._hosts = {'localhost', host.lower(), *self._allowed}
        self._examples = frozenset().union(*page.temp_file_sets)  # all files that there are before the first request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let gradio answer it."""
        if scope['type'] == 'lifespan':
            return await self._app(scope, receive, send)
        try:
            answer = await self._answer(scope, receive)
        except HTTPException as refused:
            answer = _refusal(scope['path'], refused)
        except ClientDisconnect:
            return
        await answer(scope, receive, partial(_send_with_headers, send))

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        """The application that answers a request of the page; an ``HTTPException`` for any other."""
        path, reads = scope['path'], scope['method'] in ('GET', 'HEAD')
        self._check_host(Headers(scope=scope))
        if reads and path == PROGRESS:
            return Response('data: {"msg": "done"}\n\n', media_type='text/event-stream')  # progress is not reported
        # of files those that gradio made for the page; their paths are compared, not resolved
        is_file = path.startswith(FILE) and any(path[len(FILE):] in files for files in self._page.temp_file_sets)
        if reads and (READ.fullmatch(path) or is_file):
            return self._app
        if scope['method'] == 'POST' and path == UPLOAD:
            request = Request(scope, _limited(receive, self._max_upload_mb * MB + FORM_BYTES))
            return await _within_time(self._keep(request))
        if scope['method'] == 'POST' and path in CALLS:
            if Headers(scope=scope).get('content-type', '').partition(';')[0].strip().lower() != 'application/json':
                # a browser sends text/plain to another site without asking that site first
                raise HTTPException(415, 'the body must have the content type application/json')
            content = await _within_time(Request(scope, _limited(receive, JSON_BYTES)).body())
            try:
                return partial(self._call, checked_body(self._page, content, CALLS[path]))
            except ValueError as error:
                raise HTTPException(400, str(error)) from error
        raise HTTPException(404)

    def _check_host(self, headers: Headers) -> None:
        """Refuse a request under a foreign name, or one that another site's page has sent."""
        [host] = headers.getlist('host') if len(headers.getlist('host')) == 1 else ['']
        name = _name(host)
        if name not in self._hosts and not _is_address(name):
            raise HTTPException(403, 'the page is not served under this name: see --allow-host')
        origin = headers.get('origin')
        if origin is not None:
            place = origin.partition('://')[2].lower()
            # A proxy may have replaced Host, hence the second condition. The address of --host does not count there: any
            # other server of this machine has it, too.
            if place != host.lower() and place not in self._allowed:
                raise HTTPException(403, 'this is the request of another site: see --allow-host')

    async def _keep(self, request: Request) -> Response:
        """Keep the one file of an upload. Gradio's own route leaves temporary files behind when an upload breaks off."""
        async with self._uploading:
            try:
                async with request.form(max_files=1, max_fields=0) as form:
                    file = form.get('files')
                    if not isinstance(file, UploadFile):
                        raise HTTPException(400, 'an upload is a form with one file in its field "files"')
                    content = await file.read()
            except (MultiPartException, ValueError) as error:  # ValueError: of the package that parses the form
                raise HTTPException(400, 'the form is broken, or has other parts than one file') from error
            if len(content) > self._max_upload_mb * MB:
                raise _too_large(self._max_upload_mb * MB)
            name = re.sub(r'[^\w.-]', '_', Path(file.filename or '').name)[-LONGEST_NAME:].lstrip('.') or 'image'
            path = save_bytes_to_cache(content, name, str(self._uploads))
            self._page.upload_file_set.add(path)
            self._tidy()
            return JSONResponse([path])

    async def _call(self, content: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Let gradio answer with ``content`` as the body."""
        self._tidy()
        messages = [dict(type='http.request', body=content)]
        headers = MutableHeaders(raw=list(scope['headers']))
        headers.update({'content-type': 'application/json', 'content-length': str(len(content))})
        scope = {**scope, 'headers': headers.raw, 'arrived': time.monotonic()}

        async def receive_content() -> Message:
            return messages.pop() if messages else await receive()
        await self._app(scope, receive_content, send)

    def _tidy(self) -> None:
        remove_oldest(self._uploads, KEPT_FOLDERS, KEPT_UPLOADS * self._max_upload_mb * MB, self._examples)


def _refusal(path: str, refused: HTTPException) -> Response:
    """An error in the form in which the page shows it."""
    if path == UPLOAD:
        return Response(refused.detail, refused.status_code, media_type='text/plain')
    return JSONResponse(dict(detail=refused.detail), refused.status_code)


async def _send_with_headers(send: Send, message: Message) -> None:
    if message['type'] == 'http.response.start':
        MutableHeaders(scope=message).update(HEADERS)
    await send(message)


def _limited(receive: Receive, most: int) -> Receive:
    """``receive`` for a body of at most ``most`` bytes, however it is sent."""
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get('body', b''))
        if size > most:
            raise _too_large(most)
        return message
    return receive_limited


async def _within_time(body: Any) -> Any:
    try:
        return await asyncio.wait_for(body, BODY_SECONDS)
    except asyncio.TimeoutError as error:
        raise HTTPException(408, f'the request did not arrive within {BODY_SECONDS} seconds') from error


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f'the request exceeds the maximum allowed size of {most / MB:g} MB')


def _name(place: str) -> str:
    """The host of ``host:port``, in lower case; empty for anything else."""
    match = HOST.fullmatch(place)
    return match.group(1).strip('[]').lower() if match else ''


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
