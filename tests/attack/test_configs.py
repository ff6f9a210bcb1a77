"""Our configs with values replaced, keys deleted and types changed: a model, or one line that names what is wrong."""
import copy
import dataclasses
import random
import re
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from ovseg.apis import ovseg_inferencer
from ovseg.apis.model_config import find_config, load_config
from ovseg.config import read_config
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.models.segmentors.switches import FLAT
from ovseg.models.towers import loading
from ovseg.resources import configs_dir

FILES = sorted(path for path in configs_dir().rglob('*.py') if '_base_' not in path.parts and 'heads' not in path.stem)
VALUES = [5, -1, 0, 1.5, 10 ** 400, 10 ** 30, 10 ** 5000, float('nan'), float('inf'), 1e300, True, None, '', 'x', '\x1b[31m\n',
          [], {}, (), [1], ['a'], dict(type='X'), dict(type=5), dict(type='PAMR'), dict(x=1), object, b'x', [None], 'a' * 5000,
          [[]], 2 ** 62, -2 ** 70, '\0', dict(type='PAMR', num_iter=10 ** 30), [dict(type='CTD', eps='x')], ['CTD', 5]]
COMPONENTS = dict(
    clip=dict(name='ovseg-tiny-clip', pretrained=None), vocabulary=dict(names='demo_scenes', templates='plain'),
    image_encoder=dict(type='LastBlockEncoder', attention=dict(type='NACLIP', gaussian_std=3.0), ignore_residual=True,
                       similarity=dict(similarity_weight=1.0, temperature=1.0, layer=2, add_self_similarity=True),
                       cls_source='clip', attention_layer=-1, precision='fp32', compile=False),
    post_processors=[
        dict(type='SelfAttnEnhancement', enhancement_strength=0.1, min_self_attn_threshold=0.1),
        dict(type='OutlierSuppression', top_k=7, contamination_temp=0.1, detector='lof'), dict(type='GlobalDebias', factor=0.1),
        dict(type='CTD', eps=0.9, min_samples=3, metric='euclidean', factor=0.3, normalize_cls=True)],
    windows=dict(crop=224, stride=112, pad_mode='center', batch_size=3),
    decoder=dict(logit_scale=40, prob_thd=0.1, area_thd=0.1, bg_idx=0, refiner=dict(type='PAMR', num_iter=3),
                 cls_token_lambda=0.1, memory_mb=7, with_seg_logits=False),
    data_preprocessor=dict(type='OVSegDataPreProcessor', mean=[1., 2., 3.], std=[1., 2., 3.]))
SWITCHES = dict(
    clip_model='ovseg-tiny-clip', pretrained=None, name_path='demo_scenes', prompt_templates='plain', model_type='Gated',
    attention_cfg=dict(scale=0.5), ignore_residual=True, apply_similarity_enhancement=True,
    similarity_enhancement_cfg=dict(similarity_weight=1.0, temperature=1.0, layer=2), apply_self_attn_enhancement=True,
    self_attn_enhancement_cfg=dict(enhancement_strength=0.1, min_self_attn_threshold=0.1), apply_outlier_suppression=True,
    outlier_suppression_cfg=dict(top_k=7, contamination_temp=0.1, detector='lof'), global_debias_factor=0.1, apply_ctd=True,
    ctd_cfg=dict(eps=0.9, min_samples=3, metric='euclidean', factor=0.3, normalize_cls=True), slide_crop=224, slide_stride=112,
    pad_mode='center', logit_scale=40, prob_thd=0.1, bg_idx=0, data_preprocessor=COMPONENTS['data_preprocessor'])
MODELS_BUILT = [dict(type='CLIPSegmentor', **settings) for settings in (COMPONENTS, SWITCHES)]


@pytest.fixture
def built_once(monkeypatch):
    """The tiny CLIP is made once for each setting of its own, not for each case."""
    made = {}
    original = loading.load_clip

    def load(name, pretrained):
        if not isinstance(pretrained, (str, type(None))):
            return original(name, pretrained)
        if (name, pretrained) not in made:
            made[name, pretrained] = original(name, pretrained)
        clip = made[name, pretrained]
        return dataclasses.replace(clip, image_tower=copy.deepcopy(clip.image_tower), _copies={})
    monkeypatch.setattr(loading, 'load_clip', load)


@cache
def read(path):
    return Config.fromfile(path).to_dict()


def config_dict(path):
    """A config as a dict of its own."""
    return copy.deepcopy(read(path))


