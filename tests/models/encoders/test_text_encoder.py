import numpy as np
import open_clip
import pytest
import torch

from ovseg.models.encoders import TextEncoder

CONTEXT, VOCABULARY, E = 17, 53, 13
NAMES = ['cat', 'traffic light', 'a', 'polar bear cub on ice', 'mud']
TEMPLATES = ['a photo of a {}.', '{}', 'there is one {} in it']


def toy_tokenizer(texts):
    """Letters to ids between start (1) and end (52, the largest, where CLIP reads the embedding)."""
    ids = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
    for row, text in zip(ids, texts):
        letters = [2 + sum(map(ord, word)) % 49 for word in text.split()]
        row[:len(letters) + 2] = torch.tensor([1, *letters, VOCABULARY - 1])
    return ids


@pytest.fixture
def clip():
    model = open_clip.CLIP(E, dict(layers=1, width=22, head_width=11, image_size=7, patch_size=7),
                           dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=22, heads=2, layers=3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


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


@pytest.mark.parametrize('templates', [TEMPLATES, TEMPLATES[:1]], ids=['three templates', 'one template'])
def test_equals_open_clip_prompt_by_prompt(clip, templates):
    got = TextEncoder(clip, toy_tokenizer).encode(NAMES, templates)
    assert got.shape == (5, E) and got.dtype == torch.float32
    np.testing.assert_allclose(got, reference(clip, toy_tokenizer, NAMES, templates), atol=1e-6)


def test_equals_open_clip_with_its_own_tokenizer():
    clip = open_clip.create_model('ovseg-tiny-clip').eval()
    tokenizer = open_clip.get_tokenizer('ovseg-tiny-clip')
    got = TextEncoder(clip, tokenizer).encode(NAMES, TEMPLATES[:2])
    np.testing.assert_allclose(got, reference(clip, tokenizer, NAMES, TEMPLATES[:2]), atol=1e-6)


@pytest.mark.parametrize('batch_size', [1, 3, 4, 10])
def test_batch_size_does_not_matter(clip, batch_size):
    sizes = []

    def recording_tokenizer(texts):
        sizes.append(len(texts))
        return toy_tokenizer(texts)

    got = TextEncoder(clip, recording_tokenizer, batch_size).encode(NAMES, TEMPLATES[:2])
    assert sum(sizes) == 10 and max(sizes) == batch_size
    torch.testing.assert_close(got, TextEncoder(clip, toy_tokenizer).encode(NAMES, TEMPLATES[:2]), atol=1e-6, rtol=1e-5)


def test_a_name_s_row_does_not_depend_on_the_others(clip):
    encoder = TextEncoder(clip, toy_tokenizer)
    together = encoder.encode(NAMES, TEMPLATES[:2])
    for row, name in zip(together, NAMES):
        torch.testing.assert_close(row, encoder.encode([name], TEMPLATES[:2])[0], atol=1e-6, rtol=1e-5)


def test_rows_are_unit_vectors(clip):
    norms = TextEncoder(clip, toy_tokenizer).encode(NAMES, TEMPLATES[:2]).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones(5))


def test_templates_are_averaged_after_normalisation(clip):
    encoder = TextEncoder(clip, toy_tokenizer)
    first, second = (encoder.encode(NAMES, [template]) for template in TEMPLATES[:2])
    expected = (first + second) / (first + second).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encoder.encode(NAMES, TEMPLATES[:2]), expected, atol=1e-6, rtol=1e-5)
    assert (first - second).abs().max() > 0.05


def test_order_and_repetition_of_templates_do_not_matter(clip):
    encoder = TextEncoder(clip, toy_tokenizer)
    torch.testing.assert_close(encoder.encode(NAMES, TEMPLATES[:2]), encoder.encode(NAMES, TEMPLATES[1::-1] * 3))


def test_names_with_braces_are_taken_as_they_are(clip):
    seen = []
    TextEncoder(clip, lambda texts: seen.extend(texts) or toy_tokenizer(texts)).encode(['{x}', '{}'], ['a {}.'])
    assert seen == ['a {x}.', 'a {}.']


def test_frozen_from_the_start_and_inside_a_model_that_trains(clip):
    encoder = TextEncoder(clip.train(), toy_tokenizer)
    assert not any(module.training for module in encoder.modules())
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.encode(NAMES, TEMPLATES[:1]).requires_grad


def test_bfloat16_model_gives_float32_unit_rows(clip):
    expected = TextEncoder(clip, toy_tokenizer).encode(NAMES, TEMPLATES[:2])
    got = TextEncoder(clip.bfloat16(), toy_tokenizer).encode(NAMES, TEMPLATES[:2])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.norm(dim=-1), torch.ones(5))
    assert torch.cosine_similarity(got, expected).min() > 0.99
