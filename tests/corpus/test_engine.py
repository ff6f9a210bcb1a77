"""A cluster of two machines, of which one worker is killed in the middle of 400 images."""
import os
import pickle
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ovseg.corpus import engine
from ovseg.corpus.nodes import Workers
from ovseg.corpus.worker import Named

IMAGES, AT = 400, 60  # images in all, and those that have results when a worker is killed


def own_processes():
    """The command line of each process that descends from this one."""
    parents, commands = {}, {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            parents[int(folder.name)] = int((folder / 'stat').read_text().rsplit(')', 1)[1].split()[1])
            commands[int(folder.name)] = (folder / 'cmdline').read_text().split('\0')[0]
        except OSError:  # it has ended
            pass

    def is_own(process):
        return process == os.getpid() or (process in parents and is_own(parents[process]))
    return {process: command for process, command in commands.items() if is_own(process)}


def kill_a_worker(folder, killed):
    """Wait until ``AT`` images have results, then kill a worker; ``killed`` gets its id and the number of results."""
    results = []
    while len(results) < AT:
        time.sleep(0.02)
        results = list(folder.glob('*.png'))
    workers = [process for process, command in own_processes().items() if command.startswith('ray::MapWorker')]
    os.kill(workers[0], signal.SIGKILL)
    killed.extend([workers[0], len(list(folder.glob('*.png')))])


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/cmdline').is_file(), reason='processes are found in /proc')
def test_every_image_is_labelled_once_though_a_worker_is_killed(predict, draw, results_of, tmp_path, capfd):
    pytest.importorskip('ray', reason='the engine needs Ray: pip install "ovseg[ray]"')
    from ray.cluster_utils import Cluster
    images, killed = draw(tmp_path / 'images', IMAGES), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        assert predict([images], tmp_path / 'plain', '--format', 'csv') == 0
    finally:
        torch.set_num_threads(threads)
    out = tmp_path / 'out'
    node = dict(num_cpus=1, object_store_memory=80 * 2 ** 20, include_dashboard=False)
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**node)
        killer = threading.Thread(target=kill_a_worker, args=[out / 'pred', killed], daemon=True)
        killer.start()
        assert predict([images], out, '--engine', 'ray', '--address', cluster.address, '--format', 'csv') == 0
    finally:
        cluster.shutdown()
    assert AT <= killed[1] < IMAGES, 'the worker was killed too late'
    assert f'{IMAGES} images in {out}: vis, pred, results.json' in capfd.readouterr().out
    found, expected = results_of(out), results_of(tmp_path / 'plain')
    assert [image['source'] for image in found['images']] == [str(path) for path in sorted(images.iterdir())]
    assert found == expected
    for name in ('areas.csv', *(f'{kind}/{image["name"]}.png' for kind in ('pred', 'vis') for image in found['images'])):
        assert (out / name).read_bytes() == (tmp_path / 'plain' / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {'.lock', 'areas.csv', 'pred', 'results.json', 'vis'}


@pytest.mark.parametrize(('images', 'batch', 'workers', 'expected'), [
    (400, 1, 2, 8), (400, 3, 2, 6), (3, 1, 2, 2), (10 ** 6, 1, 3, 50), (10 ** 6, 64, 3, 64), (0, 1, 1, 1), (20, 5, 7, 5)])
def test_images_of_a_task(images, batch, workers, expected):
    assert engine.task_size(images, batch, workers) == expected


class FakeRay:
    """Stands in for ray and its data set: keeps the arguments, and has no rows."""

    def __init__(self):
        self.data, self.tasks, self.options = self, [], {}

    def ActorPoolStrategy(self, **sizes):  # noqa: N802
        return sizes

    def from_items(self, tasks, override_num_blocks):
        assert len(tasks) == override_num_blocks
        self.tasks = [pickle.loads(task) for task in tasks]  # noqa: S301
        return self

    def flat_map(self, function, **options):
        self.options = options
        return self

    def iter_rows(self):
        return iter(())


@pytest.mark.parametrize(('workers', 'resources'), [
    (Workers(3, None, 'cuda', []), dict(num_gpus=1)), (Workers(3, 5, 'cpu', []), dict(num_cpus=5))])
def test_a_worker_gets_a_gpu_or_its_cpus(workers, resources):
    ray, job = FakeRay(), SimpleNamespace(call=SimpleNamespace(batch_size=2))
    images = [Named(str(number), Path(f'{number}.png')) for number in range(13)]
    assert list(engine.labelled(ray, job, images, workers)) == []
    assert {key: value for key, value in ray.options.items() if key.startswith('num')} == resources
    assert ray.options['compute'] == dict(min_size=1, max_size=3, initial_size=3)
    assert [number for number, _ in ray.tasks] == [0, 1, 2, 3] and [len(task) for _, task in ray.tasks] == [4, 4, 4, 1]
    assert [image for _, task in ray.tasks for image in task] == images
