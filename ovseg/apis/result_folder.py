"""Results of the inferencer as files."""
import json
import math
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Type, TypeVar, Union

import numpy as np
from mmengine.logging import print_log

from ovseg.apis.formats import FORMATS, check_formats
from ovseg.apis.image_sources import Source, StoredImage, describe, new_name
from ovseg.apis.painting import write_label_map
from ovseg.apis.request import Request
from ovseg.apis.run_settings import SHOWN, differences
from ovseg.claims import claim
from ovseg.files import file_stamp, write_image, write_whole
from ovseg.inference.nonfinite import ignore_label
from ovseg.utils import expanded, one_line, quoted
from ovseg.version import __version__
from ovseg.vocabulary.word_record import word_record

OnError = Callable[[str, Exception], Any]  # is given the description of an image, or the folder, and an error
T = TypeVar('T')

RESULTS = 'results.json'
CONFIDENCE = ('confidence', 'margin')  # folders of the images of ``Segmentation.confidence``
SECONDS = 30  # between two writings of ``RESULTS``: what a killed run loses
SHARE = 20  # times as long as a writing took, if that is more


class Areas(NamedTuple):
    """Pixels of an image.

    Args:
        counts: ``(K,)`` of each class.
        size: Height and width.
        undefined: Pixels whose scores are not finite.
        nodata: Pixels of a raster without data.
        rejected: Pixels under ``decoder.reject``.
    """
    counts: np.ndarray
    size: Sequence[int]
    undefined: int = 0
    nodata: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        """Pixels with data."""
        return self.size[0] * self.size[1] - self.nodata


def grey_levels(values: np.ndarray, bits: int) -> np.ndarray:
    """``values (H, W)`` in [0, 1] times the largest number of 8 or 16 ``bits``, rounded, uint8 or uint16; NaN becomes 0."""
    dtype = np.dtype(f'uint{bits}')
    return np.nan_to_num(values.astype(np.float64) * np.iinfo(dtype).max).round().astype(dtype)


class ResultFiles(ABC):
    """The files of images in a folder: ``vis/NAME.png``, ``pred/NAME.png`` (``.tif`` of a raster), and ``confidence/NAME.png``
    and ``margin/NAME.png`` where the request says so.

    Args:
        folder: With its sub-folders.
        request: The classes.
        palette: One RGB colour per class.
    """

    def __init__(self, folder: Path, request: Request, palette: Sequence[Sequence[int]]) -> None:
        self.folder, self._names, self._palette, self._bits = folder, request.names, palette, request.confidence_bits

    @abstractmethod
    def __enter__(self) -> 'ResultFiles':
        """Begin to add images."""

    @abstractmethod
    def __exit__(self, kind: Optional[Type[BaseException]], *_: Any) -> None:
        """End, also after an error."""

    @abstractmethod
    def is_done(self, source: Source) -> bool:
        """True for an image that is left out, because it has results."""

    @abstractmethod
    def new_name(self, source: Source, index: int) -> str:
        """The name of the results of an image that is about to be read, the ``index``-th of all."""

    @abstractmethod
    def before_files(self) -> None:
        """Prepare for the files of an image, which are about to be written."""

    @abstractmethod
    def note(self, entry: Dict[str, Any]) -> None:
        """Take the entry for ``results.json`` of an image whose files are written."""

    @abstractmethod
    def fail(self, name: str, source: Source, error: Exception) -> None:
        """Note the error of an image that has no results."""

    @abstractmethod
    def write_formats(self) -> None:
        """Write what is made of all results.

        Raises:
            ValueError: some images are left out of it.
        """

    def export(self, on_error: Optional[OnError]) -> None:
        """Write what is made of all results; an image that is left out of it is an error, as one without results is."""
        try:
            self.write_formats()
        except ValueError as error:
            if on_error is None:
                raise
            on_error(str(self.folder), error)

    def add(self, name: str, source: Source, labels: np.ndarray, areas: Areas, painted: np.ndarray,
            confidence: Optional[np.ndarray] = None) -> None:
        """Write the label map ``(H, W)`` of an image, the image painted by it, ``(H', W', 3)`` RGB, and where the request says
        so its ``confidence (2, H, W)`` as grey images; NaN becomes 0.
        """
        files = dict(pred=f'pred/{name}.png')
        self.before_files()
        with self._named_in_errors():
            write_label_map(labels, self._palette, self.folder / files['pred'])
            if self._bits and confidence is not None:
                for kind, values in zip(CONFIDENCE, confidence):
                    files[kind] = f'{kind}/{name}.png'
                    write_image(grey_levels(values, self._bits), self.folder / files[kind])
        self._finish(name, source, areas, painted, files)

    def add_raster(self, name: str, source: Source, areas: Areas, painted: np.ndarray) -> None:
        """Add a raster whose label map ``write_raster`` has written, and the reduced raster painted by it."""
        self._finish(name, source, areas, painted, dict(pred=f'pred/{name}.tif'))

    def write_raster(self, name: str, write: Callable[[Path], T]) -> T:
        """Write the label map of a raster, whole or not at all, by ``write``, which fills the file that it is given.

        Returns:
            What ``write`` returns.
        """
        returned: List[T] = []
        self.before_files()
        with self._named_in_errors():
            write_whole(self.folder / 'pred' / f'{name}.tif', lambda part: returned.append(write(part)))
        return returned[0]

    def _finish(self, name: str, source: Source, areas: Areas, painted: np.ndarray, files: Dict[str, str]) -> None:
        """Write the painted image and note the results of an image."""
        with self._named_in_errors():
            write_image(painted, self.folder / 'vis' / f'{name}.png')
        total = max(areas.total, 1)
        self.note(dict(
            name=name, source=describe(source), size=[areas.size[1], areas.size[0]],
            files=dict(vis=f'vis/{name}.png', **files),
            areas={class_: dict(pixels=int(pixels), share=float(pixels / total))
                   for class_, pixels in zip(self._names, areas.counts)},
            **(dict(undefined_pixels=areas.undefined) if areas.undefined else {}),
            **(dict(nodata_pixels=areas.nodata) if areas.nodata else {}),
            **(dict(rejected_pixels=areas.rejected) if areas.rejected else {})))

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(f'cannot write into out_dir={str(self.folder)!r}: {error}') from error


