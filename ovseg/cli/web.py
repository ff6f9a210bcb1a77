"""``ovseg web``: the web page."""
import argparse
import os
import signal
import socket
from importlib.util import find_spec

from ovseg.extras import missing_package
from ovseg.utils import check_integer


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``web`` to the commands."""
    parser = commands.add_parser('web', description='Show a web page that segments images by class names. Ctrl-C ends it.')
    parser.add_argument('--model', help='name or path of a config (ovseg list configs; default: the tiny CLIP, offline)')
    parser.add_argument('--weights', help="CLIP weights in place of the config's: an open_clip tag, a file or a folder")
    parser.add_argument('--device', help='where to compute (default: the GPU, if there is one)')
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on (default: %(default)s, this machine only; 0.0.0.0 for the whole network)')
    parser.add_argument('--port', type=int, default=7860, help='port to listen on; 0: any (default: %(default)s)')
    parser.add_argument('--max-upload-mb', type=int, default=50, metavar='MB', help='largest file (default: %(default)s)')
    parser.add_argument('--max-pixels', type=int, default=20_000_000, metavar='N',
                        help='larger images are scaled down to so many pixels (default: %(default)s; of which the tiny '
                             'CLIP takes a fifth)')
    parser.add_argument('--max-seconds', type=int, default=300, metavar='N',
                        help='longest wait for the model, and longest time it takes for a request (default: %(default)s)')
    parser.add_argument('--allow-host', action='append', default=[], metavar='NAME',
                        help='a name under which the page is reached, for instance through a proxy; NAME:PORT for a proxy that '
                             'replaces Host and listens on another port than 80 or 443; may be repeated '
                             '(localhost, the name in --host and every IP address are allowed anyway)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        OSError: the address cannot be listened on; says which.
        MissingPackageError: gradio is not installed.
        ValueError: a wrong setting.
    """
    if find_spec('gradio') is None:
        raise missing_package('the web page', 'gradio', 'web')
    from ovseg.web.folder import own_folder
    check_integer('--max-upload-mb', args.max_upload_mb, 1)
    check_integer('--max-seconds', args.max_seconds, 1)
    with listen(args.host, args.port) as listener, own_folder() as folder:
        # gradio reads these when it is imported; uploads and text embeddings are deleted with the folder
        os.environ.update(GRADIO_TEMP_DIR=str(folder / 'files'), OVSEG_CACHE=str(folder / 'cache'),
                          GRADIO_ANALYTICS_ENABLED='False')
        from ovseg.web.app import make_server
        from ovseg.web.settings import Models, Setting
        models = Models(args.model, args.weights, args.device, args.max_pixels)
        models.get(Setting.of(models.cfg.model))  # so that errors of model, weights or device are raised now
        server = make_server(models, args.max_upload_mb, args.max_seconds, args.host, args.allow_host)
        host, port = listener.getsockname()[:2]
        print(f'ovseg is at http://{f"[{host}]" if ":" in host else host}:{port} (Ctrl-C ends it)', flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder is removed then, too
        server.run(sockets=[listener])  # raises KeyboardInterrupt at the end
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket on which ``host:port`` listens.

    Raises:
        OSError: it cannot; says which address, and what to do.
        ValueError: a port out of range.
    """
    check_integer('--port', port, 0, 65535)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
        raise OSError(f'cannot listen on --host {host} --port {port} ({error}): choose another host, another port, or --port 0 '
                      'for any that is free') from error
