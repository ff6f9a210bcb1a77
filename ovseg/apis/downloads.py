"""Files from web servers, within bounds of size and time."""
import threading
import time
from http.client import HTTPException
from typing import List, Union
from urllib import request
from urllib.parse import quote

from ovseg.utils import one_line, quoted
from ovseg.version import __version__

MAX_BYTES = 2 ** 28
SILENCE = 30  # seconds without a byte
TOTAL = 300  # seconds
CHUNK = 2 ** 16


def download(url: str) -> bytes:
    """Content of an http or https URL; only redirects to such URLs are followed.

    Raises:
        FileNotFoundError: it cannot be downloaded within ``TOTAL`` seconds, or has more than ``MAX_BYTES``; the
            message names it.
    """
    results: List[Union[bytes, Exception]] = []

    def collect() -> None:
        try:
            results.append(_get(url, time.monotonic() + TOTAL))
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a port that is no number, for instance
            results.append(error)

    # A server may send a header byte by byte without end; a daemon thread can be abandoned.
    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(TOTAL)
    result = results[0] if results else TimeoutError(f'it takes more than {TOTAL} seconds')
    if isinstance(result, Exception):
        raise FileNotFoundError(f'cannot get {quoted(url)}: {one_line(result)}') from result
    return result


def _get(url: str, deadline: float) -> bytes:
    escaped = quote(url, safe="%/:=&?~#+!$,;'@()*[]")  # letters that URLs cannot hold
    # some servers refuse Python's own user agent; _opener() opens http and https only
    asked = request.Request(escaped, headers={'User-Agent': f'ovseg/{__version__}'})  # noqa: S310
    content = bytearray()
    with _opener().open(asked, timeout=SILENCE) as response:
        expected = response.length  # None where the server does not state it
        if (expected or 0) > MAX_BYTES:
            raise OSError(f'it has {expected} bytes, and {MAX_BYTES} are allowed')
        while part := response.read1(CHUNK):  # what has come; read() would wait for the whole chunk
            content += part
            if len(content) > MAX_BYTES:
                raise OSError(f'it has more than {MAX_BYTES} bytes')
            if time.monotonic() > deadline:
                raise TimeoutError(f'it takes more than {TOTAL} seconds')
    if expected is not None and len(content) < expected:
        raise OSError(f'{expected - len(content)} of {expected} bytes are missing')
    return bytes(content)


def _opener() -> request.OpenerDirector:
    """Urllib's opener without those for ``file:``, ``ftp:`` and ``data:``."""
    opener = request.OpenerDirector()
    for handler in (request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPDefaultErrorHandler,
                    request.HTTPRedirectHandler, request.HTTPErrorProcessor, request.UnknownHandler):
        opener.add_handler(handler())
    return opener