class ResultFolder(ResultFiles):
    """A folder of ``ResultFiles`` with ``results.json``, which describes them.

    Files of the same names are replaced; others in the folder stay, and ``results.json`` does not list them. It is replaced
    before the first file is, so that it never lists files of another run; a run that writes no file leaves it as it is.
    As a context, it ends with the writing of ``results.json``, which is also written from time to time; until then no other
    process can write into the folder (``claim``).

    Args:
        folder: Made if need be.
        request: The classes.
        palette: One RGB colour per class.
        model: The name of the config.
        settings: See ``run_settings``.
        resume: Keep the results that are there, and the images that have them are done.
        formats: Names in ``FORMATS``.
        max_pixels: Label maps of more pixels are not read whole for the ``formats``.

    Attributes:
        taken: The names of all results, in lower case.

    Raises:
        OSError: nothing can be written there, or another process is writing there; the message names the folder.
        ValueError: an empty name, more classes than a 16-bit PNG can hold, an unknown format, or results of other settings to
            resume.
    """

    def __init__(self, folder: Union[str, Path], request: Request, palette: Sequence[Sequence[int]], model: str,
                 settings: Dict[str, Any], resume: bool = False, formats: Sequence[str] = (),
                 max_pixels: int = 80_000_000) -> None:
        if folder == '':
            raise ValueError("out_dir='' is empty (the current folder is '.')")  # which it would be, as a Path
        count = len(request.names)
        if count >= 2 ** 16:
            raise ValueError(f'out_dir: {count} classes do not fit into label maps of 16 bits')
        self.formats = check_formats(formats)
        super().__init__(expanded('out_dir', folder), request, palette)
        self.taken: Set[str] = set()
        self.settings, self._max_pixels, self._resumes, ignore = settings, max_pixels, resume, ignore_label(count)
        if ignore > 255:
            print_log(f'{count} classes: the label maps are 16-bit grey, for a palette holds 255 classes', 'current')
        classes = [dict(id=index, name=name, synonyms=synonyms, colour=list(colour))
                   for index, (name, synonyms, colour) in enumerate(zip(request.names, request.vocabulary.synonyms, palette))]
        self._head = dict(ovseg=__version__, model=model, **word_record(request.vocabulary), settings=settings,
                          classes=classes, no_class=ignore,
                          formats={name: FORMATS[name].place for name in self.formats})
        self._images: Dict[str, str] = {}  # the entry of each image as JSON by its name
        self._done: Dict[str, List[Dict[str, Any]]] = {}  # name, stamp and files of each result of a path
        self._files: Dict[str, Dict[str, Any]] = {}  # path or URL and stamp by name, of images that are being segmented
        self._failed: List[Dict[str, str]] = []
        self._written = -math.inf  # the time of the last writing of ``RESULTS``
        self._took = 0.0
        with self._named_in_errors(), ExitStack() as stack:
            stack.enter_context(claim(self.folder))
            if resume:
                self._resume(settings)
            for name in ('vis', 'pred', *(CONFIDENCE if self._bits else ())):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            if (self.folder / RESULTS).is_dir():
                raise IsADirectoryError(f'{RESULTS} is a folder')
            self._claim = stack.pop_all()  # held until the end of the run

    def __enter__(self) -> 'ResultFolder':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: Any) -> None:
        with self._claim, suppress(*([OSError] if kind else [])):  # a second error would hide the first
            if self._is_replaced() or (kind is None and not self._keeps_others()):
                self.write_results()

    def _is_replaced(self) -> bool:
        """True once this run has written ``results.json``."""
        return self._written > -math.inf

    def _keeps_others(self) -> bool:
        """True while the folder holds results of another run, which is not resumed, and no file of them is replaced."""
        return not self._resumes and not self._is_replaced() and (self.folder / RESULTS).exists()

    def before_files(self) -> None:
        """Replace ``results.json``, which may list files of another run, before the first file."""
        if not self._is_replaced():
            self.write_results()

    def new_name(self, source: Source, index: int) -> str:
        """The name of the results of an image that is about to be read, see ``image_sources.new_name``."""
        name = new_name(source, index, self.taken)
        with suppress(OSError):  # it has vanished, as reading it will tell
            found = _file(source)
            if found:
                self._files[name] = found
        return name

    def is_done(self, source: Source) -> bool:
        """True for a URL that has results of the run that is resumed, and for such a file that has not changed since."""
        try:
            file = _file(source)
        except OSError:  # it has vanished, as reading it will tell
            return False
        if file is None or file['path'] not in self._done:
            return False
        if all(done['stamp'] == file['stamp'] and all((self.folder / name).is_file() for name in done['files'])
               for done in self._done[file['path']]):
            return True
        for done in self._done.pop(file['path']):  # so that it counts as new where it is given twice
            del self._images[done['name']]
            self.taken.discard(done['name'].casefold())
        return False

    def note(self, entry: Dict[str, Any]) -> None:
        """Take the entry of an image, and write ``results.json`` from time to time."""
        file = self._files.pop(entry['name'], None)
        self._images[entry['name']] = json.dumps({**entry, **({} if file is None else dict(file=file))}, ensure_ascii=False)
        if time.monotonic() - self._written > max(SECONDS, SHARE * self._took):
            self.write_results()

    def sort(self, names: Sequence[str]) -> None:
        """Bring the images ``names`` into this order, behind those that were there already."""
        self._images.update((name, self._images.pop(name)) for name in names if name in self._images)

    def fail(self, name: str, source: Source, error: Exception) -> None:
        """Note the error of an image that has no results."""
        self._files.pop(name, None)
        self._failed.append(dict(source=describe(source), error=one_line(error)))

    def write_formats(self) -> None:
        """Write the ``formats`` of all results, unless the results of another run are kept.

        Raises:
            OSError: nothing can be written.
            ValueError: label maps that are too large for a format; the others are written.
        """
        if self.formats and not self._keeps_others():
            results = json.loads(self._text())
            with self._named_in_errors():
                left_out = [f'--format {name}: {message}' for name in self.formats
                            for message in FORMATS[name].write(self.folder, results, self._max_pixels)]
            if left_out:
                raise ValueError('; '.join(left_out))

    def write_results(self) -> None:
        """Write ``results.json`` with the images added so far, whole or not at all."""
        start, text = time.monotonic(), self._text()
        with self._named_in_errors():  # a file name that is not UTF-8 becomes an escape, which JSON allows
            write_whole(self.folder / RESULTS,
                        lambda part: part.write_text(text, encoding='utf-8', errors='backslashreplace'))
        self._written = time.monotonic()
        self._took = self._written - start

    def _text(self) -> str:
        head = json.dumps(self._head, ensure_ascii=False, indent=1)[:-2]
        images = ',\n  '.join(self._images.values())
        failed = json.dumps(self._failed, ensure_ascii=False)
        return f'{head},\n "images": [\n  {images}\n ],\n "failed": {failed}\n}}\n'

    def _resume(self, settings: Dict[str, Any]) -> None:
        """Take over the results that are there.

        Raises:
            ValueError: they come from other settings, or ``results.json`` is damaged.
        """
        path = self.folder / RESULTS
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
            before = dict(found['settings'])
            for entry in found['images']:
                self._images[entry['name']] = json.dumps(entry, ensure_ascii=False)
                self.taken.add(entry['name'].casefold())
                if 'file' in entry:
                    self._done.setdefault(entry['file']['path'], []).append(dict(
                        name=entry['name'], stamp=entry['file']['stamp'], files=list(entry['files'].values())))
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{quoted(path)} is damaged ({one_line(error)}), so that nothing tells what the results there '
                             'come from: choose another folder') from error
        different = differences(before, settings)
        if different:
            more = ', ...' if len(different) > SHOWN else ''
            raise ValueError(f'{quoted(self.folder)} holds results of other settings, which must not be mixed (different: '
                             f'{", ".join(different[:SHOWN])}{more}): choose another folder, or leave out --resume')


def _file(source: Source) -> Optional[Dict[str, Any]]:
    """The path or URL of an image and what tells whether it has changed, as JSON holds them; None for others.

    The content of a URL is not compared: its stamp is empty.
    """
    if isinstance(source, str):
        return dict(path=source, stamp=[])
    if isinstance(source, Path):
        return dict(path=str(source.absolute()), stamp=file_stamp(source))
    if isinstance(source, StoredImage):
        return dict(path=str(source), stamp=list(source.stamp))
    return None
