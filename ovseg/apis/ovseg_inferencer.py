"""Segmentation of images by class names."""
import copy
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ovseg  # noqa: F401  registers everything
from ovseg.apis.image_sources import describe, find_sources
from ovseg.apis.model_config import config_name, load_config
from ovseg.apis.painting import class_colours
from ovseg.apis.progress import ProgressLine
from ovseg.apis.reading import Reading
from ovseg.apis.request import BackgroundNames, ClassList, Request, make_request
from ovseg.apis.result_folder import OnError, ResultFiles, ResultFolder
from ovseg.apis.run_settings import run_settings
from ovseg.apis.runs import Call, NamedImage, Run, Segmentation, Texts, check_confidence
from ovseg.components import named_errors
from ovseg.devices import usable
from ovseg.models import CLIPSegmentor
from ovseg.models.segmentors.diagnosis import explain_nonfinite
from ovseg.models.segmentors.switches import COMPONENTS, DEFAULTS
from ovseg.utils import check_integer, quoted, type_name
from ovseg.vocabulary.diagnosis import diagnose

WITHOUT_A_MODEL = 'gated_tiny-clip'
VARIABLE = [key for key in COMPONENTS if key != 'clip']  # of a model with the same weights
UNRESIZED = 5  # a pixel of the network's input takes as much memory as so many that are only labelled


