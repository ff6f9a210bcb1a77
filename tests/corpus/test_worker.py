"""A worker without Ray."""
import json
import pickle
import sys

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ovseg.apis import OVSegInferencer
from ovseg.apis.reading import Reading
from ovseg.corpus import worker
from ovseg.corpus.attempts import LOADING, Attempts
from ovseg.corpus.worker import DONE, FAILED, FATAL, LOST, Job, Named, Worker
from ovseg.models.text import TextEncoder

WORDS = ['ladybug', 'snow; ice', 'gravel']


@pytest.fixture(scope='module')
def inferencer():
    return OVSegInferencer('gated_tiny-clip', device='cpu', cfg_options={'model.prompt_templates': ['a photo of {}.']})


@pytest.fixture
def job(inferencer, tmp_path):
    call = inferencer.call(WORDS, 'grass', 0.3, 2, True, Reading(), 8, None)
    texts = inferencer.texts(call)
    for folder in ('vis', 'pred', 'confidence', 'margin'):
        (tmp_path / 'out' / folder).mkdir(parents=True)
    return Job(inferencer.cfg, call, texts, inferencer.settings(call), inferencer.max_pixels, 'cpu', 1, tmp_path / 'out',
               str(tmp_path))


@pytest.fixture
def images(draw, tmp_path):
    draw(tmp_path / 'images', 5)
    return [Named(f'name {path.stem}', path) for path in sorted((tmp_path / 'images').iterdir())]


def task(images, number=7):
    return dict(item=pickle.dumps((number, images)))


def killed(job, *names):
    """What a worker leaves that ends while it works on the last of these."""
    attempts = Attempts(job.folder, 7).__enter__()
    for name in names:
        attempts.begin(name)


def test_labels_are_those_of_the_inferencer_without_encoding_names(job, images, inferencer, monkeypatch):
    paths = [image.source for image in images]
    expected = list(inferencer.stream(paths, WORDS, background='grass', threshold=0.3, batch_size=2))
    built = []
    monkeypatch.setattr(worker, 'OVSegInferencer', lambda *args, **rest: built.append(1) or OVSegInferencer(*args, **rest))
    monkeypatch.setattr(TextEncoder, 'encode', lambda *args: pytest.fail('names are encoded'))
    labels = Worker(job)
    rows = [*labels(task(images[:4])), *labels(task(images[4:]))]
    assert built == [1] and [row['kind'] for row in rows] == [DONE] * 5
    assert len({label for segmentation in expected for label in np.unique(segmentation.labels)}) > 2
    for image, row, segmentation in zip(images, rows, expected):
        entry = json.loads(row['text'])
        assert entry['name'] == row['name'] == image.name and entry['source'] == str(image.source)
        with Image.open(job.folder / entry['files']['pred']) as written:
            np.testing.assert_array_equal(np.array(written), segmentation.labels)
        assert all((job.folder / file).is_file() for file in entry['files'].values()) and len(entry['files']) == 4


def test_a_broken_image_fails_alone(job, images, tmp_path):
    (tmp_path / 'broken.png').write_text('text')
    rows = Worker(job)(task([*images[:3], Named('broken', tmp_path / 'broken.png'), Named('gone', tmp_path / 'gone.png')]))
    assert {row['name']: row['kind'] for row in rows} == {
        **{image.name: DONE for image in images[:3]}, 'broken': FAILED, 'gone': FAILED}
    texts = {row['name']: row['text'] for row in rows}
    assert 'broken.png is no image' in texts['broken'] and 'gone.png' in texts['gone']


def test_custom_modules_of_the_config_are_imported(job, images, tmp_path, monkeypatch):
    (tmp_path / 'module_of_the_config.py').write_text('')
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = Config(dict(job.cfg, custom_imports=dict(imports=['ovseg', 'module_of_the_config'])))
    row, = Worker(job._replace(cfg=cfg))(task(images[:1]))
    assert 'module_of_the_config' in sys.modules
    assert row['kind'] == FATAL and row['text'].endswith('(different: custom_imports.module_of_the_config)')


def test_other_settings_than_those_of_the_run_end_it(job, images):
    row, = Worker(job._replace(settings=dict(job.settings, weights='others')))(task(images))
    assert row['kind'] == FATAL and row['text'].endswith(
        'labels would be others than on the machine where the run was started (different: weights)')


def test_a_folder_that_cannot_be_written_ends_the_run(job, images):
    (job.folder / 'pred').rmdir()
    row, = Worker(job)(task(images))
    assert row['kind'] == FATAL and f"cannot write into out_dir='{job.folder}'" in row['text']


def test_an_image_that_ends_workers_is_given_up_and_the_others_are_done(job, images):
    first, second, third = (image.name for image in images[:3])
    killed(job, LOADING, first, second)
    killed(job, LOADING, first, second)
    assert {row['kind'] for row in Worker(job)(task(images))} == {DONE}
    for _ in range(3):
        killed(job, LOADING, first, second, third)
    rows = Worker(job)(task(images))
    assert [(row['name'], row['text']) for row in rows if row['kind'] == FAILED] == [(third, LOST)]
    assert len(rows) == 5 and not list(job.folder.glob('*.part'))


def test_after_two_ends_images_are_segmented_one_by_one(job, images, monkeypatch):
    sizes = []
    predict = OVSegInferencer._predict
    monkeypatch.setattr(OVSegInferencer, '_predict', lambda self, batch, *args: sizes.append(len(batch)) or predict(
        self, batch, *args))
    labels = Worker(job)
    labels(task(images))
    killed(job, images[1].name)
    labels(task(images))
    killed(job, images[1].name)
    killed(job, images[1].name)
    labels(task(images))
    assert sizes == [2, 2, 1, 2, 2, 1, 1, 1, 1, 1, 1]


def test_a_model_that_ends_workers_ends_the_run(job, images):
    for _ in range(3):
        killed(job, LOADING)
    row, = Worker(job)(task(images))
    assert row['kind'] == FATAL and 'its worker ended 3 times while it loaded the model' in row['text']
