import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg.models.post_processors import (
    CTD,
    GlobalDebias,
    OutlierSuppression,
    PostProcessor,
    PostProcessorChain,
    SelfAttnEnhancement,
)

OURS = ('CTD', 'GlobalDebias', 'OutlierSuppression', 'SelfAttnEnhancement')


class Append(PostProcessor):
    """Multiplies by ten and adds its number, so that the result tells the order."""

    def __init__(self, number, stage, needs_attention=False):
        self.number, self.stage, self.needs_attention = number, stage, needs_attention

    def __call__(self, features):
        return features.replace(patches=10 * features.patches + self.number)


def order_of(chain, features_of, stage):
    features = features_of((1, 1), batch=1, channels=1)
    return chain(features.replace(patches=torch.zeros(1, 1, 1)), stage).patches.item()


def test_modules_of_a_stage_act_in_order(features_of):
    chain = PostProcessorChain([Append(1, 'tokens'), Append(2, 'tokens'), Append(3, 'embeddings'), Append(4, 'embeddings')])
    assert order_of(chain, features_of, 'tokens') == 12
    assert order_of(chain, features_of, 'embeddings') == 34


def test_a_chain_equals_its_modules_by_hand(features_of, grid):
    features = features_of(grid)
    chain = PostProcessorChain([
        dict(type='SelfAttnEnhancement', enhancement_strength=0.9), dict(type='OutlierSuppression', top_k=5),
        dict(type='GlobalDebias', factor=0.3), dict(type='CTD', eps=0.7, min_samples=2)])
    tokens = OutlierSuppression(top_k=5)(SelfAttnEnhancement(0.9)(features)).patches
    embeddings = CTD(eps=0.7, min_samples=2)(GlobalDebias(0.3)(features)).patches
    assert torch.equal(chain(features, 'tokens').patches, tokens)
    assert torch.equal(chain(features, 'embeddings').patches, embeddings)


class Replace(PostProcessor):
    """Returns what a function makes of the features."""

    stage = 'embeddings'

    def __init__(self, function):
        self.function = function

    def __call__(self, features):
        return self.function(features)


LAYOUT_CHANGES = {
    'a patch fewer': (lambda x: x.replace(patches=x.patches[:, 1:]), 'patches (3, 35, 11) and returned (3, 34, 11)'),
    'a finer grid': (lambda x: x.replace(patches=x.patches.repeat(1, 4, 1), grid_size=(10, 14)),
                     'grid_size (5, 7) and returned (10, 14)'),
    'a grid turned': (lambda x: x.replace(grid_size=(7, 5)), 'grid_size (5, 7) and returned (7, 5)'),
    'windows lost': (lambda x: x.replace(patches=x.patches[:1]), 'patches (3, 35, 11) and returned (1, 35, 11)'),
    'another width': (lambda x: x.replace(patches=x.patches[..., :2]), 'patches (3, 35, 11) and returned (3, 35, 2)'),
    'no CLS token': (lambda x: x.replace(cls_token=None), 'cls_token (3, 11) and returned None'),
    'wide CLS token': (lambda x: x.replace(cls_token=x.cls_token[:, None]), 'cls_token (3, 11) and returned (3, 1, 11)'),
    'no attention': (lambda x: x.replace(attn=None), 'attn (3, 36, 36) and returned None'),
    'attention of patches': (lambda x: x.replace(attn=x.attn[:, 1:, 1:]), 'attn (3, 36, 36) and returned (3, 35, 35)')}


@pytest.mark.parametrize(('change', 'message'), LAYOUT_CHANGES.values(), ids=LAYOUT_CHANGES)
def test_a_module_that_changes_the_layout_is_named_with_both_shapes(features_of, change, message):
    chain = PostProcessorChain([GlobalDebias(), Replace(change)])
    assert refusal(chain, features_of((5, 7)), 'embeddings') == (
        f'post-processor Replace must keep the shape of its input: it was given {message}')


@pytest.mark.parametrize('result', [None, torch.ones(3, 35, 11)], ids=['None', 'a tensor'])
def test_a_module_that_returns_no_features_is_named(features_of, result):
    message = refusal(PostProcessorChain([Replace(lambda features: result)]), features_of((5, 7)), 'embeddings')
    assert message == f'post-processor Replace must return DenseFeatures, not {type(result).__name__}'


def test_features_without_attention_may_not_gain_one(features_of):
    features = features_of((5, 7))
    message = refusal(PostProcessorChain([Replace(lambda _: features)]), features.replace(attn=None), 'embeddings')
    assert message.endswith('it was given attn None and returned (3, 36, 36)')


def test_an_empty_chain_returns_what_it_is_given(features_of):
    features, chain = features_of((2, 2)), PostProcessorChain()
    assert chain(features, 'tokens') is features and chain(features, 'embeddings') is features
    assert not chain.needs_attention


def test_it_needs_attention_if_a_module_does():
    plain, needy = Append(1, 'embeddings'), Append(2, 'embeddings', needs_attention=True)
    assert not PostProcessorChain([plain]).needs_attention
    assert PostProcessorChain([plain, needy]).needs_attention
    assert PostProcessorChain([needy, plain]).needs_attention


