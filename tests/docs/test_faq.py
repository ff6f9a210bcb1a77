"""Statements of the page "questions", where no other test shows it; its commands and settings: test_inline_code.py."""
import runpy
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.apis import MMSegInferencer, inference_model, init_model

from ovseg import cli
from ovseg.apis import OVSegInferencer
from ovseg.config import read_config
from ovseg.models import CLIPSegmentor
from ovseg.vocabulary import bundled_class_lists, read_class_list

HERE = Path(__file__).parent
inline = runpy.run_path(str(HERE / 'pages.py'))['inline']
CODE = inline('docs/faq.md')
PLACEHOLDER = 'configs/demo/gated_tiny-clip_demo.py'  # what CONFIG stands for


@pytest.mark.parametrize('page', ['docs/faq.md', 'docs/settings.md'])
def test_options_with_spaces_are_refused_and_what_is_told_instead_keeps_them(page, shell, capfd):
    setting, = (code for code in inline(page) if code.startswith('"'))
    with pytest.raises(SystemExit, match='2'):
        shell.parse(f'python tools/test.py CONFIG --cfg-options {setting}')
    assert 'the spaces would be lost' in capfd.readouterr().err

    (shell.folder / 'class_names.txt').write_text('potted plant\ncat\n')
    file = next(code for code in inline(page) if code.endswith('.txt'))
    options = shell.parse(f'python tools/test.py CONFIG --cfg-options {file}').cfg_options
    assert read_class_list(options['model.vocabulary.names']) == [['potted plant'], ['cat']]
    (shell.folder / 'my_config.py').write_text("model = dict(vocabulary=dict(names=['potted plant', 'cat']))")
    assert read_config('my_config.py', {}).model.vocabulary.names == ['potted plant', 'cat']


@pytest.fixture
def labels(checkout):
    """The label map of ``image.jpg``."""
    return OVSegInferencer('gated_tiny-clip', device='cpu')('image.jpg')['predictions'][0]


@pytest.mark.parametrize('build', [lambda config: init_model(config, device='cpu'),
                                   lambda config: OVSegInferencer(config, device='cpu').model])
def test_segmentors_are_built_and_taken_by_mmseg(build, labels):
    with DefaultScope.overwrite_default_scope('mmseg'):
        found = inference_model(build(PLACEHOLDER), 'image.jpg')
    assert (found.pred_sem_seg.data[0].numpy() == labels).all()


@pytest.mark.usefixtures('checkout')
def test_the_inferencer_of_mmseg_takes_a_config(labels):
    found = MMSegInferencer(PLACEHOLDER, device='cpu')('image.jpg', show=False)['predictions']
    assert (found == labels).all()


@pytest.mark.usefixtures('checkout')
def test_mmseg_refuses_a_flat_config():
    config = Config.fromfile(PLACEHOLDER)
    config.model = dict(type='CLIPSegmentor', clip_model='ovseg-tiny-clip', pretrained='embedded', name_path='demo_scenes')
    with pytest.raises(ValueError, match=r'clip=dict\(name='):
        init_model(config, device='cpu')


def test_names_of_predict_keep_their_spaces(monkeypatch):
    seen = []
    monkeypatch.setattr('ovseg.cli.predict.run', lambda args: seen.append(args.classes) or 0)
    cli.main(['predict', 'image.jpg', '--classes', 'potted plant, cat', '--out', 'results'])
    assert read_class_list(seen[0]) == [['potted plant'], ['cat']]


def test_gelu_is_refused_for_weights_of_openai():
    model, = (code for code in CODE if code.startswith('clip.name='))
    assert model == "clip.name='ViT-B-16'"
    with pytest.raises(ValueError, match=r"set clip\.name='ViT-B-16-quickgelu'"):
        CLIPSegmentor(dict(name='ViT-B-16', pretrained='openai'), dict(names=['cat']))
    assert 'ViT-B-16-quickgelu' in CODE


def test_the_presets_of_clip_are_set_as_the_page_says(shell):
    setting, = (code for code in CODE if code.startswith('model.image_encoder.attention.type='))
    options = shell.parse(f'python tools/test.py CONFIG --cfg-options {setting}').cfg_options
    presets = sorted((shell.folder / 'configs' / 'clip').glob('*.py'))
    assert len(presets) > 1
    for path in presets:
        encoder = read_config(path, {}).model.image_encoder
        assert options == {'model.image_encoder.attention.type': encoder.attention.type,
                           'model.image_encoder.ignore_residual': encoder.ignore_residual}
        assert set(encoder) == {'attention', 'ignore_residual'} and set(encoder.attention) == {'type'}


def test_images_of_different_sizes_go_in_batches(shell):
    batches, = (code for code in CODE if code.startswith('test_dataloader.batch_size='))
    shell.run(f'python tools/test.py CONFIG --out maps --cfg-options {batches}')
    maps = [cv2.imread(str(path)) for path in sorted((shell.folder / 'maps').glob('*.png'))]
    assert 1 < len({labels.shape for labels in maps}) <= int(batches.split('=')[1])


def test_class_lists_are_there():
    assert {'ade20k', 'ade20k_sclip'} <= set(CODE) & set(bundled_class_lists())
