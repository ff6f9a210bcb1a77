import pytest
import torch

from ovseg.apis.model_config import load_config
from ovseg.export import refusals
from ovseg.export.refusals import check_components, check_packages, check_size, check_weights, described
from ovseg.extras import MissingPackageError
from ovseg.inference.windows import Windows
from ovseg.models.towers.loading import describe_tower

VIT = describe_tower('ViT-B-16')


@pytest.mark.parametrize('name, options, message', [
    ('proxyclip_vit-b16_voc21', {}, r'ProxyCLIPEncoder needs a second model \(TimmGuide\)'),
    ('corrclip_tiny-clip', {}, r'CorrCLIPEncoder needs region maps \(SuperpixelRegions\); .* second model \(CLIPGuide\)'),
    ('lposs_plus_vit-b16_ade20k', {}, 'post-processor LPOSS works on the scores of all patches .*; decoder.refiner LPOSSPlus$'),
    ('naclip-pamr_vit-b16_voc20', {}, 'decoder.refiner PAMR$'),
    ('segearth_ov-jbu_vit-b16_voc20', {}, 'upsampler JBUOne$'),
    ('resclip_vit-b16_voc20', {}, 'the feedback of image_encoder ResCLIPEncoder .*sfr_weights=None'),
    ('gated_vit-b16', {'model.image_encoder.precision': 'bf16'}, r"image_encoder.precision='bf16': .*'fp32'; --fp16"),
    ('gated_vit-b16', {'model.image_encoder.compile': True}, 'image_encoder.compile=True$'),
    ('gated_vit-b16', {'model.decoder.at_input_size': True}, 'decoder.at_input_size=True$'),
    ('gated_vit-b16', {'model.decoder.area_thd': 0.1}, 'decoder.area_thd=0.1$')])
def test_what_cannot_be_exported_is_named(name, options, message):
    components, _ = described(load_config(name, None, options))
    with pytest.raises(ValueError, match=f'this model cannot be exported: .*{message}') as caught:
        check_components(components)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', [
    'gated_full_vit-b16', 'scclip_vit-b16_voc20', 'segearth_ov_vit-b16_voc20', 'clip_vit-b16_voc20'])
def test_what_can_be_exported_is_accepted(name):
    components, tower = described(load_config(name, None, {}))
    check_components(components)
    assert tower.patch_size == (16, 16) and next(tower.parameters()).is_meta


def test_a_model_of_another_type_is_named():
    cfg = dict(model=dict(type='TokenClassifier'), test_dataloader=dict(dataset=dict(pipeline=[])))
    with pytest.raises(ValueError, match='is a TokenClassifier; only a CLIPSegmentor can be exported'):
        described(load_config(cfg, None, {}))


@pytest.mark.parametrize('size, crop, message', [
    ((15, 224), 224, r'a height of 15 pixels is under one patch of the CLIP \(16 pixels\)'),
    ((224, 7), 0, r'a width of 7 pixels is under one patch'),
    ((450, 600), 0, r'a height of 450 pixels is one window \(windows.crop=0\) .* multiple of the patch, 16 pixels: 448 or 464'),
    ((448, 211), 224, r'a width of 211 pixels is under windows.crop=224 and must be .*: 208 or 224')])
def test_sizes_of_broken_patches(size, crop, message):
    with pytest.raises(ValueError, match=f'^--size: {message}'):
        check_size(size, Windows(crop=crop, stride=max(crop // 2, 1)), VIT)


@pytest.mark.parametrize('size, crop', [
    ((448, 608), 0), ((16, 16), 0), ((16, 208), 224), ((224, 227), 224), ((1031, 2003), 336)])
def test_sizes_of_whole_patches(size, crop):
    check_size(size, Windows(crop=crop, stride=max(crop // 2, 1)), VIT)


def test_weights_that_no_file_holds():
    tower = describe_tower('ViT-H-14')
    with pytest.raises(ValueError, match=r'the weights take 2\.5 GB, and an ONNX file holds at most 2\.1 GB: --fp16 halves'):
        check_weights(tower, fp16=False)
    check_weights(tower, fp16=True)
    check_weights(VIT, fp16=False)


@pytest.mark.parametrize('package', refusals.PACKAGES)
def test_a_package_that_is_missing_is_named(package, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '99')

    def needed(name, extra, what):
        assert extra == 'export'
        if name == package:
            raise MissingPackageError(f'{what} needs {name}')

    monkeypatch.setattr(refusals, 'needed', needed)
    with pytest.raises(MissingPackageError, match=f'ovseg export needs {package}'):
        check_packages()


def test_an_old_torch_is_named(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.1.0')
    with pytest.raises(ValueError, match=r'ovseg export needs torch >= 2\.9, and torch 2\.1\.0 is installed'):
        check_packages()


def test_an_onnxruntime_without_the_opset_is_named(monkeypatch):
    pytest.importorskip('onnxruntime', reason='needs the extra export')
    monkeypatch.setattr(refusals, 'OPSET', 99)
    with pytest.raises(ValueError, match=r'^onnxruntime [\d.]+ does not know opset 99: install a newer one$'):
        refusals.check_packages()
