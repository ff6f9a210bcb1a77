"""The base configs of the CLIPs: their weights exist in open_clip, with the activation that the model's name computes."""
import re
from pathlib import Path

import open_clip
import pytest

MODELS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
NAMES = sorted(path.name for path in MODELS.glob('clip_vit-*.py'))
LARGEST_OF_EACH = {'openai': 'openai', 'laion2b_s': 'laion2b', 'datacomp_xl': 'datacomp', 'metaclip_fullcc': 'metaclip',
                   'dfn2b': 'dfn', 'dfn5b': 'dfn'}


@pytest.mark.parametrize('name', NAMES)
def test_weights_exist_and_were_trained_with_the_model_s_activation(load, name):
    model = load(f'_base_/models/{name}').model
    tag = open_clip.get_pretrained_cfg(model.clip.name, model.clip.pretrained)
    assert tag, f'open_clip has no {model.clip.pretrained} of {model.clip.name}'
    assert open_clip.get_model_config(model.clip.name).get('quick_gelu', False) == tag.get('quick_gelu', False)


@pytest.mark.parametrize('name', NAMES)
def test_windows_are_whole_patches_of_the_named_backbone(load, name):
    model = load(f'_base_/models/{name}').model
    size, patch = re.match(r'clip_vit-([blh])(\d+)', name).groups()
    assert model.clip.name.startswith(f'ViT-{size.upper()}-{patch}')
    vision = open_clip.get_model_config(model.clip.name)['vision_cfg']
    assert vision['patch_size'] == int(patch)
    assert model.windows.crop == vision['image_size']
    assert model.windows.crop % int(patch) == 0
    if patch != '32':  # half a window of 7 patches is none
        assert model.windows.stride % int(patch) == 0


def test_all_weights_that_open_clip_has_are_there(load):
    available = set()
    for model, tag in open_clip.list_pretrained():
        size = re.fullmatch(r'ViT-(B-32|B-16|L-14|L-14-336|H-14)(-quickgelu)?', model)
        family = [name for prefix, name in LARGEST_OF_EACH.items() if re.fullmatch(rf'{prefix}(\d.*b_.*|_s13b_.*)?', tag)]
        if size and family:
            available.add((size[1], family[0]))
    ours = set()
    for name in NAMES:
        model = load(f'_base_/models/{name}').model
        family, = {label for prefix, label in LARGEST_OF_EACH.items() if model.clip.pretrained.startswith(prefix)}
        ours.add((model.clip.name.replace('-quickgelu', '')[4:], family))
    assert ours == available


def test_every_architecture_is_shown_by_a_leaf(load):
    leaves = {path.name for path in (MODELS.parents[1] / 'gated').glob('*_ade20k.py')}
    assert {f'gated_vit-{size}_ade20k.py' for size in ('b32', 'b16', 'l14', 'l14-336', 'h14')} <= leaves
