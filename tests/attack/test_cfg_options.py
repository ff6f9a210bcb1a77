"""Random ``--cfg-options`` against what reads them, what merges them and what is built of them."""
import argparse
import random

import pytest
from mmengine.config import Config, DictAction

from ovseg.apis.model_config import find_config
from ovseg.cfg_options import setting
from ovseg.config import check_config, merge_options

NAME = 'gated_full_tiny-clip'
NEEDED = ['model.type', 'test_dataloader.dataset.pipeline', 'test_evaluator']
PIECES = ['model', 'test_dataloader', 'dataset', 'pipeline', 'test_evaluator', 'default_hooks', 'work_dir', 'env_cfg', 'x',
          'mp_cfg', 'slide_crop', 'logit_scale', 'name_path', 'ctd_cfg', 'eps', 'type', '0', '1', '99', '²', '_delete_',
          '_base_', 'metainfo', 'visualizer', 'vis_backends', 'custom_imports', 'tta_model', '__class__', 'a b', '木', '',
          '\x1b[31m']
COMPONENTS = ['clip', 'name', 'vocabulary', 'names', 'image_encoder', 'attention', 'attention_cfg', 'similarity',
              'post_processors', 'windows', 'crop', 'decoder', 'refiner', 'apply_ctd', 'apply_similarity_enhancement',
              'global_debias_factor', 'model_type', 'ctd_cfg', 'eps', 'type', '0', '1', '99', 'x', '']
VALUES = ['5', '-1', '1e400', '9' * 400, '9' * 5000, 'nan', 'None', 'True', '[]', '()', '[1,2', ')(', '[1),(2]', '[[a],(b,)]',
          '{}', 'dict(a=1)', 'a,b', ',', "'", '"x', ' ', 'a b', '=', '[' * 60, '[' * 60 + ']' * 60, '\n', '\x1b[31m', 'CTD']


def some_option(rng, pieces):
    key = '.'.join(rng.choices(pieces, k=rng.choice([1, 1, 2, 3, 4])))
    if rng.random() < 0.5:
        key = rng.choice(['model.', 'test_dataloader.dataset.', 'test_evaluator.', 'test_dataloader.dataset.pipeline.1.']) + key
    value = rng.choice(VALUES) if rng.random() < 0.8 else ''.join(rng.choices('[](),=\'"a1. -\\{}\n', k=rng.randint(0, 12)))
    return key + rng.choice(['=', '=', '=', '=', '==', '']) + value


@pytest.mark.parametrize('pieces, kept', [(PIECES, [211, 290]), (COMPONENTS, [])], ids=['config', 'model'])
def test_any_options(attack, pieces, kept):
    original = Config.fromfile(find_config(NAME))
    for seed in attack.seeds(150, 6000, kept=kept):
        with attack.one_case(seed):
            rng = random.Random(seed)
            texts = [some_option(rng, pieces) for _ in range(rng.choice([1, 1, 2, 3]))]
            parser = argparse.ArgumentParser(exit_on_error=False)
            parser.add_argument('--cfg-options', nargs='+', type=setting, action=DictAction)
            try:
                options = parser.parse_args([f'--cfg-options={text}' for text in texts[:1]]).cfg_options
                for text in texts[1:]:
                    options.update(parser.parse_args([f'--cfg-options={text}']).cfg_options)
            except argparse.ArgumentError as error:
                assert any(reason in str(error) for reason in ('not KEY=VALUE', 'the brackets', 'spaces would be lost')), error
                continue
            cfg = original.copy()
            try:
                merge_options(cfg, options, NAME)
                check_config(cfg, NAME, NEEDED)
            except ValueError as error:
                keys = {part for key in options for part in key.split('.') if key.startswith('model.')} & {*COMPONENTS[:-5]}
                assert any(name in str(error) for name in [NAME, *keys]), error  # the model's own checks name the key
                assert str(error).isprintable() and len(str(error)) < 5000, error


@pytest.mark.parametrize('key, value', [('model', 5), ('test_dataloader', 5), ('test_evaluator', 3), ('default_hooks', 1),
                                        ('work_dir', 5), ('model.type', None), ('test_dataloader.dataset.pipeline', 'x'),
                                        ('test_dataloader.dataset.pipeline.0', 5)])
def test_options_that_once_ended_in_a_traceback(key, value):
    cfg = Config.fromfile(find_config(NAME))
    with pytest.raises(ValueError, match=f'{NAME}: {key}=|{NAME} has no .{key}|{key} cannot be set in {NAME}'):
        merge_options(cfg, {key: value}, NAME)
        check_config(cfg, NAME, NEEDED)
