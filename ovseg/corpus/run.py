"""A run over many images on a cluster, from the names of the sources to the folder of results."""
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from ovseg.apis import OVSegInferencer
from ovseg.apis.image_sources import Source, StoredImage, describe
from ovseg.apis.result_folder import OnError, ResultFolder
from ovseg.apis.runs import Call, check_confidence
from ovseg.corpus import engine
from ovseg.corpus.nodes import Workers, plan_workers
from ovseg.corpus.progress import CollectionProgress
from ovseg.corpus.sources import find_images
from ovseg.corpus.worker import DONE, Job, Named
from ovseg.utils import quoted

ADDRESS = re.compile(r'[a-z][a-z0-9+.-]+:/', re.IGNORECASE)  # of a store; pathlib has made one slash of two


class Cluster(NamedTuple):
    """The cluster and the devices of a run.

    Args:
        address: Of the cluster, see ``engine.connected``.
        device: ``'cpu'`` or ``'cuda'``; None takes GPUs, if there are any.
        cpus_per_worker: See ``plan_workers``.
    """
    address: Optional[str]
    device: Optional[str]
    cpus_per_worker: Optional[int]


class Model(NamedTuple):
    """The functions that build the inferencer of a run, once the cluster is found, and the arguments of its call."""
    build: Callable[[], OVSegInferencer]
    call: Callable[[OVSegInferencer], Call]


class Output(NamedTuple):
    """The folder of the results and its files; see ``OVSegInferencer.stream``."""
    folder: Path
    formats: Sequence[str]
    resume: bool
    on_error: OnError
    left_out: List[str]  # is given the files that are no images by their names


def label_images(items: Sequence[str], model: Model, output: Output, cluster: Cluster) -> Iterator[Dict[str, Any]]:
    """Write the results of images into a folder, by workers on a cluster of Ray.

    Args:
        items: See ``find_images``.
        model: The model and its classes.
        output: The folder that all machines share.
        cluster: Where to compute.

    Yields:
        The entry of each new image in ``results.json``, in any order; in the file they are in the order of the images.

    Raises:
        ConnectionError: there is no cluster at the address.
        FileNotFoundError: an item that is not there.
        MissingPackageError: Ray is missing.
        OSError: the folder cannot be written into.
        ValueError: what ``OVSegInferencer.stream`` refuses; or a machine has other versions or does not share the folder, or
            a shard is damaged.
    """
    if ADDRESS.match(str(output.folder)):
        raise ValueError(f'--out={quoted(output.folder)} must be a folder that all machines share; stores are only read')
    with engine.connected(cluster.address) as ray:
        workers = plan_workers(ray.nodes(), cluster.device, cluster.cpus_per_worker)
        sources, left_out = find_images(items, partial(engine.index_shards, ray))
        output.left_out.extend(left_out)
        inferencer = model.build()
        call = model.call(inferencer)
        if call.request.decoder.with_confidence:
            check_confidence(sources, inferencer.max_pixels, call.reading)
        texts = inferencer.texts(call)
        _check_machines(ray, workers, output.folder.absolute(), sources)  # before results of an earlier run are replaced
        with inferencer.result_folder(call, output.folder.absolute(), output.formats, output.resume) as folder:
            images = [Named(folder.new_name(source, index), source) for index, source in enumerate(sources)
                      if not folder.is_done(source)]
            job = Job(inferencer.cfg, call, texts, folder.settings, inferencer.max_pixels, workers.device,
                      workers.cpus, folder.folder, os.getcwd())
            if images:
                folder.before_files()  # of the workers
            try:
                yield from _label(ray, job, images, workers, folder, output.on_error)
            finally:
                ray.shutdown()  # so that workers end before the folder is free for another run
            folder.sort([image.name for image in images])
            folder.export(output.on_error)


def _label(ray: Any, job: Job, images: Sequence[Named], workers: Workers, folder: ResultFolder,
           on_error: OnError) -> Iterator[Dict[str, Any]]:
    """Take the rows of the workers into the folder."""
    sources = {image.name: image.source for image in images}
    with CollectionProgress(len(images)) as progress:
        for row in engine.labelled(ray, job, images, workers):
            if row['kind'] == DONE:
                entry = json.loads(row['text'])
                folder.note(entry)
                yield entry
            else:
                source, error = sources[row['name']], ValueError(row['text'])
                folder.fail(row['name'], source, error)
                on_error(describe(source), error)
            progress.advance()


def _check_machines(ray: Any, workers: Workers, out: Path, sources: Sequence[Source]) -> None:
    """See ``engine.check_nodes``; the folder is made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        engine.check_nodes(ray, workers, out, _first_file(sources))
    except OSError as error:
        raise OSError(f'cannot write into out_dir={str(out)!r}: {error}') from error


def _first_file(sources: Sequence[Source]) -> Optional[Path]:
    """The absolute path of the first image or shard that is a file of this machine, which other machines must see, too."""
    places = (source.place if isinstance(source, StoredImage) else source for source in sources)
    return next((place.absolute() for place in places if isinstance(place, Path) and place.is_file()), None)
