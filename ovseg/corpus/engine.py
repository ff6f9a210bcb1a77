"""The part of Ray: the only module that imports it."""
import logging
import os
import pickle
import re
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ovseg.apis.image_sources import StoredImage
from ovseg.corpus.nodes import Workers, check_states, node_name, state
from ovseg.corpus.sources import Shard, shard_images
from ovseg.corpus.worker import FATAL, Job, Named, Row, Worker
from ovseg.extras import needed
from ovseg.utils import one_line, quoted

PATIENCE = 5  # seconds for a connection to the address
SETTINGS = b'\4'  # the type of a frame of HTTP/2, the first of each side
HTTP2 = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0\0\0' + SETTINGS + b'\0\0\0\0\0'
ANSWER = 300  # seconds for the answer of a machine, which imports torch
IMAGES_PER_TASK = 8  # what a worker that ends loses, but for very many images
MOST_TASKS = 20_000  # which the driver holds


@contextmanager
def connected(address: Optional[str]) -> Iterator[Any]:
    """The package ray, connected to a cluster until the end of the context.

    Args:
        address: ``'HOST:PORT'`` of a cluster, or ``'auto'`` for the one that this machine belongs to. None starts Ray on this
            machine, for this run alone.

    Raises:
        ConnectionError: there is no cluster.
        MissingPackageError: Ray is not installed.
        ValueError: no address, or a cluster with another version of Python or Ray.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # Ray would send statistics to its makers
    os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')  # it prints lines that do not concern the user
    ray = needed('ray', 'ray', '--engine ray')
    needed('ray.data', 'ray', '--engine ray')
    quiet = dict(log_to_driver=False, logging_level=logging.ERROR)
    try:
        if address is None:
            ray.init(address='local', include_dashboard=False, **quiet)
        else:
            _check_address(address)
            ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise ConnectionError(f'there is no cluster of Ray at --address={quoted(str(address))}: {one_line(error)}') from error
    except RuntimeError as error:  # of other versions, or no node of Ray on this machine
        where = 'Ray cannot be started on this machine' if address is None else f'--address={quoted(address)}'
        raise ValueError(f'{where}: {one_line(error)}') from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger('ray.data').setLevel(logging.ERROR)
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Find out within ``PATIENCE`` whether a server of gRPC listens there, as Ray's head does; Ray would wait for minutes.

    Raises:
        ConnectionError: there is none.
        ValueError: no address.
    """
    if address == 'auto':
        return
    parts = re.fullmatch(r'\[?([^/\[\]]+)\]?:(\d{1,5})', address)
    if parts is None:
        raise ValueError(f'--address={quoted(address)} must be HOST:PORT of the head of a cluster, or auto')
    try:
        with socket.create_connection((parts[1], int(parts[2])), PATIENCE) as connection:
            if os.environ.get('RAY_USE_TLS', '0') == '0':
                connection.sendall(HTTP2)
                if connection.recv(4)[3:] != SETTINGS:
                    raise ConnectionError('something else listens there')
    except (OSError, OverflowError) as error:  # an unknown host, a silent one, a port over 65535
        raise ConnectionError(one_line(error)) from error


def index_shards(ray: Any, shards: Sequence[Shard]) -> List[List[StoredImage]]:
    """``shard_images`` of each shard, by tasks on the cluster.

    Raises:
        ValueError: a machine cannot run a task; or see ``shard_images``.
    """
    task = ray.remote(num_cpus=1)(_index)
    found = []
    try:
        answers = ray.get([task.remote(shard) for shard in shards])
    except ray.exceptions.RayError as error:  # ovseg is not installed on a machine, or it has gone
        raise ValueError(f'a machine of the cluster cannot read shards: {str(error).strip().splitlines()[-1]}') from error
    for images in answers:
        if isinstance(images, Exception):
            raise images
        found.append(images)
    return found


def _index(shard: Shard) -> Any:
    try:
        return shard_images(shard)
    except (OSError, ValueError) as error:  # Ray would add a traceback
        return error


def check_nodes(ray: Any, workers: Workers, folder: Path, image: Optional[Path]) -> None:
    """Refuse a cluster with a machine that has other versions, or does not see images and results; see ``state``.

    Raises:
        ValueError: names the first such machine.
    """
    strategies = needed('ray.util.scheduling_strategies', 'ray', '--engine ray')
    token = folder / f'.{os.urandom(4).hex()}.part'
    token.touch()
    try:
        task = ray.remote(num_cpus=0)(state)
        refs = {}
        for node in workers.nodes:
            there = strategies.NodeAffinitySchedulingStrategy(node['NodeID'], soft=False)
            refs[node_name(node)] = task.options(scheduling_strategy=there).remote(folder, token.name, image)
        check_states({name: _answer(ray, name, ref) for name, ref in refs.items()})
    finally:
        token.unlink(missing_ok=True)  # a run that begins removes such files


def _answer(ray: Any, name: str, ref: Any) -> Dict[str, str]:
    try:
        return ray.get(ref, timeout=ANSWER)
    except ray.exceptions.RayError as error:  # ovseg is not installed there, or the machine has gone
        raise ValueError(f'{name} cannot work: {str(error).strip().splitlines()[-1]}') from error


def task_size(images: int, batch_size: int, workers: int) -> int:
    """Images of a task: whole batches, so that they are those of a run without workers."""
    even = -(-images // workers)
    return max(1, max(min(IMAGES_PER_TASK, even), images // MOST_TASKS) // batch_size) * batch_size


def labelled(ray: Any, job: Job, images: Sequence[Named], workers: Workers) -> Iterator[Row]:
    """A row for each image in any order, once its files are written: ``DONE`` or ``FAILED``, see ``Worker``.

    Ray starts a worker that has ended again, on another machine if need be, and gives it its task again (by default as often as
    it ends, but see ``Attempts``). A result that was lost with its machine is made again, too.

    Raises:
        ValueError: a worker cannot work at all, or not write.
    """
    size = task_size(len(images), job.call.batch_size, workers.number)
    tasks = [pickle.dumps((number, list(images[start:start + size])))
             for number, start in enumerate(range(0, len(images), size))]
    if not tasks:
        return
    count = min(workers.number, len(tasks))
    # Idle workers end, and make room for those of a machine that has gone.
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count)
    on_gpu = workers.device == 'cuda'
    dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks)).flat_map(
        Worker, fn_constructor_args=(job,), compute=pool, **(dict(num_gpus=1) if on_gpu else dict(num_cpus=workers.cpus)))
    for row in dataset.iter_rows():
        if row['kind'] == FATAL:
            raise ValueError(row['text'])
        yield row
