"""Files in onnxruntime against ``CLIPSegmentor.predict``."""
import copy
import json

import numpy as np
import pytest
import torch
from packaging.version import Version

from ovseg.apis.model_config import load_config
from ovseg.apis.painting import class_colours
from ovseg.apis.request import Request
from ovseg.demo.textures import CLASSES
from ovseg.export import onnx_file
from ovseg.export.onnx_file import description, drawn_images, labels_of_torch, traced, write_onnx
from ovseg.export.refusals import OLDEST_TORCH, PACKAGES

onnx, _, onnxruntime = (pytest.importorskip(package, reason='needs the extra "export"') for package in PACKAGES)
pytestmark = pytest.mark.skipif(Version(torch.__version__) < Version(OLDEST_TORCH), reason=f'needs torch {OLDEST_TORCH}')

SIZE = (229, 241)  # four windows
SYNONYMS = dict(names=['; '.join(CLASSES[index:index + 2]) for index in range(0, len(CLASSES), 2)], templates='plain')
CHAIN = ['SelfAttnEnhancement', 'OutlierSuppression', dict(type='GlobalDebias', factor=0.2), 'CTD']
VARIANTS = {
    'NACLIP on a finer grid': dict(image_encoder=dict(attention='NACLIP'), upsampler=dict(type='BilinearUpsampler', scale=2)),
    'MaskCLIP': dict(image_encoder=dict(attention='MaskCLIP', ignore_residual=False)),
    'SC-CLIP': dict(image_encoder=dict(type='SCCLIPEncoder', pre_layer=3, post_layer=2, levels=(2, 3))),
    'ResCLIP without feedback': dict(image_encoder=dict(type='ResCLIPEncoder', rcs_layers=(2, 3), sfr_weights=None)),
    'SegEarth-OV': dict(image_encoder=dict(attention='SegEarth', cls_source='last_block'), decoder=dict(cls_token_lambda=-0.3)),
    'outliers by LOF': dict(post_processors=[dict(type='OutlierSuppression', detector='lof', top_k=7),
                                             dict(type='CTD', metric='cosine', eps=0.6, min_samples=5)]),
    'attention without itself': dict(image_encoder=dict(attention='KK', similarity=dict(add_self_similarity=False)),
                                     post_processors=[dict(type='SelfAttnEnhancement', mode='attention')]),
    'many classes': dict(vocabulary=dict(names=[f'thing {index}' for index in range(256)], templates='plain'))}


@pytest.fixture(scope='module')
def model(tiny):
    """All four modules, synonyms and thresholds."""
    return tiny(post_processors=CHAIN, vocabulary=SYNONYMS, decoder=dict(prob_thd=0.7, bg_idx=2, reject=0.5))


@pytest.fixture(scope='module')
def proto(model):
    return traced(model, SIZE)


@pytest.fixture(scope='module')
def expected(model):
    return labels_of_torch(model, drawn_images(SIZE))


@pytest.fixture
def write(model, proto, expected, monkeypatch, tmp_path):
    """Writes the file of ``model``, which is traced once for all tests."""
    monkeypatch.setattr(onnx_file, 'traced', lambda model, size: copy.deepcopy(proto))

    monkeypatch.setattr(onnx_file, 'labels_of_torch', lambda model, images: expected)

    def write(fp16=False, **about):
        return tmp_path / 'a.onnx', write_onnx(model, SIZE, tmp_path / 'a.onnx', fp16, about)
    return write


