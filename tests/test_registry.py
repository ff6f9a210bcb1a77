import pytest

from ovseg.registry import ATTENTIONS

NAMES = ['Vanilla', 'MaskCLIP', 'SCLIP', 'ClearCLIP', 'NACLIP', 'KK', 'SFP', 'SegEarth', 'Experimental', 'Gated']


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('spelling', [str, str.upper, str.lower, str.swapcase])
def test_names_are_matched_without_regard_to_case(name, spelling):
    assert ATTENTIONS.get(spelling(name)) is ATTENTIONS.module_dict[name]


def test_ten_names_for_nine_attentions():
    assert {name for name in ATTENTIONS.module_dict if name in NAMES} == set(NAMES)
    assert len({ATTENTIONS.get(name) for name in NAMES}) == 9
    assert ATTENTIONS.get('gated') is ATTENTIONS.get('experimental')


def test_an_unknown_name_gives_none():
    assert ATTENTIONS.get('NoSuchAttention') is None


def test_an_entry_of_ones_own_is_found_in_any_case(monkeypatch):
    monkeypatch.setattr(ATTENTIONS, '_module_dict', dict(ATTENTIONS.module_dict))

    @ATTENTIONS.register_module(name='MyAttention')
    def my_attention():
        pass

    assert ATTENTIONS.get('myattention') is my_attention


def test_of_two_names_that_differ_in_case_each_finds_its_own(monkeypatch):
    monkeypatch.setattr(ATTENTIONS, '_module_dict', dict(ATTENTIONS.module_dict))
    own = ATTENTIONS.register_module(name='Sclip', module=lambda q, k, v, grid_size, bias=None: q)
    assert ATTENTIONS.get('Sclip') is own is not ATTENTIONS.get('SCLIP')
