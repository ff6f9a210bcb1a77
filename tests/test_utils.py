import pytest

from ovseg.utils import check_choice, check_keys


def test_a_known_choice_is_returned():
    assert check_choice('mode', 'fast', ('slow', 'fast')) == 'fast'


def test_an_unknown_choice_is_answered_with_key_value_and_choices():
    with pytest.raises(ValueError, match=r"mode='fats' is unknown; known: slow, fast"):
        check_choice('mode', 'fats', ('slow', 'fast'))


def test_allowed_keys_pass():
    check_keys('ctd_cfg', dict(eps=1.1), ['eps', 'metric'])
    check_keys('ctd_cfg', {}, [])


def test_an_unknown_key_is_answered_with_the_nearest_and_all_allowed():
    with pytest.raises(ValueError) as error:
        check_keys('ctd_cfg', dict(eps=1, min_sample=3), ['min_samples', 'eps', 'metric'])
    assert str(error.value) == ("ctd_cfg has no key 'min_sample'; did you mean 'min_samples'?"
                                '; allowed: eps, metric, min_samples')


def test_a_far_off_key_gets_no_suggestion():
    with pytest.raises(ValueError) as error:
        check_keys('ctd_cfg', dict(colour=1), ['eps', 'metric'])
    assert 'did you mean' not in str(error.value)
    assert 'allowed: eps, metric' in str(error.value)


def test_the_context_and_an_empty_allowance_are_said():
    with pytest.raises(ValueError, match=r"attention_cfg has no key 'scale' with model_type='X'.*allowed: none"):
        check_keys('attention_cfg', dict(scale=1), (), "model_type='X'")


def test_allowed_keys_may_come_as_an_iterator():
    with pytest.raises(ValueError, match='allowed: a, b'):
        check_keys('cfg', dict(a=1, b=2, zzz=3), iter(['b', 'a']))
