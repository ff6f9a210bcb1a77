"""One call of the inferencer: images read, segmented and written one after the other."""
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.apis.geotiff import open_raster
from ovseg.apis.image_sources import Source, StoredImage, Unfound, describe, new_name, read_image
from ovseg.apis.painting import class_shares, paint
from ovseg.apis.progress import ProgressLine
from ovseg.apis.raster_labels import RasterLabels, label_raster, unlabelled
from ovseg.apis.reading import Reading
from ovseg.apis.request import Request
from ovseg.apis.result_folder import Areas, OnError, ResultFiles
from ovseg.apis.tiff_pages import is_raster
from ovseg.apis.tiles import tiles
from ovseg.extras import MissingPackageError
from ovseg.inference.nonfinite import ignore_label
from ovseg.utils import quoted
from ovseg.vocabulary import Vocabulary

FAILURES = (FloatingPointError, MemoryError, MissingPackageError, OSError, ValueError)  # of an image


class Segmentation(NamedTuple):
    """Result for one image.

    Args:
        name: Of its files in ``out_dir``, unique in one call.
        labels: ``(H, W)`` in the image's own size, indices of classes: uint8 for up to 255 of them, then uint16, uint32.
            A pixel without a class is 255, or the largest value of the wider type; there is one only with ``allow_nonfinite``
            or ``reject``, or where a GeoTIFF has no data. None for a TIFF of more than ``max_pixels``, whose label map is only
            written into ``out_dir``.
        areas: The share of the image (of a GeoTIFF: of its pixels with data) that each class covers, in (0, 1], largest first.
        visualization: ``(H', W', 3)`` uint8 RGB, the image painted by its classes above a legend; None unless asked for. Of a
            large TIFF it is reduced.
        undefined: Number of pixels without a class, because their scores are not finite.
        rejected: Number of pixels without a class, because their probability is under ``reject``.
        confidence: ``(2, H, W)`` float32, the probability of the most probable class before thresholds, and its margin to the
            second; NaN where scores are not finite. None unless asked for.
    """
    name: str
    labels: Optional[np.ndarray]
    areas: Dict[str, float]
    visualization: Optional[np.ndarray]
    undefined: int = 0
    rejected: int = 0
    confidence: Optional[np.ndarray] = None


class NamedImage(NamedTuple):
    """An image that has been read.

    Args:
        name: Of its results.
        source: What it was read from.
        pixels: ``(H, W, 3)`` uint8 BGR.
        path: Path or URL; empty for an array, a PIL image or a tile.
    """
    name: str
    source: Source
    pixels: np.ndarray
    path: str


class Call(NamedTuple):
    """The arguments of ``OVSegInferencer.stream`` that labels depend on.

    Args:
        request: The classes.
        palette: One RGB colour per class.
        reading: How images are read.
        batch_size: Images or tiles per forward pass.
        allow_nonfinite: Go on where scores are not finite.
    """
    request: Request
    palette: List[List[int]]
    reading: Reading
    batch_size: int
    allow_nonfinite: bool


class Texts(NamedTuple):
    """The words of a ``Call`` with its background words, and their text embeddings ``(Q, E)``."""
    words: Vocabulary
    rows: Tensor


