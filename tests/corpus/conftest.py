"""A small Ray of one machine, and what runs ``ovseg predict`` on it."""
import json
from collections import OrderedDict

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from ovseg.cli import main
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES

WORDS = 'ladybug, snow; ice, gravel, grass'
NODE = dict(num_cpus=1, object_store_memory=80 * 2 ** 20, include_dashboard=False)


@pytest.fixture(autouse=True)
def _loggers_of_their_own(monkeypatch):
    """A logger keeps the stream it was made with, and those of ``capsys`` are closed after each test."""
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())


@pytest.fixture(scope='session')
def draw():
    """Writes as many small images, parts of the demo scenes, into a folder."""
    def drawn(folder, count):
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(count)
        scenes = [np.array(Image.open(path)) for path in sorted((DEMO_SCENES / 'images').glob('*.jpg'))[:19]]
        for number in range(count):
            scene = scenes[number % len(scenes)]
            height, width = rng.integers(31, 71, 2)
            top, left = (int(rng.integers(0, size - side)) for size, side in zip(scene.shape, (height, width)))
            Image.fromarray(scene[top:top + height, left:left + width]).save(folder / f'{number:03d}.png')
        return folder
    return drawn


@pytest.fixture(scope='session')
def cluster():
    """A cluster of one machine, which is this one; it goes on between tests."""
    pytest.importorskip('ray', reason='the engine needs Ray: pip install "ovseg[ray]"')
    from ray.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def predict():
    """Runs ``ovseg predict`` on the CPU, with one template."""
    def run(items, out, *options):
        return main(['predict', *map(str, items), '--out', str(out), '--classes', WORDS, '--device', 'cpu', *options,
                     '--cfg-options', 'model.prompt_templates=plain'])
    return run


@pytest.fixture
def on_ray(predict, cluster):
    """``predict`` by the workers of ``cluster``."""
    def run(items, out, *options):
        return predict(items, out, '--engine', 'ray', '--address', cluster.address, *options)
    return run


@pytest.fixture(scope='session')
def results_of():
    return lambda out: json.loads((out / 'results.json').read_text(encoding='utf-8'))