def test_own_orders_within_a_stage_are_allowed():
    chain = PostProcessorChain([dict(type=name) for name in ('OutlierSuppression', 'SelfAttnEnhancement', 'CTD', 'GlobalDebias',
                                                             'CTD')])
    assert [type(module).__name__ for module in chain.modules] == [
        'OutlierSuppression', 'SelfAttnEnhancement', 'CTD', 'GlobalDebias', 'CTD']


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 6), width=st.integers(1, 6),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]), mode=st.sampled_from(['feature', 'attention']))
def test_a_chain_of_modules_that_are_off_changes_no_bit(features_of, seed, height, width, dtype, mode):
    features = features_of((height, width), seed=seed)
    features = features.replace(patches=features.patches.to(dtype), cls_token=features.cls_token.to(dtype))
    chain = PostProcessorChain([SelfAttnEnhancement(0, mode=mode), OutlierSuppression(0), GlobalDebias(0), CTD(factor=0)])
    for stage in ('tokens', 'embeddings'):
        found = chain(features, stage)
        assert torch.equal(found.patches, features.patches) and torch.equal(found.cls_token, features.cls_token)


# ---- refusals --------------------------------------------------------------------------------------------------------


def refusal(function, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(('first', 'second'), [('CTD', 'OutlierSuppression'), ('GlobalDebias', 'SelfAttnEnhancement')])
def test_a_chain_that_goes_back_to_tokens_is_refused(first, second):
    message = refusal(PostProcessorChain, [dict(type=first), dict(type=second)])
    assert all(text in message for text in ('post_processors', first, second, 'tokens', 'embeddings'))


def test_going_back_is_refused_further_down_too():
    message = refusal(PostProcessorChain, [Append(1, 'tokens'), GlobalDebias(), Append(3, 'embeddings'), OutlierSuppression()])
    assert 'OutlierSuppression works on tokens and cannot follow Append' in message


def test_an_unknown_stage_is_refused():
    message = refusal(PostProcessorChain, [Append(1, 'pixels')])
    assert all(text in message for text in ('Append', "'pixels'", 'tokens, embeddings'))


def test_a_module_without_a_stage_is_refused():
    class Sharpen(PostProcessor):
        def __call__(self, features):
            return features

    for modules in ([Sharpen], [GlobalDebias(), Sharpen()]):
        assert refusal(PostProcessorChain, modules) == 'Sharpen.stage=None is unknown; known: tokens, embeddings, scores'


@pytest.mark.parametrize('alone', [False, True])
@pytest.mark.parametrize('type_', ['Sharpen', 'ctd ', '', None, 3])
def test_an_unknown_type_lists_the_known(type_, alone):
    message = refusal(PostProcessorChain, [type_ if alone else dict(type=type_)])
    assert f'type={type_!r} is unknown' in message and all(name in message for name in OURS)


def test_a_missing_type_lists_the_known():
    message = refusal(PostProcessorChain, [dict(eps=0.3)])
    assert 'type' in message and all(name in message for name in OURS)


def test_an_unknown_key_lists_the_known():
    message = refusal(PostProcessorChain, [dict(type='CTD', epsilon=0.3)])
    assert all(text in message for text in ("CTD has no key 'epsilon'", "did you mean 'eps'", 'min_samples', 'normalize_cls'))


@pytest.mark.parametrize('modules', [dict(type='CTD'), 3, 'CTD'], ids=str)
def test_what_is_no_list_of_modules_is_refused(modules):
    assert 'post_processors=' in refusal(PostProcessorChain, modules)


def test_types_may_be_classes():
    chain = PostProcessorChain([dict(type=GlobalDebias, factor=0.3), CTD])
    assert [type(module) for module in chain.modules] == [GlobalDebias, CTD] and chain.modules[0].factor == 0.3
    assert "GlobalDebias has no key 'factro'" in refusal(PostProcessorChain, [dict(type=GlobalDebias, factro=0.3)])


@pytest.mark.parametrize(('has_attention', 'has_cls', 'modules', 'message'), [
    (False, True, ['CTD', 'GlobalDebias'], None),
    (True, True, ['SelfAttnEnhancement', 'OutlierSuppression', 'GlobalDebias', 'CTD'], None),
    (False, False, [dict(type='OutlierSuppression', detector='norm')], None),
    (False, True, ['SelfAttnEnhancement'], 'SelfAttnEnhancement needs the attention of the image encoder, and Plain '),
    (False, True, ['OutlierSuppression'], 'OutlierSuppression needs the attention of the image encoder, and Plain '),
    (True, False, ['OutlierSuppression', 'CTD'], 'OutlierSuppression needs the CLS token of the image encoder, and Plain '),
    (True, False, ['SelfAttnEnhancement'], 'SelfAttnEnhancement needs the CLS token'),
    (True, False, ['CTD'], 'CTD needs the CLS token'),
    (True, False, ['GlobalDebias'], 'GlobalDebias needs the CLS token')], ids=str)
def test_modules_that_need_what_the_encoder_does_not_give_are_refused(has_attention, has_cls, modules, message):
    chain = PostProcessorChain(modules)
    if message is None:
        chain.check(has_attention, has_cls, 'Plain')
    else:
        assert message in refusal(chain.check, has_attention, has_cls, 'Plain')


def test_steps_are_the_modules_with_what_leaves_them(features_of):
    chain = PostProcessorChain([Append(1, 'tokens'), Append(2, 'tokens'), Append(3, 'embeddings')])
    features = features_of((2, 3))
    first, second = chain.steps(features, 'tokens')
    assert [step[0].number for step in (first, second)] == [1, 2]
    assert torch.equal(first[1].patches, 10 * features.patches + 1)
    assert torch.equal(second[1].patches, 10 * first[1].patches + 2)
