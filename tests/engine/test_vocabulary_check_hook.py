import hashlib
import json
import re
import subprocess
import sys
from itertools import count

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from torch.nn import functional as F

from ovseg.engine import vocabulary_check_hook
from ovseg.models import CLIPSegmentor
from ovseg.models.text import TextEncoder
from ovseg.vocabulary import Vocabulary

RUN = count()


@pytest.fixture
def evaluate(tmp_path):
    """Run a real ``Runner.test()`` over two images; returns the metrics and what was logged."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'annotations'):
        (tmp_path / folder).mkdir()
    for name in ('a', 'b'):
        Image.fromarray(rng.integers(0, 256, (37, 53, 3), np.uint8)).save(tmp_path / 'images' / f'{name}.jpg')
        Image.fromarray(rng.integers(0, 2, (37, 53), np.uint8)).save(tmp_path / 'annotations' / f'{name}.png')

    def run(classes, tta=False, **model_cfg):
        model = dict(type='CLIPSegmentor', clip_model='ovseg-tiny-clip', pretrained=None, prompt_templates='plain',
                     slide_crop=0, **model_cfg)
        flips = [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]
        augment = dict(type='TestTimeAug', transforms=[flips, [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]])
        pipeline = [augment] if tta else [dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
        dataset = dict(type='BaseSegDataset', data_root=str(tmp_path), pipeline=[dict(type='LoadImage'), *pipeline],
                       metainfo=dict(classes=classes, palette=[[7 * i, 0, 0] for i in range(len(classes))]),
                       data_prefix=dict(img_path='images', seg_map_path='annotations'))
        log_folder = tmp_path / 'logs'
        metrics = Runner.from_cfg(Config(dict(
            default_scope='mmseg', experiment_name=f'vocabulary_check_{next(RUN)}', work_dir=str(log_folder),
            model=dict(type='CLIPSegTTAModel', module=model) if tta else model,
            test_dataloader=dict(batch_size=1, num_workers=0, dataset=dataset,
                                 sampler=dict(type='DefaultSampler', shuffle=False)),
            test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']), test_cfg=dict(type='TestLoop'),
            custom_hooks=[dict(type='VocabularyCheckHook')]))).test()
        log, = log_folder.rglob('*.log')
        return metrics, log.read_text()
    return run


@pytest.fixture
def segmented(monkeypatch):
    """Counts the calls of the segmentor."""
    calls = []
    original = CLIPSegmentor.test_step

    def test_step(self, data):
        calls.append(1)
        return original(self, data)

    monkeypatch.setattr(CLIPSegmentor, 'test_step', test_step)
    return calls


@pytest.mark.parametrize('tta', [False, True])
@pytest.mark.parametrize('names', [['cat', 'dog, puppy', 'sky'], ['cat']])
def test_a_list_of_another_length_is_refused_before_the_first_image(evaluate, segmented, names, tta):
    with pytest.raises(ValueError) as error:
        evaluate(['cat', 'dog'], tta, name_path=names)
    for part in (f'{len(names)} classes', 'has 2', 'vocabulary.names', 'BaseSegDataset', "'dog'", f"'{names[-1]}'"):
        assert part in str(error.value)
    assert not segmented


def test_the_same_names_in_another_order_are_refused_before_the_first_image(evaluate, segmented):
    with pytest.raises(ValueError, match=r'another order.*cat, dog'):
        evaluate(['cat', 'dog'], name_path=['dog', 'cat'])
    assert not segmented


@pytest.mark.parametrize(('classes', 'names'), [(['tv', 'pottedplant'], ['potted plant', 'tv']),
                                                (['bed ', 'post box', 'postbox'], ['postbox', 'post box', 'bed'])])
def test_another_order_in_another_spelling_is_refused(evaluate, segmented, classes, names):
    with pytest.raises(ValueError, match='another order'):
        evaluate(classes, name_path=names)
    assert not segmented


def test_two_classes_whose_names_differ_in_a_space_only_are_no_mistake(evaluate):
    metrics, _ = evaluate(['postbox', 'post box', 'bed '], name_path=['postbox, mailbox', 'post box', 'bed'])
    assert 0 <= metrics['mIoU'] <= 100


def test_a_missing_region_map_is_named_before_the_first_image(evaluate, segmented, tmp_path):
    np.savez(tmp_path / 'a.npz', instance_mask=np.arange(37 * 53).reshape(37, 53) % 7)
    encoder = dict(type='CorrCLIPEncoder', guide='CLIPGuide', regions=dict(type='NpzRegions', root=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match=r'b\.npz does not exist: NpzRegions needs a region map of each image'):
        evaluate(['cat', 'dog'], name_path=['cat', 'dog'], image_encoder=encoder)
    assert not segmented


@pytest.mark.parametrize('tta', [False, True])
def test_the_results_name_the_list(evaluate, tmp_path, tta):
    classes = tmp_path / 'classes.txt'
    classes.write_text('cat\ndog, puppy, hound\n')
    metrics, log = evaluate(['cat', 'dog'], tta, name_path=str(classes))
    lines = log.splitlines()
    digest = hashlib.sha256(json.dumps([['cat'], ['dog', 'puppy', 'hound']]).encode()).hexdigest()
    line = f'class list: {classes} (2 classes, 4 names, sha256 {digest[:12]}), templates plain (1)'
    first = next(index for index, found in enumerate(lines) if found.endswith(line))
    result = next(index for index, line in enumerate(lines) if 'mIoU: ' in line)
    assert first < result
    record = dict(class_list=str(classes), class_count=2, name_count=4, class_list_sha256=digest, templates='plain',
                  template_count=1, background_words=[])
    assert '  '.join(f'{key}: {value}' for key, value in record.items()) in lines[result]
    saved, = (tmp_path / 'logs').rglob('*.json')
    saved = json.loads(saved.read_text())
    assert {key: saved[key] for key in record} == record
    assert saved['mIoU'] == metrics['mIoU']


@pytest.mark.parametrize('tta', [False, True])
def test_a_list_of_the_same_length_is_evaluated(evaluate, segmented, tta):
    metrics, log = evaluate(['cat', 'dog'], tta, name_path=['cat', 'dog, puppy, hound'])
    assert 0 <= metrics['mIoU'] <= 100
    assert len(segmented) == (4 if tta else 2)
    assert 'prob_thd' not in log


@pytest.mark.parametrize('tta', [False, True])
def test_a_threshold_without_a_background_class_warns(evaluate, tta):
    _, log = evaluate(['cat', 'dog'], tta, name_path=['cat', 'dog'], prob_thd=0.3, bg_idx=1)
    warning, = (line for line in log.splitlines() if 'no background class' in line)
    for part in ('WARNING', 'prob_thd=0.3', 'class 1', "'dog'", 'set decoder.prob_thd=0'):
        assert part in warning


@pytest.mark.parametrize(('classes', 'prob_thd'), [(['background', 'dog'], 0.3), (['cat', 'dog'], 0.0)],
                         ids=['background class', 'no threshold'])
def test_no_warning_where_nothing_can_go_wrong(evaluate, classes, prob_thd):
    _, log = evaluate(classes, name_path=['everything else', 'dog'], prob_thd=prob_thd)
    assert 'mIoU' in log
    assert 'background class' not in log


def test_other_processes_take_the_text_embeddings_of_the_main_one(evaluate, monkeypatch):
    rows = F.normalize(torch.randn(2, 128), dim=-1)
    seen = []

    def broadcast(objects):
        assert objects == [None]
        objects[:] = [(Vocabulary(['sea', 'sky']), rows)]

    def test_step(self, data):
        seen.append(self.text_embeddings)
        return original(self, data)

    original = CLIPSegmentor.test_step
    monkeypatch.setattr(vocabulary_check_hook, 'is_main_process', lambda: False)
    monkeypatch.setattr(vocabulary_check_hook, 'broadcast_object_list', broadcast)
    monkeypatch.setattr(TextEncoder, 'encode', None)
    monkeypatch.setattr(CLIPSegmentor, 'test_step', test_step)
    evaluate(['sea', 'sky'], name_path=['sea', 'sky'])
    assert len(seen) == 2 and all(torch.equal(found, rows) for found in seen)


def test_names_that_the_model_confuses_are_warned_of(evaluate, monkeypatch):
    monkeypatch.setattr(TextEncoder, 'encode', lambda self, names, templates: torch.ones(len(names), 128) / 128 ** 0.5)
    _, log = evaluate(['sea', 'ocean', 'sky'], name_path=['sea', 'ocean', 'sky'])
    assert '2 of 3 classes can have no pixel' in log and "'sea' and 'ocean'" in log


def test_background_words_are_logged_and_need_a_background_class(evaluate):
    words = dict(names=['background', 'sky'], background=dict(count=2, max_cosine=1, words=['zebra', 'brick', 'tartan']))
    _, log = evaluate(['background', 'sky'], vocabulary=words)
    chosen, = re.findall('background words of class 0: (.*)', log)
    assert 'custom (2 classes, 4 names, 2 of them automatic background words, sha256 ' in log
    assert f'background_words: {chosen.split(", ")}' in log
    with pytest.raises(ValueError, match='words for a class called background, and BaseSegDataset has none'):
        evaluate(['sea', 'sky'], vocabulary=dict(words, names=['sea', 'sky']))
    with pytest.raises(ValueError, match=r"words for a class called background, and class 1 \(decoder.bg_idx\) of .* is 'sky'"):
        evaluate(['background', 'sky'], vocabulary=words, bg_idx=1)


ONE_OF_TWO = """
import sys
from types import SimpleNamespace
import torch
import torch.distributed as dist
from ovseg.engine import VocabularyCheckHook
from ovseg.models import CLIPSegmentor

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
torch.manual_seed(rank)
model = CLIPSegmentor(clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names=['sea', 'sky']))
encode, calls = model.text_encoder.encode, []
model.text_encoder.encode = lambda *args: calls.append(1) or encode(*args)
loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=['sea', 'sky'])))
hub = SimpleNamespace(update_info=lambda *args: None)
VocabularyCheckHook().before_test(SimpleNamespace(model=model, message_hub=hub, test_dataloader=loader))
torch.save((model.text_embeddings, len(calls)), f'{folder}/{rank}.pt')
dist.destroy_process_group()
"""


def test_two_processes_encode_once(tmp_path):
    processes = [subprocess.Popen([sys.executable, '-c', ONE_OF_TWO, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    (first, calls), (second, others) = (torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2))
    assert torch.equal(first, second) and (calls, others) == (1, 0)  # each has weights of its own