def test_labels_of_all_modules_are_those_of_predict(write, expected):
    path, report = write()
    assert min(report.shares) > 0.999 and report.agreement == pytest.approx(np.mean(report.shares))
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (images,), (labels,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ('images', 'tensor(uint8)', [*SIZE, 3])
    assert (labels.name, labels.type, labels.shape[1:]) == ('labels', 'tensor(uint8)', list(SIZE))
    for some in (slice(1, 2), slice(None, None, -1)):
        found, = session.run(None, {'images': drawn_images(SIZE)[some]})
        assert found.shape == expected[some].shape and (found == expected[some]).mean() > 0.999
    assert {2, 255} < set(np.unique(expected)), 'thresholds without effect'
    assert report.megabytes == path.stat().st_size / 1e6


def test_the_model_works_as_before(proto, model, expected):
    np.testing.assert_array_equal(labels_of_torch(model, drawn_images(SIZE)[:1]), expected[:1])


def test_weights_of_16_bits_halve_the_file(write):
    path, report = write()
    size = path.stat().st_size
    path, halved = write(fp16=True)
    assert 0.45 * size < path.stat().st_size < 0.65 * size
    assert 0.995 < halved.agreement <= report.agreement


def test_the_operators_are_those_of_today_and_the_file_names_no_folder(write):
    path, _ = write()
    file = onnx.load(path)
    assert [(opset.domain, opset.version) for opset in file.opset_import] == [('', 23)]
    onnx.checker.check_model(file)
    assert b'site-packages' not in path.read_bytes() and b'.py"' not in path.read_bytes()


def test_the_metadata(write, model):
    cfg = load_config('gated_tiny-clip', None, {'model.image_encoder.attention': 'NACLIP'})
    names = [*'abcdefg', 'é']
    request = Request(names, model.vocabulary, model.decoder)
    path, _ = write(**description(cfg, model, request, class_colours(8, False), False))
    found = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    found = {key: json.loads(value) for key, value in found.items()}
    assert found['classes'] == names and found['synonyms'][1] == list(CLASSES[2:4]) and found['no_class'] == 255
    assert len(found['palette']) == 8 and all(len(colour) == 3 for colour in found['palette'])
    settings = found['settings']
    assert settings['model']['image_encoder']['attention'] == 'NACLIP' and settings['config'] == 'gated_tiny-clip_demo'
    assert settings['classes'] == found['synonyms'] and not settings['fp16']
    assert [settings['decoder'][key] for key in ('prob_thd', 'bg_idx', 'reject')] == [0.7, 2, 0.5]


@pytest.mark.parametrize('fp16, allowed', [(False, '99.9%'), (True, '99.0%')])
def test_a_file_whose_labels_differ_is_not_written(fp16, allowed, write, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_file, 'labels_of_torch', lambda model, images: np.zeros(images.shape[:3], np.int64))
    with pytest.raises(ValueError, match=rf'a\.onnx was not written: .* only \d+\.\d\d% of .* 3 drawn images .* {allowed} are'):
        write(fp16)
    assert not list(tmp_path.iterdir())


class Unpredictable(torch.nn.Module):
    """A post-processor with control flow that reads data, or that fixes the batch size."""
    stage, needs_attention, needs_cls = 'embeddings', False, False

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, features):
        if self.kind == 'data' and features.patches.sum().item() > 0:
            return features
        return features.replace(patches=features.patches + torch.zeros(len(features.patches), 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize('kind, reason', [('data', 'cannot be traced: '), ('batch', 'cannot be traced')])
def test_a_module_that_cannot_be_traced_is_named(kind, reason, tiny, monkeypatch):
    model = tiny(post_processors=['GlobalDebias'])
    monkeypatch.setattr(model.post_processors, 'modules', [Unpredictable(kind)])
    with pytest.raises(ValueError, match=f'LastBlockEncoder, Unpredictable {reason}') as caught:
        traced(model, (224, 224))
    assert '\n' not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('settings', VARIANTS.values(), ids=VARIANTS)
def test_labels_of_other_components_are_those_of_predict(settings, tiny, tmp_path):
    report = write_onnx(tiny(**settings), (224, 240), tmp_path / 'a.onnx', False, {})
    assert min(report.shares) > 0.999


@pytest.mark.parametrize('size', [(16, 17), (31, 2003)])
def test_images_of_any_size_are_drawn(size):
    images = drawn_images(size)
    assert images.shape == (3, *size, 3) and images.dtype == np.uint8 and images.std() > 1
