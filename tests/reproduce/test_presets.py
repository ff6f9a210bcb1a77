import pytest
import yaml

from ovseg.reproduce.presets import Preset, all_presets, find_presets
from ovseg.resources import configs_dir


def names(*wanted):
    return [preset.name for preset in find_presets(wanted)]


def test_all_presets_of_all_metafiles_are_configs_with_the_score_that_stands_there():
    presets = all_presets()
    assert len({preset.name for preset in presets}) == len(presets) > 100
    assert all(preset.config.is_file() for preset in presets)
    found = {preset.name: preset for preset in presets}
    assert found['naclip/naclip_vit-b16_voc20'] == Preset(
        'naclip/naclip_vit-b16_voc20', configs_dir() / 'naclip' / 'naclip_vit-b16_voc20.py', 79.7, 'published')
    assert found['gated/gated_vit-b16_ade20k'].score is None
    metafile = yaml.safe_load((configs_dir() / 'demo' / 'metafile.yml').read_text())
    score, = (model['Results'][0]['Metrics']['mIoU'] for model in metafile['Models']
              if model['Name'] == 'gated_tiny-clip_demo')
    demo = found['demo/gated_tiny-clip_demo']
    assert (demo.score, demo.origin) == (score, 'measured with ovseg')


def test_names_are_presets_methods_and_patterns():
    assert names('naclip/naclip_vit-b16_voc20') == names('naclip_vit-b16_voc20') == ['naclip/naclip_vit-b16_voc20']
    of_method = names('sclip')
    assert len(of_method) == 9 and all(name.startswith('sclip/') for name in of_method)
    assert set(names('*lip_vit-b16_voc20')) >= {'naclip/naclip_vit-b16_voc20', 'clip/clip_vit-b16_voc20'}
    assert names('sclip_vit-b16_voc21', 'sclip') == ['sclip/sclip_vit-b16_voc21',
                                                     *(name for name in of_method if not name.endswith('voc21'))]


@pytest.mark.parametrize(('name', 'near'), [('naclip_vit-b16_voc200', 'near: naclip_vit-b16_voc20'), ('?', 'ovseg list')])
def test_unknown_name(name, near):
    with pytest.raises(ValueError, match=near) as error:
        find_presets(['sclip', name])
    assert str(error.value).startswith(name) and '\n' not in str(error.value)