class OVSegInferencer:
    """Segments images by class names: ``OVSegInferencer('gated_vit-b16')('cat.jpg', classes=['cat', 'sofa; couch', 'grass'])``.

    The counterpart of mmseg's ``MMSegInferencer``. It is no ``BaseInferencer``: that one finds models in the metafiles of the
    packages it knows, wants a visualizer in every config, and makes lists of all images and results.

    Args:
        model: The name of a config (``'gated_vit-b16'``, ``'naclip_vit-b16_voc21'``; ``ovseg list configs``), a path to one,
            or a config as a dict. None for the tiny CLIP that comes with ovseg, works offline and knows 16 class names.
        weights: CLIP weights in place of the config's: an open_clip tag, a file or a folder.
        device: Where to compute; by default the GPU, if there is one.
        cfg_options: Settings of the config by dotted key: ``{'model.decoder.logit_scale': 50, 'model.apply_ctd': True}``.
        max_pixels: Larger images are refused, but for TIFF files, which are cut into tiles; so are those of over a fifth of it
            where the config's pipeline has no Resize, as that of the tiny CLIP.

    Raises:
        FileNotFoundError: no such config file, or weights that are not on disk and cannot be downloaded.
        ValueError: an unknown name, no config, one whose model is no ``CLIPSegmentor``, a device that cannot be used, or a
            setting that the model or the pipeline refuses.
    """

    def __init__(self, model: Union[str, Path, Mapping[str, Any], Config, None] = None,
                 weights: Union[str, Path, None] = None, device: Union[str, torch.device, None] = None, *,
                 cfg_options: Optional[Mapping[str, Any]] = None, max_pixels: int = 80_000_000) -> None:
        self.max_pixels = check_integer('max_pixels', max_pixels, 1)
        device = usable(get_device() if device is None else device)
        self.cfg = load_config(WITHOUT_A_MODEL if model is None else model, weights, cfg_options or {})
        self.model, self.pipeline = _build(self.cfg)
        self.model.to(device).eval()
        self.model.cfg = self.cfg  # where mmseg.apis.inference_model looks for the pipeline
        self._configured = self.model.vocabulary, self.model.decoder
        self._lock = threading.Lock()
        if model is None:
            names = ', '.join(self.model.class_names)
            print_log(f'No model was named, so this is the tiny CLIP of the demo. It knows {self.model.out_channels} class '
                      f'names ({names}) and no photographs. For photographs name a model: '
                      "--model gated_vit-b16 on the command line, OVSegInferencer('gated_vit-b16') in Python.", 'current')

    def __call__(self, images: Any, classes: Optional[ClassList] = None, *, return_vis: bool = False,
                 **options: Any) -> Dict[str, list]:
        """Segment images; ``stream`` does the same for more of them than memory holds, and describes the arguments.

        Returns:
            Lists with one item per image: ``predictions``, ``areas``, ``names`` and ``visualization`` (empty without
            ``return_vis``), which are the fields of ``Segmentation``.
        """
        found = list(self.stream(images, classes, return_vis=return_vis, **options))
        return dict(predictions=[item.labels for item in found],
                    visualization=[item.visualization for item in found if return_vis],
                    names=[item.name for item in found], areas=[item.areas for item in found])

    def stream(self, images: Any, classes: Optional[ClassList] = None, *,
               background: Optional[BackgroundNames] = None, threshold: Optional[float] = None, batch_size: int = 1,
               out_dir: Union[str, Path, None] = None, formats: Sequence[str] = (), resume: bool = False,
               return_vis: bool = False, show_progress: bool = True, allow_nonfinite: bool = False,
               on_error: Optional[OnError] = None, tile: int = 1024, overlap: int = 128,
               bands: Optional[Sequence[int]] = None, bit_depth: Optional[int] = None, nodata: Optional[float] = None,
               confidence: int = False, reject: Optional[float] = None) -> Iterator[Segmentation]:
        """Yield one ``Segmentation`` after the other; an image is read when it is its turn.

        Wrong arguments are refused at once, not with the first image.

        Args:
            images: A path, a URL, an array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` (uint8, BGR as OpenCV reads it), a PIL
                image, a folder, or several of these in a list or any iterable. See ``read_image``. A GeoTIFF, or a TIFF of more
                than ``max_pixels`` or more than four bands, is cut into tiles, each of which is segmented as one image.
            classes: One string per class, synonyms separated by commas or semicolons; or a bundled class list; or a text
                file. None for the config's own.
            background: Names for all that is none of the classes (``'wall, sky'``); they become class 0, ``'background'``.
                ``'auto'``, or the keywords of ``Background``, chooses them.
            threshold: Pixels whose best class has a probability under it become background; in [0, 1].
            batch_size: Images or tiles per forward pass.
            out_dir: Write ``vis/NAME.png``, ``pred/NAME.png`` and ``results.json`` there. See ``new_name`` for NAME.
            formats: Write these into ``out_dir`` at the end: ``'coco'``, ``'csv'``, ``'geojson'``, ``'masks'``.
            resume: Leave out the files whose results of the same classes and the same model are in ``out_dir``.
            return_vis: Return the painted images too.
            show_progress: Show a line on a terminal, for more than three images or for tiles.
            allow_nonfinite: Go on where scores are not finite (NaN or Inf): their pixels then have no class, are not painted,
                and belong to no area. See ``CLIPSegmentor.predict``.
            on_error: Is called with the description of an image and its error, and the others are segmented. None raises it.
            tile: Side of the tiles of a TIFF, in pixels; at least that of the model's windows.
            overlap: Pixels that neighbouring tiles share. A pixel takes its label from the tile whose centre is nearest.
            bands: The bands of a TIFF that become red, green and blue, or the one that becomes grey, counted from 1. With
                ``bands`` or ``nodata``, an image that is not a TIFF file of this machine is an error.
            bit_depth: Bits of the values in images of more than 8 bits. None scales by the range of an image's values.
            nodata: A pixel of a TIFF that has this value in all bands has no data.
            confidence: Return the ``confidence`` of each pixel, too; 8 or 16 besides writes ``confidence/NAME.png`` and
                ``margin/NAME.png`` into ``out_dir``, grey images of so many bits. Not for what is cut into tiles.
            reject: Pixels whose most probable class has a probability under it get no class; in [0, 1].

        Raises:
            FileNotFoundError: an image that is not there.
            FloatingPointError: scores of an image are not finite: names the image, and the module that they come from. Or
                the text embedding of a class name is not.
            MemoryError: a GPU has too little memory.
            OSError: ``out_dir`` cannot be written into.
            TypeError: ``images`` or a part of it is nothing of that kind.
            ValueError: an image that cannot be read or is too large, no or repeated class names, a threshold without
                background, results of other settings to resume, a format that cannot be written, or wrong tiles,
                bands, ``nodata``, ``confidence`` or ``reject``.
        """
        if out_dir is None and (formats or resume):
            raise ValueError('formats and resume need an out_dir')
        reading = Reading(tile, overlap, bands, bit_depth, nodata)
        call = self.call(classes, background, threshold, batch_size, allow_nonfinite, reading, confidence, reject)
        sources = find_sources(images)
        if call.request.decoder.with_confidence and isinstance(sources, list):
            check_confidence(sources, self.max_pixels, call.reading)
        with self._lock:
            self._use(call.request, anew=True)  # warns in every call of the class names that CLIP cuts
        folder = None if out_dir is None else self.result_folder(call, out_dir, formats, resume)
        progress = ProgressLine(len(sources) if isinstance(sources, list) else None, show_progress)
        return self.run(call, folder, return_vis, on_error, progress).segment(iter(sources))

    def call(self, classes: Optional[ClassList], background: Optional[BackgroundNames], threshold: Optional[float],
             batch_size: int, allow_nonfinite: bool, reading: Reading, confidence: int, reject: Optional[float]) -> Call:
        """The arguments of ``stream`` that labels depend on, checked."""
        check_integer('batch_size', batch_size, 1)
        if np.iterable(reading.bands) and not isinstance(reading.bands, str):  # arrays, too; others are refused
            reading = reading._replace(bands=tuple(reading.bands))
        reading.check(self.model.windows.crop)
        request = self.request(classes, background, threshold).with_confidence(confidence, reject)
        palette = class_colours(len(request.names), background is not None)
        return Call(request, palette, reading, batch_size, allow_nonfinite)

    def settings(self, call: Call) -> Dict[str, Any]:
        """See ``run_settings``."""
        return run_settings(self.cfg, self.model, self._named(call), call.reading, self.max_pixels)

    def result_folder(self, call: Call, out_dir: Union[str, Path], formats: Sequence[str], resume: bool) -> ResultFolder:
        """The folder of the results of a call, claimed for this process; for the arguments see ``stream``."""
        with self._lock:
            self._use(call.request, anew=False)
            named, settings = self._named(call), self.settings(call)
        return ResultFolder(out_dir, named, call.palette, config_name(self.cfg), settings, resume, formats, self.max_pixels)

    def run(self, call: Call, folder: Optional[ResultFiles], return_vis: bool, on_error: Optional[OnError],
            progress: ProgressLine) -> Run:
        """The work of a call; for the arguments see ``stream``."""
        return Run(lambda batch: self._predict(batch, call.request, call.allow_nonfinite), call.request, call.palette,
                   self.max_pixels, call.batch_size, folder, return_vis, on_error, call.reading, progress)

    def texts(self, call: Call) -> Texts:
        """The words of a call and their embeddings, for ``use_texts`` of an equal inferencer in another process."""
        with self._lock:
            self._use(call.request, anew=True)
            return Texts(self.model.words, self.model.text_embeddings.cpu())

    def use_texts(self, call: Call, texts: Texts) -> None:
        """Take the words of a call with their embeddings, which then are not encoded here."""
        with self._lock:
            self._replace_components(call.request)
            self.model.use_texts(*texts)

    def _named(self, call: Call) -> Request:
        """The request of a call with the background words that were chosen."""
        return call.request._replace(vocabulary=self.model.words)

    def variant(self, cfg_options: Mapping[str, Any]) -> 'OVSegInferencer':
        """An inferencer of the same CLIP, which is not loaded again, with other settings.

        Args:
            cfg_options: As in the constructor; of the model they may change the components but ``clip``.

        Raises:
            ValueError: a setting that the model or the pipeline refuses, or another one of the model.
        """
        other = copy.copy(self)
        other.cfg = load_config(self.cfg, None, cfg_options)
        old, new = self.cfg.model, other.cfg.model
        for key in {**old, **new}:
            if key not in VARIABLE and old.get(key) != new.get(key):
                raise ValueError(f'model.{key} cannot be changed in a variant, which may have others of {", ".join(VARIABLE)}')
        components = {key: new.get(key, DEFAULTS.get(key)) for key in VARIABLE}
        if old.get('upsampler') == new.get('upsampler'):
            components['upsampler'] = self.model.upsampler  # the only component with weights of its own
        other.model = self.model.variant(**components)
        other.model.cfg, other.pipeline = other.cfg, _pipeline(other.cfg)
        other._configured, other._lock = (other.model.vocabulary, other.model.decoder), threading.Lock()  # noqa: SLF001
        return other

    def request(self, classes: Optional[ClassList], background: Optional[BackgroundNames] = None,
                threshold: Optional[float] = None) -> Request:
        """The classes that a call with these arguments asks for; see ``make_request``."""
        return make_request(*self._configured, classes, background, threshold)

    def _use(self, request: Request, anew: bool) -> None:
        """Give the model the classes of a request and encode their names; ``anew``: even if it has these classes already."""
        if anew or (self.model.vocabulary, self.model.decoder) != (request.vocabulary, request.decoder):
            self._replace_components(request)
        rows = self.model.text_embeddings  # encoded here and now, if need be
        if anew:
            for line in diagnose(self.model.words.synonyms, rows):
                print_log(line, 'current', 30)

    def _replace_components(self, request: Request) -> None:
        """Give the model the classes of a request, without encoding their names."""
        self.model = self.model.variant(vocabulary=request.vocabulary, decoder=request.decoder)
        self.model.cfg = self.cfg

    @torch.no_grad()
    def _predict(self, batch: Sequence[NamedImage], request: Request, allow_nonfinite: bool) -> List[SegDataSample]:
        """The result of ``CLIPSegmentor.predict`` for the images."""
        packed = [self.prepare(describe(image.source), image.pixels, image.path) for image in batch]
        data = {key: [item[key] for item in packed] for key in packed[0]}
        with self._lock:  # another call, perhaps of another thread, may have given the model other class names
            self._use(request, anew=False)
            try:
                samples = self.model.test_step(data)
                for image, inputs, sample in zip(batch, data['inputs'], samples):
                    if 'nonfinite_pixels' in sample and not allow_nonfinite:
                        preprocessed = self.model.data_preprocessor(dict(inputs=[inputs]))['inputs'][0]
                        reason = explain_nonfinite(self.model, preprocessed)
                        raise FloatingPointError(f'{quoted(describe(image.source))}: {reason}')
                return samples
            except torch.cuda.OutOfMemoryError as error:
                sources = ', '.join(quoted(describe(image.source)) for image in batch)
                raise MemoryError(f'{sources}: the GPU has too little memory. Lower batch_size or model.windows.batch_size, '
                                  f"set model.windows.crop, or take device='cpu' ({str(error).splitlines()[0]})") from error

    def prepare(self, source: str, image: np.ndarray, path: str = '') -> Dict[str, Any]:
        """Apply the config's test pipeline to an image, which errors call ``source``; region maps are found by its ``path``."""
        size = image.shape[:2]
        try:
            packed = self.pipeline(dict(img=image, img_path=path, img_shape=size, ori_shape=size))
        except cv2.error as error:
            raise ValueError(f"{quoted(source)} cannot be resized as the config's pipeline says: {size[1]} x {size[0]} "
                             'pixels are too few or too long and narrow') from error
        height, width = packed['inputs'].shape[1:]
        if height * width > self.max_pixels // UNRESIZED:
            raise ValueError(f'{quoted(source)} would reach the network with {width} x {height} pixels, and only one '
                             f'{UNRESIZED}th of max_pixels={self.max_pixels} may, for each takes some 160 bytes of memory: '
                             'choose a config whose pipeline has a Resize, make the image smaller, or raise max_pixels')
        return packed


def _build(cfg: Config) -> Tuple[CLIPSegmentor, Compose]:
    """The model of a config, and its test pipeline without the loading."""
    name = config_name(cfg)
    with DefaultScope.overwrite_default_scope('mmseg'), named_errors(name):
        model = MODELS.build(cfg.model)
        if not isinstance(model, CLIPSegmentor):
            raise ValueError(f'the model of {quoted(name)} is a {type(model).__name__}; class names need a CLIPSegmentor')
        return model, _pipeline(cfg)


def _pipeline(cfg: Config) -> Compose:
    """The test pipeline of a config without the loading."""
    with DefaultScope.overwrite_default_scope('mmseg'), named_errors(config_name(cfg)):
        return Compose([transform for transform in cfg.test_dataloader.dataset.pipeline
                        if not type_name(transform['type']).rsplit('.', 1)[-1].startswith('Load')])
