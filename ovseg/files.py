"""Files written in one step, so that a reader finds all of a file or none of it, also after a kill or a power failure."""
import errno
import io
import os
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np
from PIL import Image

from ovseg.utils import quoted

PART_PATTERN = f'*.{"[0-9a-f]" * 8}.part'  # the names of temporary files


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, whose name ends with ``.part``, and rename it to ``path``.

    The content is on the disk before the file has its name: a file that has its name is complete.

    Args:
        path: The file; replaced, if it exists.
        write: Writes to the path that it is given.
    """
    part = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}.part')
    try:
        with write_errors_named(path):
            write(part)
            with part.open('rb+') as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        with suppress(OSError):  # an error of the clean-up would hide the one that matters
            part.unlink(missing_ok=True)


@contextmanager
def write_errors_named(path: Path) -> Iterator[None]:
    """Name the file in every ``OSError`` of writing it: that of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 in one step."""
    write_whole(path, lambda part: part.write_text(text, encoding='utf-8'))


def write_image(pixels: np.ndarray, path: Path, palette: Optional[Sequence[Sequence[int]]] = None, **options: Any) -> None:
    """Write ``pixels``, ``(H, W)`` or ``(H, W, 3)``, as an image file in one step.

    The ending of ``path`` names the format; ``palette`` has 256 RGB colours for the values of ``(H, W)`` uint8 pixels;
    ``options`` are for Pillow's writer.
    """
    Image.init()  # Pillow 9.1 registers all extensions only where no plugin has been imported yet
    encoded = io.BytesIO()  # Pillow's encoders take a write that a full disk cuts short for a whole one
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette([value for colour in palette for value in colour])
    image.save(encoded, Image.registered_extensions()[path.suffix], **options)
    write_whole(path, lambda part: part.write_bytes(encoded.getbuffer()))


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib in one step; the ending of ``path`` names the format."""
    write_whole(path, lambda part: figure.savefig(part, format=path.suffix[1:]))


def check_writable(out: Path) -> None:
    """Refuse a file that cannot be written, before long work. It is the option ``--out`` of a command.

    Raises:
        OSError: it is a folder, or its folder is missing or cannot be written; names both.
    """
    if out.is_dir():
        raise IsADirectoryError(f'--out {quoted(out)} is a folder: name a file')
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f'--out {quoted(out)}: there is no folder {quoted(out.absolute().parent)}')
    if not os.access(out.absolute().parent, os.W_OK):
        raise PermissionError(f'--out {quoted(out)}: the folder {quoted(out.absolute().parent)} cannot be written')


def file_stamp(path: Path) -> List[int]:
    """Size in bytes and time of the last change in nanoseconds, which tell whether a file is still the same."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