@dataclass(frozen=True)
class Run:
    """A call of ``OVSegInferencer.stream``; see there.

    Args:
        predict: The result of ``CLIPSegmentor.predict`` for each of several images.
        request: The classes.
        palette: One RGB colour per class.
        max_pixels: Larger images are refused, and larger TIFF files read window by window.
    """
    predict: Callable[[Sequence[NamedImage]], List[SegDataSample]]
    request: Request
    palette: List[List[int]]
    max_pixels: int
    batch_size: int
    folder: Optional[ResultFiles]
    return_vis: bool
    on_error: Optional[OnError]
    reading: Reading
    progress: ProgressLine

    def segment(self, sources: Iterator[Union[Source, Unfound]]) -> Iterator[Segmentation]:
        """The result of each image, read when it is its turn."""
        with ExitStack() as stack:
            if self.folder:
                stack.enter_context(self.folder)
            stack.enter_context(self.progress)
            batch: List[NamedImage] = []
            named = self._named(self.progress.images(sources))
            while True:
                try:
                    name, source = next(named)
                except StopIteration:
                    break
                except Exception:  # of any kind, raised by the iterable of images: what has been read before is not lost
                    yield from self._segment_images(batch)
                    raise
                try:
                    raster = self._raster(source)
                    if raster and self.request.decoder.with_confidence:
                        raise _no_confidence(raster)
                except FAILURES as error:
                    self._failed(name, source, error)
                    continue
                if raster is None:
                    batch += self._read(name, source)
                if raster or len(batch) == self.batch_size:
                    yield from self._segment_images(batch)
                    batch = []
                if raster:
                    yield from self._segment_raster(name, raster)
            yield from self._segment_images(batch)
            if self.folder:
                self.folder.export(self.on_error)

    def _read(self, name: str, source: Source) -> List[NamedImage]:
        """The image, or none after an error; an array that is not uint8 is one."""
        try:
            pixels = read_image(source, self.max_pixels, self.reading.bit_depth)
        except (*FAILURES, TypeError) as error:
            self._failed(name, source, error)
            return []
        return [NamedImage(name, source, pixels, str(source) if isinstance(source, (str, Path, StoredImage)) else '')]

    def _raster(self, source: Source) -> Optional[Path]:
        """The path of a source that is read window by window.

        Raises:
            ValueError: it is none, and options are given that only such files have.
        """
        if isinstance(source, Path) and is_raster(source, self.max_pixels, self.reading):
            return source
        given = self.reading.for_rasters
        if given:
            raise ValueError(f'{quoted(describe(source))} is not a TIFF file of this machine, or it is damaged, and '
                             f'{" and ".join(given)} can be used with such files only: leave the image or the option out')
        return None

    def _named(self, sources: Iterator[Union[Source, Unfound]]) -> Iterator[Tuple[str, Source]]:
        """The sources whose results are not there yet, with the names of their results."""
        taken: set = set()
        for index, source in enumerate(sources):
            if isinstance(source, Unfound):
                self._failed('', source.item, source.error)
            elif self.folder is None:
                yield new_name(source, index, taken), source
            elif not self.folder.is_done(source):
                yield self.folder.new_name(source, index), source

    def _segment_images(self, batch: Sequence[NamedImage]) -> Iterator[Segmentation]:
        """The results of images; where their batch fails, each is segmented alone."""
        if not batch:
            return
        try:
            samples = self.predict(batch)
        except FAILURES as error:
            if len(batch) == 1:
                self._failed(batch[0].name, batch[0].source, error)
            elif self.on_error is None:
                raise
            else:
                for image in batch:
                    yield from self._segment_images([image])
            return
        names = self.request.names
        for image, sample in zip(batch, samples):
            counts = sample.pred_sem_seg.data[0].flatten().bincount(minlength=len(names))[:len(names)].cpu().numpy()
            labels, undefined = _label_map(sample, len(names)), sample.get('nonfinite_pixels', 0)
            rejected = labels.size - int(counts.sum()) - undefined
            confidence = sample.confidence.data.cpu().numpy() if 'confidence' in sample else None
            shares = class_shares(counts, labels.size, names)
            painted = None
            if self.return_vis or self.folder:
                without = dict(undefined=undefined / labels.size, rejected=rejected / labels.size)
                painted = paint(image.pixels, labels, self.palette, shares, names, without)
                if self.folder:
                    areas = Areas(counts, labels.shape, undefined, rejected=rejected)
                    self.folder.add(image.name, image.source, labels, areas, painted, confidence)
            yield Segmentation(image.name, labels, shares, painted if self.return_vis else None, undefined, rejected,
                               confidence)

    def _segment_raster(self, name: str, source: Path) -> Iterator[Segmentation]:
        """The result of a TIFF that is read window by window."""
        names = self.request.names

        def predict(images: List[np.ndarray]) -> List[np.ndarray]:
            batch = [NamedImage(name, source, pixels, '') for pixels in images]
            return [_tile_labels(sample, len(names)) for sample in self.predict(batch)]

        try:
            with open_raster(source, self.reading, self.max_pixels) as raster:
                height, width = raster.size
                labels = unlabelled(raster.size, len(names)) if height * width <= self.max_pixels else None
                if labels is None and self.folder is None:
                    raise ValueError(f'{raster.name} has {width} x {height} pixels, more than max_pixels={self.max_pixels}: '
                                     'give an out_dir for its label map')

                def label(path: Optional[Path] = None) -> RasterLabels:
                    parts = list(tiles(height, width, self.reading.tile, self.reading.overlap))
                    return label_raster(raster, self.progress.tiles(raster.name, parts), predict, self.palette, self.batch_size,
                                        labels, path)

                found = self.folder.write_raster(name, label) if self.folder else label()
        except (FloatingPointError, MemoryError, MissingPackageError, ValueError) as error:  # an OSError is one of out_dir
            self._failed(name, source, error)
            return
        shares = class_shares(found.counts, found.valid, names)
        painted = None
        if self.return_vis or self.folder:
            valid = max(found.valid, 1)
            without = dict(undefined=found.undefined / valid, rejected=found.rejected / valid)
            painted = paint(found.image, found.labels, self.palette, shares, names, without)
            if self.folder:
                nodata = height * width - found.valid
                areas = Areas(found.counts, (height, width), found.undefined, nodata, found.rejected)
                self.folder.add_raster(name, source, areas, painted)
        yield Segmentation(name, labels, shares, painted if self.return_vis else None, found.undefined, found.rejected)

    def _failed(self, name: str, source: Source, error: Exception) -> None:
        """Note the error of an image, and go on if that is wanted."""
        if self.folder:
            self.folder.fail(name, source, error)
        if self.on_error is None:
            raise error
        self.on_error(describe(source), error)


def check_confidence(sources: Sequence[Source], max_pixels: int, reading: Reading) -> None:
    """Refuse the confidence of files that are read window by window; those that cannot be read are errors in their turn.

    Raises:
        ValueError: names the first such file.
    """
    for source in sources:
        raster = False
        with suppress(OSError, ValueError):
            raster = isinstance(source, Path) and is_raster(source, max_pixels, reading)
        if raster:
            raise _no_confidence(source)


def _no_confidence(source: Source) -> ValueError:
    return ValueError(f'{quoted(describe(source))} is read in tiles, as every GeoTIFF and large TIFF is, and confidence is '
                      'given of images only: leave the file or confidence (--confidence) out')


def _tile_labels(sample: SegDataSample, count: int) -> np.ndarray:
    """The labels ``(H, W)`` of a tile, as ``label_tiles`` wants them."""
    labels, ignore = sample.pred_sem_seg.data[0].cpu().numpy(), ignore_label(count)
    rejected = labels == ignore
    if 'undefined' in sample:
        rejected &= ~sample.undefined.data[0].cpu().numpy()
    return np.where(rejected, ignore + 1, labels)


def _label_map(sample: SegDataSample, count: int) -> np.ndarray:
    """The labels ``(H, W)`` of one of ``count`` classes, of the smallest type in which one more value is free."""
    return sample.pred_sem_seg.data[0].cpu().numpy().astype(np.min_scalar_type(count))
