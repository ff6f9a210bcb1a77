import numpy as np
import open_clip
import pytest
import torch
from packaging.version import Version

from ovseg.models.text import TextEncoder, text_encoder

CONTEXT, E = 17, 13
NAMES = ['cat', 'traffic light', 'a', 'polar bear cub on ice', 'mud', 'Straßenbahn 🚋', '北极 熊']
TEMPLATES = ['a photo of a {}.', '{}', 'there is one {} in it']
LONGEST_OF_FIVE = sorted(len(template.replace('{}', name).split()) + 2 for name in NAMES for template in TEMPLATES)[::-5]


@torch.no_grad()
def reference(clip, tokenizer, names, templates):
    rows = []
    for name in names:
        total = 0
        for template in templates:
            embedding = clip.encode_text(tokenizer([template.replace('{}', name)]))[0].double().numpy()
            total = total + embedding / np.sqrt(sum(embedding ** 2))
        rows.append(total / np.sqrt(sum(total ** 2)))
    return np.stack(rows)


@pytest.fixture
def encoder(clip, tokenizer):
    return TextEncoder(clip, tokenizer, cache=False)


@pytest.mark.parametrize('templates', [TEMPLATES, TEMPLATES[:1]], ids=['three templates', 'one template'])
def test_equals_open_clip_prompt_by_prompt(any_clip, tokenizer, templates):
    got = TextEncoder(any_clip, tokenizer, cache=False).encode(NAMES, templates)
    assert got.shape == (7, E) and got.dtype == torch.float32
    np.testing.assert_allclose(got, reference(any_clip, tokenizer, NAMES, templates), atol=1e-6)


def test_equals_open_clip_with_its_own_tokenizer():
    clip = open_clip.create_model('ovseg-tiny-clip').eval()
    tokenizer = open_clip.get_tokenizer('ovseg-tiny-clip')
    got = TextEncoder(clip, tokenizer, cache=False).encode(NAMES, TEMPLATES)
    np.testing.assert_allclose(got, reference(clip, tokenizer, NAMES, TEMPLATES), atol=1e-6)


@pytest.mark.parametrize('batch_size', [1, 3, 4, 19, 23])
def test_batch_size_does_not_matter(clip, tokenizer, encoder, lengths, batch_size):
    expected = encoder.encode(NAMES, TEMPLATES)
    lengths.clear()
    got = TextEncoder(clip, tokenizer, batch_size, cache=False).encode(NAMES, TEMPLATES)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    sizes = [size for size, _ in lengths]
    assert sizes == [batch_size] * (21 // batch_size) + [21 % batch_size] * (21 % batch_size > 0)


def test_batches_are_cut_to_their_longest_prompt(clip, tokenizer, lengths):
    TextEncoder(clip, tokenizer, 5, cache=False).encode(NAMES, TEMPLATES)
    assert lengths == list(zip([5, 5, 5, 5, 1], LONGEST_OF_FIVE))


def test_towers_that_need_all_their_tokens_get_them(any_clip, tokenizer):
    seen = []
    encoder = TextEncoder(any_clip, tokenizer, 5, cache=False)
    encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    encoder.encode(NAMES, TEMPLATES)
    assert seen == (LONGEST_OF_FIVE if any_clip.cuttable else [CONTEXT] * 5)


def test_equal_prompts_are_encoded_once(encoder, lengths):
    templates = ['a {}', 'a big {}', 'a {}']
    names = ['cat', 'big cat', 'mud', 'cat', 'cat']
    rows = encoder.encode(names, templates)
    assert sum(size for size, _ in lengths) == len({'a cat', 'a big cat', 'a big big cat', 'a mud', 'a big mud'})
    assert torch.equal(rows[0], rows[3]) and torch.equal(rows[0], rows[4])
    for row, name in zip(rows, names):
        torch.testing.assert_close(row, encoder.encode([name], templates)[0], atol=1e-6, rtol=1e-5)


def test_names_in_several_blocks(clip, tokenizer, encoder, lengths, monkeypatch):
    expected = TextEncoder(clip, tokenizer, cache=False).encode(NAMES, TEMPLATES)
    lengths.clear()
    monkeypatch.setattr(text_encoder, 'NAMES_PER_BLOCK', 3)
    torch.testing.assert_close(encoder.encode(NAMES, TEMPLATES), expected, atol=1e-6, rtol=1e-5)
    assert [size for size, _ in lengths] == [9, 9, 3]


def test_order_of_names(encoder):
    backwards = encoder.encode(NAMES[::-1], TEMPLATES)
    torch.testing.assert_close(backwards.flip(0), encoder.encode(NAMES, TEMPLATES), atol=1e-6, rtol=1e-5)


def test_only_new_names_are_encoded(encoder, lengths):
    first = encoder.encode(NAMES, TEMPLATES)
    lengths.clear()
    assert torch.equal(encoder.encode(NAMES[::-1], TEMPLATES), first.flip(0))
    assert not lengths
    encoder.encode(['dog', *NAMES], TEMPLATES)
    assert sum(size for size, _ in lengths) == 3
    encoder.encode(NAMES, TEMPLATES[:1])
    assert sum(size for size, _ in lengths) == 3 + 7


def test_other_weights_give_other_rows(encoder):
    first = encoder.encode(NAMES, TEMPLATES)
    encoder.load_state_dict({name: tensor.flip(0) for name, tensor in encoder.state_dict().items()})
    expected = TextEncoder(encoder.clip, encoder.tokenizer, cache=False).encode(NAMES, TEMPLATES)
    assert torch.equal(encoder.encode(NAMES, TEMPLATES), expected)
    assert (first - expected).abs().max() > 0.05


def test_rows_are_unit_vectors(encoder):
    torch.testing.assert_close(encoder.encode(NAMES, TEMPLATES).norm(dim=-1), torch.ones(7))


def test_rows_that_are_not_finite_are_refused_and_named(encoder, tokenizer, lengths):
    mud = tokenizer(['mud'])[0, 1]
    with torch.no_grad():
        encoder.clip.token_embedding.weight[mud, 3] = torch.nan
    for _ in range(2):  # they are not kept either
        with pytest.raises(FloatingPointError, match="no finite embedding of 2 of 3 class names: 'mud', 'red mud'; are its"):
            encoder.encode(['cat', 'mud', 'red mud'], TEMPLATES)
    assert encoder.encode(['cat'], TEMPLATES).isfinite().all()


def test_rows_that_overflow_are_refused(encoder):
    with torch.no_grad():
        encoder.clip.text_projection.mul_(1e25)  # its square is over what float32 holds: unit embeddings would be zero
    with pytest.raises(FloatingPointError, match=r'of 7 of 7 class names: .*, …; are its weights finite'):
        encoder.encode(NAMES, TEMPLATES)


def test_templates_are_averaged_after_normalisation(encoder):
    first, second = (encoder.encode(NAMES, [template]) for template in TEMPLATES[:2])
    expected = (first + second) / (first + second).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encoder.encode(NAMES, TEMPLATES[:2]), expected, atol=1e-6, rtol=1e-5)
    assert (first - second).abs().max() > 0.05


