import sys

import pytest
import torch
from packaging.version import Version

from ovseg.apis.run_settings import differences
from ovseg.cli import main
from ovseg.demo.textures import CLASSES
from ovseg.export import onnx_file, refusals
from ovseg.export.onnx_file import Report
from ovseg.export.refusals import OLDEST_TORCH, PACKAGES
from ovseg.models.towers import loading


@pytest.fixture
def written(monkeypatch):
    """The arguments of ``write_onnx``, which writes nothing; the packages of an export count as installed."""
    calls = []
    monkeypatch.setattr(refusals, 'check_packages', lambda: None)

    def write_onnx(*arguments):
        calls.append(arguments)
        return Report([0.9999, 0.9990], 12.34)
    monkeypatch.setattr(onnx_file, 'write_onnx', write_onnx)
    return calls


def export(tmp_path, *options, model='gated_tiny-clip', size='229x353', out='a.onnx'):
    return main(['export', model, '--size', size, '--out', str(tmp_path / out), *options,
                 '--cfg-options', 'model.vocabulary.templates=plain'])


def test_the_model_has_the_classes_and_thresholds_of_the_command(written, tmp_path, capsys):
    assert export(tmp_path, '--classes', 'ladybug, snow; ice', '--background', 'grass, sky', '--threshold', '0.3',
                  '--reject', '0.2', '--fp16') == 0
    (model, size, path, fp16, about), = written
    assert model.words.synonyms == [['grass', 'sky'], ['ladybug'], ['snow', 'ice']]
    assert (model.decoder.prob_thd, model.decoder.bg_idx, model.decoder.reject) == (0.3, 0, 0.2)
    assert (size, path, fp16) == ((229, 353), tmp_path / 'a.onnx', True) and model.device.type == 'cpu'
    assert about['classes'] == ['background', 'ladybug', 'snow'] and about['palette'][0] == [0, 0, 0]
    assert about['settings']['config'] == 'gated_tiny-clip_demo' and about['settings']['fp16']
    assert capsys.readouterr().out.splitlines() == [
        f'{tmp_path / "a.onnx"}: 12.3 MB, opset 23, images of 229x353 pixels',
        'labels as in PyTorch: 99.945% of the pixels of 2 drawn images, 99.900% of the image with the fewest']


def test_the_metadata_holds_every_setting_that_labels_depend_on(written, tmp_path):
    options = ['image_encoder.attention=NACLIP', 'image_encoder.ignore_residual=False', 'decoder.cls_token_lambda=-0.3',
               'upsampler.type=BilinearUpsampler', 'post_processors.0.min_self_attn_threshold=0.2', 'clip.pretrained=None']
    for changed in ([], *([f'model.{option}'] for option in options)):
        assert export(tmp_path, *(['--cfg-options', *changed] if changed else []), model='gated_full_tiny-clip') == 0
    first, *others = (about['settings'] for *_, about in written)
    found = [differences(first, other) for other in others]
    assert found == [['model.image_encoder.attention'], ['model.image_encoder.ignore_residual'],
                     ['decoder.cls_token_lambda', 'model.decoder.cls_token_lambda'], ['model.upsampler'],
                     ['model.post_processors'], ['model.clip.pretrained', 'weights']]


def test_the_classes_are_by_default_those_of_the_config(written, tmp_path):
    assert export(tmp_path) == 0
    assert written[0][-1]['classes'] == list(CLASSES)


@pytest.mark.parametrize('options, message', [
    (dict(size='450x211'), r'--size: a width of 211 pixels is under windows.crop=224 and must be a multiple of the patch, 16'),
    (dict(size='8x448'), 'a height of 8 pixels is under one patch'),
    (dict(model='corrclip_tiny-clip'), 'CorrCLIPEncoder needs region maps'),
    (dict(model='lposs_vit-b16_ade20k'), 'post-processor LPOSS'),
    (dict(model='gated_vit-b33'), 'gated_vit-b33'),
    (dict(out='no/a.onnx'), 'there is no folder'),
    (dict(out='.'), 'is a folder')])
def test_an_error_is_a_line_before_weights_are_read(options, message, written, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, 'load_clip', None)
    assert export(tmp_path, **options) == 1
    line, = [line for line in capsys.readouterr().err.splitlines() if ' - mmengine - ' not in line]
    assert line.startswith('ovseg: error: ') and message in line
    assert not written


@pytest.mark.parametrize('names, message', [
    (['--classes', 'a, a'], "'a'"), (['--threshold', '0.5'], "error: --threshold=0.5 needs a background, "),
    (['--reject', '2'], 'error: --reject=2.0 must')])
def test_wrong_classes_and_thresholds_are_found_before_weights_are_read(names, message, written, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, 'load_clip', None)
    assert export(tmp_path, *names) == 1
    assert message in capsys.readouterr().err and not written


@pytest.mark.parametrize('size', ['448', '448x', '448X672', '-16x16', '16x16x3', '448x6720000'])
def test_a_size_is_a_height_and_a_width(size, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r'^2$'):
        main(['export', 'gated_tiny-clip', f'--size={size}', '--out', 'a.onnx'])
    assert f'--size: {size} must be a height and a width in pixels, e.g. 448x672' in capsys.readouterr().err


def test_a_package_that_is_missing_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, '__version__', '99')
    monkeypatch.setitem(sys.modules, 'onnx', None)
    assert export(tmp_path) == 1
    assert 'ovseg export needs onnx: ' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(Version(torch.__version__) < Version(OLDEST_TORCH), reason=f'needs torch {OLDEST_TORCH}')
@pytest.mark.parametrize('name', ['clearclip', 'gated', 'gated_full', 'maskclip', 'naclip', 'resclip', 'scclip', 'sclip',
                                  'segearth_ov', 'vanilla'])
def test_the_presets_of_the_demo_are_exported(name, tmp_path, capsys):
    for package in PACKAGES:
        pytest.importorskip(package, reason='needs the extra "export"')
    options = ['model.image_encoder.sfr_weights=None'] if name == 'resclip' else []
    assert export(tmp_path, model=f'{name}_tiny-clip', size='224x240') == bool(options)
    if options:
        assert main(['export', 'resclip_tiny-clip', '--size', '224x240', '--out', str(tmp_path / 'a.onnx'),
                     '--cfg-options', *options]) == 0
    assert 'labels as in PyTorch: ' in capsys.readouterr().out and (tmp_path / 'a.onnx').is_file()
