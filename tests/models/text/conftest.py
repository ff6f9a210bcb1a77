"""Tiny CLIPs with every kind of text tower, and a tokenizer for them."""
import logging
from contextlib import contextmanager

import open_clip
import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

CONTEXT, VOCABULARY, E = 17, 53, 13
END = VOCABULARY - 1


class ToyTokenizer:
    """Words to ids between a start and an end token, as open_clip's: cut to the context, the last token still an end."""

    def __call__(self, texts, context_length=CONTEXT):
        ids = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(ids, texts):
            tokens = [1, *(2 + sum(map(ord, word)) % 47 for word in text.split()), END][:context_length]
            tokens[-1] = END
            row[:len(tokens)] = torch.tensor(tokens)
        return ids


class AveragingTower(nn.Module):
    """A text tower that says nothing about itself, as those from the Hugging Face hub."""

    def __init__(self):
        super().__init__()
        self.context_length = CONTEXT
        self.embedding = nn.Embedding(VOCABULARY, E)

    def forward(self, ids):
        return self.embedding(ids).mean(dim=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of cached text embeddings, which does not exist yet."""
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def tokenizer():
    return ToyTokenizer()


@pytest.fixture
def build_clip():
    """Factory of random CLIPs: ``tower_class`` and changes of ``text_cfg``."""
    def build(tower_class=open_clip.CLIP, **changes):
        text_cfg = dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=22, heads=2, layers=3)
        model = tower_class(E, dict(layers=1, width=22, head_width=11, image_size=7, patch_size=7), {**text_cfg, **changes})
        with torch.no_grad():  # at their initial values biases, norms and projections would hide mistakes
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        return model.eval()
    return build


@pytest.fixture
def clip(build_clip):
    return build_clip()


@pytest.fixture(params=['CLIP', 'CustomTextCLIP', 'end of text by id', 'linear projection', 'last token', 'no mask',
                        'class token', 'unknown tower'])
def any_clip(request, build_clip):
    """CLIPs with every text tower of open_clip; ``.cuttable`` says whether it is one that ignores what follows the end."""
    custom = open_clip.CustomTextCLIP
    build, cuttable = {
        'CLIP': (lambda: build_clip(), True),
        'CustomTextCLIP': (lambda: build_clip(custom), True),
        'end of text by id': (lambda: build_clip(custom, pool_type='eos', eos_id=END), True),
        'linear projection': (lambda: build_clip(proj_bias=True), True),
        'last token': (lambda: build_clip(custom, pool_type='last'), False),
        'no mask': (lambda: build_clip(custom, no_causal_mask=True), False),
        'class token': (lambda: build_clip(custom, embed_cls=True), False),
        'unknown tower': (lambda: build_clip(custom), False)}[request.param]
    try:
        model = build()
    except (AssertionError, TypeError) as error:
        pytest.skip(f'this open_clip has no {request.param!r}: {error}')
    if request.param == 'unknown tower':
        model.text = AveragingTower()
    model.cuttable = cuttable
    return model


@pytest.fixture
def lengths(clip):
    """The shapes ``(n, L)`` of what the text tower of ``clip`` is given, in turn."""
    seen = []
    clip.token_embedding.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape)))
    return seen


@pytest.fixture
def warnings_logged():
    """Context manager that gives the texts of the warnings logged in it."""
    @contextmanager
    def record():
        records, handler = [], logging.Handler(logging.WARNING)
        handler.emit = lambda entry: records.append(entry.getMessage())
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            yield records
        finally:
            logger.removeHandler(handler)
    return record