def mutate(rng, node):
    """Change one thing somewhere in a nest of dicts and lists, in place; returns the keys that lead there."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return ()
    key = rng.choice(keys)
    if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.8:
        return (key, *mutate(rng, node[key]))
    action = rng.random()
    if action < 0.15:
        del node[key]
    elif action < 0.25 and isinstance(node, dict):
        node[rng.choice(['zzz', 'x y', '', '_scope_', 'eps'])] = node.pop(key)
    else:
        node[key] = copy.deepcopy(rng.choice(VALUES))
    return (key,)


def one_line_naming(error, names):
    text = str(error)
    return text.isprintable() and len(text) < 6000 and any(str(name) in text for name in names)


@pytest.mark.parametrize(('base', 'kept'), zip(MODELS_BUILT, ([], [396, 1215])), ids=['components', 'switches'])
def test_any_model(attack, built_once, base, kept):
    """Settings of the model, which is built."""
    models = 0
    for seed in attack.seeds(11, 800, kept=kept):
        with attack.one_case(seed):
            rng, model = random.Random(seed), copy.deepcopy(base)
            paths = [mutate(rng, model) for _ in range(rng.choice([1, 1, 1, 2]))]
            names = {part for path in paths for part in map(str, path)}
            names |= {re.sub('^apply_|_cfg$', '', name) for name in names} | {'CLIPSegmentor', 'class list', 'template'}
            names |= {'eps', 'post-processor'}  # a key may have been renamed so, and what the chain calls its items
            names |= {part for name in names for part in FLAT.get(name, '').split('.') if part}
            try:
                cfg = load_config(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=[]))), None, {})
                assert isinstance(ovseg_inferencer._build(cfg)[0], CLIPSegmentor)
                models += 1
            except (ValueError, OSError) as error:
                assert one_line_naming(error, names | {'the config'}), (paths, error)
    assert models  # some mutations do no harm


def test_any_config(attack, built_once, tmp_path):
    """All of the configs that come with ovseg: read, checked, and the test pipeline built, with a tiny model."""
    path = tmp_path / 'mine.py'
    model = Config.fromfile(find_config('gated_tiny-clip')).model.to_dict()
    for seed in attack.seeds(9, 500, kept=[500]):
        with attack.one_case(seed):
            rng = random.Random(seed)
            cfg = config_dict(rng.choice(FILES))
            cfg['model'] = copy.deepcopy({**model, 'clip': COMPONENTS['clip'], 'vocabulary': COMPONENTS['vocabulary']})
            changed = [mutate(rng, cfg) for _ in range(rng.choice([1, 2, 3]))]
            text = ''.join(f'{key} = {_written(value)}\n' for key, value in cfg.items() if str(key).isidentifier())
            path.write_text(text, encoding='utf-8')
            try:
                cfg = read_config(path, {}, ['model.type', 'test_dataloader.dataset.pipeline'])
                with DefaultScope.overwrite_default_scope('mmseg'):
                    ovseg_inferencer._build(cfg)
            except (ValueError, OSError) as error:
                names = {str(path), *(str(part) for keys in changed for part in keys)}
                names |= {re.sub('^apply_|_cfg$', '', name) for name in names} | {'CLIPSegmentor', 'class list'}
                assert one_line_naming(error, names), (changed, error)


def _written(value):
    if isinstance(value, dict):
        return '{' + ', '.join(f'{key!r}: {_written(item)}' for key, item in value.items()) + '}'
    if isinstance(value, (list, tuple)):
        inside = ', '.join(map(_written, value))
        return f'[{inside}]' if isinstance(value, list) else f'({inside}{"," if len(value) == 1 else ""})'
    if isinstance(value, float):
        return f'float({str(value)!r})'
    if isinstance(value, int) and abs(value) > 10 ** 9:
        return hex(value)
    return 'object' if value is object else repr(value)


def test_any_text(attack, tmp_path):
    """Letters of a config taken out, put in or exchanged."""
    path = tmp_path / 'mine.py'
    sources = [Path(file).read_text(encoding='utf-8') for file in FILES if 'demo' in file.parts]
    for seed in attack.seeds(50, 2000):
        with attack.one_case(seed):
            rng = random.Random(seed)
            letters = list(rng.choice(sources))
            for _ in range(rng.choice([1, 1, 2, 7])):
                place = rng.randrange(len(letters))
                new = rng.choices('()[]{}=,.\'"\n\0\\ #:é木\x1b\u202ex1', k=rng.randint(0, 3))
                letters[place:place + rng.randint(0, 3)] = new
            path.write_text(''.join(letters), encoding='utf-8')
            try:
                read_config(path, {}, ['model.type'])
            except ValueError as error:
                assert one_line_naming(error, [path]), error


@pytest.mark.parametrize('base', MODELS_BUILT, ids=['components', 'switches'])
def test_the_model_is_built(built_once, base):
    """The mutations start from what is built."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert isinstance(MODELS.build(base), CLIPSegmentor)
