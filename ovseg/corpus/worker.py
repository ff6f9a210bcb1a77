"""The part of a worker: it labels the images that it is given, and writes their files."""
import json
import os
import pickle
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Type

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from PIL import Image

from ovseg.apis import OVSegInferencer
from ovseg.apis.image_sources import Source
from ovseg.apis.progress import ProgressLine
from ovseg.apis.result_folder import ResultFiles
from ovseg.apis.run_settings import SHOWN, differences
from ovseg.apis.runs import Call, Texts
from ovseg.corpus.attempts import LOADING, MOST, Attempts
from ovseg.program import ERRORS
from ovseg.utils import one_line

Row = Dict[str, Any]  # kind, name and text of a message of a worker
DONE, FAILED, FATAL = 'done', 'failed', 'fatal'
LOST = f'its worker ended {MOST} times while the image was segmented: is there too little memory?'


class Named(NamedTuple):
    """An image, and the name of its results."""
    name: str
    source: Source


class Job(NamedTuple):
    """Everything that a worker needs apart from the images.

    Args:
        cfg: The config of the model.
        call: The classes and options.
        texts: The text embeddings of the classes.
        settings: Of the run; those of a worker must be the same, see ``run_settings``.
        max_pixels: Larger images are refused.
        device: Where a worker computes.
        threads: Of a worker on the CPU; None where PyTorch chooses.
        folder: Of the results, with its sub-folders.
        working_dir: Of the driver, which relative paths begin in.
    """
    cfg: Config
    call: Call
    texts: Texts
    settings: Dict[str, Any]
    max_pixels: int
    device: str
    threads: Optional[int]
    folder: Path
    working_dir: str


class Worker:
    """Labels images with a model that is loaded once.

    Args:
        job: What is to be done.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._inferencer: Optional[OVSegInferencer] = None

    def __call__(self, task: Mapping[str, bytes]) -> List[Row]:
        """Write the results of the images of a task: ``item`` is its number and a list of ``Named``, pickled.

        Returns:
            A row for each image: of kind ``DONE`` with its entry for ``results.json``, or ``FAILED`` with its error. Or only
            one of kind ``FATAL``, if nothing can be done here or written: the error that ends the run.
        """
        number, images = pickle.loads(task['item'])  # noqa: S301  of the driver
        try:
            with Attempts(self._job.folder, number) as attempts:
                return self._label(images, attempts)
        except ERRORS as error:
            return [dict(kind=FATAL, name='', text=f'{socket.gethostname()}: {one_line(error)}')]

    def _label(self, images: Sequence[Named], attempts: Attempts) -> List[Row]:
        """The rows of images, but for those that have ended workers too often."""
        if LOADING in attempts.given_up:
            raise MemoryError(f'its worker ended {MOST} times while it loaded the model: is there too little memory?')
        if self._inferencer is None:
            attempts.begin(LOADING)
            self._inferencer = self._loaded()
        lost = [image for image in images if image.name in attempts.given_up]
        images = [image for image in images if image not in lost]
        results = _Results(self._job, images, attempts)
        call = self._job.call
        if len(attempts.ended) > 1:  # one by one, so that the image that ends workers becomes known
            call = call._replace(batch_size=1)
        run = self._inferencer.run(call, results, False, lambda source, error: None, ProgressLine(None, False))
        for _ in run.segment(iter(image.source for image in images)):
            pass
        return [*results.rows, *(dict(kind=FAILED, name=image.name, text=LOST) for image in lost)]

    def _loaded(self) -> OVSegInferencer:
        job = self._job
        with suppress(OSError):  # another machine may lack the folder, and paths are absolute
            os.chdir(job.working_dir)
        if job.threads:
            torch.set_num_threads(job.threads)
        Image.MAX_IMAGE_PIXELS = None  # max_pixels is the limit that counts
        import_modules_from_strings(**job.cfg.get('custom_imports', dict(imports=[])))  # as the reader of the config has done
        inferencer = OVSegInferencer(job.cfg, device=job.device, max_pixels=job.max_pixels)
        inferencer.use_texts(job.call, job.texts)
        different = differences(job.settings, inferencer.settings(job.call))
        if different:
            raise ValueError(f'labels would be others than on the machine where the run was started (different: '
                             f'{", ".join(different[:SHOWN])})')
        return inferencer


class _Results(ResultFiles):
    """The files of some images, and the rows for the driver, which writes ``results.json``."""

    def __init__(self, job: Job, images: Sequence[Named], attempts: Attempts) -> None:
        super().__init__(job.folder, job.call.request, job.call.palette)
        self.rows: List[Row] = []
        self._images, self._attempts = images, attempts

    def __enter__(self) -> '_Results':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: Any) -> None:
        pass

    def is_done(self, source: Source) -> bool:
        return False

    def new_name(self, source: Source, index: int) -> str:
        name = self._images[index].name
        self._attempts.begin(name)
        return name

    def before_files(self) -> None:
        pass

    def note(self, entry: Dict[str, Any]) -> None:
        self.rows.append(dict(kind=DONE, name=entry['name'], text=json.dumps(entry)))

    def fail(self, name: str, source: Source, error: Exception) -> None:
        self.rows.append(dict(kind=FAILED, name=name, text=one_line(error)))

    def write_formats(self) -> None:
        pass
