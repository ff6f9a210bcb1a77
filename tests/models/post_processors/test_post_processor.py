"""Properties of every module, and the two functions that several share."""
import inspect
import math

import pytest
import torch

from ovseg.models.post_processors import PostProcessor, ScoreProcessor
from ovseg.models.post_processors.post_processor import cosine, remove_direction
from ovseg.registry import POST_PROCESSORS

MODULES = [
    dict(type='SelfAttnEnhancement', enhancement_strength=0.7, min_self_attn_threshold=0.4),
    dict(type='SelfAttnEnhancement', enhancement_strength=0.7, min_self_attn_threshold=0.4, mode='attention'),
    *(dict(type='OutlierSuppression', top_k=7, contamination_temp=0.4, detector=detector)
      for detector in ('cls_ratio', 'deviation', 'norm', 'lof')),
    *(dict(type='GlobalDebias', factor=0.8, normalize_cls=normalize_cls) for normalize_cls in (False, True)),
    dict(type='CTD', eps=0.5, min_samples=4),
    dict(type='CTD', metric='cosine', eps=0.15, min_samples=4, normalize_cls=False)]


@pytest.fixture(params=MODULES, ids=lambda cfg: '-'.join(str(value) for value in cfg.values()))
def module(request):
    return POST_PROCESSORS.build(dict(request.param))


def changed(features, change):
    """``change`` applied to every tensor."""
    tensors = {name: change(getattr(features, name)) for name in ('patches', 'cls_token', 'attn')}
    return features.replace(**tensors)


def test_every_registered_module_of_features_of_ours_is_listed_here():
    ours = {name for name, class_ in POST_PROCESSORS.module_dict.items()
            if class_.__module__.startswith('ovseg.') and not issubclass(class_, ScoreProcessor)}
    assert ours == {cfg['type'] for cfg in MODULES} == {'SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD'}


def test_it_changes_these_features(features_of, module):
    features = features_of((5, 7))
    for before, after in zip(features.patches, module(features).patches):
        assert not torch.allclose(before, after)


def test_windows_in_a_batch_equal_windows_alone(features_of, module, grid):
    features = features_of(grid)
    found = module(features).patches
    for b in range(3):
        alone = module(changed(features, lambda x, b=b: x[b:b + 1]))
        torch.testing.assert_close(found[b:b + 1], alone.patches, atol=1e-6, rtol=1e-5)


def test_permuting_the_batch_permutes_the_result(features_of, module, grid):
    features, order = features_of(grid), [2, 0, 1]
    permuted = module(changed(features, lambda x: x[order]))
    torch.testing.assert_close(permuted.patches, module(features).patches[order], atol=1e-6, rtol=1e-5)


def test_inputs_are_never_written_to(features_of, module, grid):
    features = features_of(grid)
    before = changed(features, torch.clone)
    module(features)
    assert all(torch.equal(getattr(features, name), getattr(before, name)) for name in ('patches', 'cls_token', 'attn'))


def test_inputs_need_not_be_contiguous(features_of, module):
    features = features_of((5, 7))
    strided = changed(features, lambda x: x.transpose(0, -1).contiguous().transpose(0, -1))
    assert not any(x.is_contiguous() for x in (strided.patches, strided.cls_token, strided.attn))
    torch.testing.assert_close(module(strided).patches, module(features).patches, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_dtype_is_kept(features_of, module, grid, dtype):
    found = module(changed(features_of(grid), lambda x: x.to(dtype)))
    assert (found.patches.dtype, found.cls_token.dtype, found.attn.dtype) == (dtype,) * 3
    assert found.patches.shape == (3, grid[0] * grid[1], 11) and found.patches.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(features_of, module, dtype):
    """Squares of these numbers, and their sums, exceed the range of float16."""
    features = features_of((5, 7))
    features = features.replace(patches=200 * features.patches, cls_token=200 * features.cls_token)
    half = changed(features, lambda x: x.to(dtype))
    found, expected = module(half).patches, module(changed(half, lambda x: x.float())).patches
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected.to(dtype))


def test_gradients_are_not_needed(features_of, module):
    assert not module(features_of((2, 2))).patches.requires_grad


def test_a_batch_without_windows_stays_empty(features_of, module):
    found = module(changed(features_of((5, 7)), lambda x: x[:0]))
    assert found.patches.shape == (0, 35, 11)


def test_all_zeros_stay_zeros(features_of, module, grid):
    found = module(changed(features_of(grid), torch.zeros_like).replace(attn=features_of(grid).attn))
    assert torch.equal(found.patches, torch.zeros_like(found.patches))


def test_the_type_names_the_file():
    for name in ('SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD'):
        snake = name.lower() if name.isupper() else ''.join('_' + c.lower() if c.isupper() else c for c in name).lstrip('_')
        assert POST_PROCESSORS.get(name).__module__ == f'ovseg.models.post_processors.{snake}'


def test_stages_and_needs():
    found = {name: (POST_PROCESSORS.get(name).stage, POST_PROCESSORS.build(dict(type=name)).needs_attention)
             for name in ('SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD')}
    assert found == dict(SelfAttnEnhancement=('tokens', True), OutlierSuppression=('tokens', True),
                         GlobalDebias=('embeddings', False), CTD=('embeddings', False))


def test_a_module_without_a_call_cannot_be_made():
    class Nothing(PostProcessor):
        stage = 'tokens'
    assert inspect.isabstract(Nothing)
    with pytest.raises(TypeError, match='abstract'):
        Nothing()


# ---- shared functions ------------------------------------------------------------------------------------------------


def plain_cosine(a, b):
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / lengths if lengths else 0.0


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32], ids=str)
def test_cosines_equal_plain_ones(dtype):
    a, b = (100 * torch.randn(2, 5, 7)).to(dtype), (100 * torch.randn(2, 3, 7)).to(dtype)
    a[0, 2] = b[1, 1] = 0
    expected = [[[plain_cosine(x, y) for y in b[w].tolist()] for x in a[w].tolist()] for w in range(2)]
    found = cosine(a, b)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_a_direction_is_removed():
    x, amount, direction = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[0.5], [2.0]]]), torch.tensor([[3.0, 4.0]])
    assert remove_direction(x, amount, direction, normalize=False).tolist() == [[[-0.5, 0.0], [-3.0, -4.0]]]
    torch.testing.assert_close(remove_direction(x, amount, direction, normalize=True),
                               torch.tensor([[[1 - 0.3, 2 - 0.4], [3 - 1.2, 4 - 1.6]]]))