def test_order_and_repetition_of_templates_do_not_matter(encoder):
    torch.testing.assert_close(encoder.encode(NAMES, TEMPLATES[:2]), encoder.encode(NAMES, TEMPLATES[1::-1] * 3))


def test_names_with_braces_are_taken_as_they_are(clip, tokenizer):
    seen = []
    TextEncoder(clip, lambda texts: seen.extend(texts) or tokenizer(texts), cache=False).encode(['{x}', '{}'], ['a {}.'])
    assert seen[-2:] == ['a {x}.', 'a {}.']


@pytest.mark.parametrize('name', ['two ' * 23, '木' * 7 + ' 🚋' * 19], ids=['words', 'emoji'])
def test_too_long_names_are_cut_as_open_clip_cuts_them_and_said_to_be(encoder, tokenizer, clip, warnings_logged, name):
    with warnings_logged() as warnings:
        got = encoder.encode(['cat', name, name], TEMPLATES)
    np.testing.assert_allclose(got, reference(clip, tokenizer, ['cat', name, name], TEMPLATES), atol=1e-6)
    assert len(warnings) == 1 and f'CLIP reads 17 tokens, too few for a prompt of {name!r}' in warnings[0]


def test_the_model_itself_stays_whole(clip, encoder):
    before = {name: tensor.clone() for name, tensor in [*clip.named_parameters(), *clip.named_buffers()]}
    encoder.encode(NAMES, TEMPLATES)
    after = dict([*clip.named_parameters(), *clip.named_buffers()])
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_frozen_from_the_start_and_inside_a_model_that_trains(clip, tokenizer):
    encoder = TextEncoder(clip.train(), tokenizer, cache=False)
    assert not any(module.training for module in encoder.modules())
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.encode(NAMES, TEMPLATES[:1]).requires_grad


HALVES = [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.skipif(
    Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 LayerNorm on the CPU'))]


@pytest.mark.parametrize('dtype', HALVES, ids=str)
def test_half_precision_model_gives_float32_unit_rows(clip, encoder, tokenizer, dtype):
    expected = encoder.encode(NAMES, TEMPLATES)
    got = TextEncoder(clip.to(dtype), tokenizer, cache=False).encode(NAMES, TEMPLATES)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.norm(dim=-1), torch.ones(7))
    assert torch.cosine_similarity(got, expected).min() > 0.99


def test_autocast_and_inference_mode_make_no_difference(encoder):
    expected = encoder.encode(NAMES, TEMPLATES)
    with torch.autocast('cpu', torch.bfloat16), torch.inference_mode():
        assert torch.equal(encoder.encode(NAMES, TEMPLATES), expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_cuda_equals_cpu(clip, tokenizer, encoder, dtype):
    expected = encoder.encode(NAMES, TEMPLATES)
    got = TextEncoder(clip.to('cuda', dtype), tokenizer).encode(NAMES, TEMPLATES)
    assert got.is_cuda and got.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(got.cpu(), expected, atol=tolerance, rtol=tolerance)


def test_progress_counts_all_prompts(encoder, monkeypatch):
    counts = []

    class Recorder:
        def __init__(self, what, total):
            counts.append(total)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            counts.append('closed')

        def advance(self, steps):
            counts.append(steps)

    monkeypatch.setattr(text_encoder, 'LateProgress', Recorder)
    encoder.batch_size = 13
    encoder.encode(NAMES, TEMPLATES)
    assert counts == [21, 13, 8, 'closed']
