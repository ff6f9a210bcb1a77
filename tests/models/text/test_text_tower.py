from importlib.metadata import version

import open_clip
import pytest
import torch
from packaging.version import Version

from ovseg.models.text.text_tower import can_cut, cut_to, needed_tokens

CONTEXT, END = 17, 52
ENDS = [3, 11, 5, 16, 7]


@pytest.fixture
def ids(generator):
    """Rows that end at ``ENDS`` with the largest id, which is the end of text, then noise."""
    ids = torch.randint(2, END, (5, CONTEXT), generator=generator)
    ids[range(5), ENDS] = END
    return ids


def test_rule(any_clip):
    assert can_cut(any_clip) is any_clip.cuttable


@torch.no_grad()
def test_tokens_beyond_the_needed_change_nothing_and_the_last_needed_does(any_clip, ids):
    expected = any_clip.encode_text(ids)
    needed = needed_tokens(any_clip, ids)
    assert needed.tolist() == ([end + 1 for end in ENDS] if any_clip.cuttable else [CONTEXT] * 5)
    for position in range(CONTEXT):
        changed = ids.clone()
        changed[:, position] = 1  # never drawn, smaller than all
        outside = position >= needed
        differs = (any_clip.encode_text(changed) - expected).abs().amax(dim=1) > 1e-6
        assert not differs[outside].any()
        assert differs[position == needed - 1].all()


@pytest.mark.parametrize('length', [1, 2, 13, CONTEXT])
def test_cut_to_names_tensors_of_the_model(any_clip, length):
    tensors = dict([*any_clip.named_parameters(), *any_clip.named_buffers()])
    cut = cut_to(any_clip, length)
    assert bool(cut) is any_clip.cuttable
    for name, tensor in cut.items():
        assert torch.equal(tensor, tensors[name][:length, :length] if 'mask' in name else tensors[name][:length])


def test_row_without_an_end_needs_what_open_clip_reads(build_clip, ids):
    clip = build_clip()
    ids[1] = 9
    assert needed_tokens(clip, ids)[1] == 1
    ids[1, 13] = 10
    assert needed_tokens(clip, ids)[1] == 14


@pytest.mark.skipif(Version(version('open_clip_torch')) < Version('3.1'), reason='this open_clip has no eos pooling')
@torch.no_grad()
def test_end_of_text_by_id_need_not_be_the_largest_id(build_clip, ids):
    clip = build_clip(open_clip.CustomTextCLIP, pool_type='eos', eos_id=1)
    ends = [2, 13, 1, 7, 11]
    ids[range(5), ends] = 1
    needed = needed_tokens(clip, ids)
    assert needed.tolist() == [end + 1 for end in ends]
    noise = torch.arange(CONTEXT) >= needed[:, None]
    torch.testing.assert_close(clip.encode_text(ids.masked_fill(noise, 9)), clip.encode_text(ids))
