import threading

import pytest
import torch

from ovseg.precision import MATMULS, full_precision

NEW = pytest.mark.skipif(not MATMULS, reason='older torch has one setting for all backends')
ON_CPU = torch.ones(1)


def settings():
    """All settings of float32 products, and None for one that torch refuses to tell."""
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:
        old = None
    return [old, *(matmul.fp32_precision for matmul in MATMULS)]


def is_exact():
    values = [matmul.fp32_precision for matmul in MATMULS] or [torch.get_float32_matmul_precision()]
    return set(values) <= {'none', 'ieee', 'highest'} and not torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(autouse=True)
def _default_settings():
    yield
    torch.set_float32_matmul_precision('highest')
    if MATMULS:
        torch.backends.fp32_precision = 'none'
    for matmul in MATMULS:
        matmul.fp32_precision = 'none'


def allow_tf32():
    torch.backends.cuda.matmul.allow_tf32 = True


def set_cuda():
    torch.backends.cuda.matmul.fp32_precision = 'tf32'


def set_cpu():
    torch.backends.mkldnn.matmul.fp32_precision = 'bf16'


def set_all():
    torch.backends.fp32_precision = 'tf32'


SWITCHES = {'high': lambda: torch.set_float32_matmul_precision('high'), 'allow_tf32': allow_tf32,
            'medium': lambda: torch.set_float32_matmul_precision('medium'),
            **{function.__name__: pytest.param(function, marks=NEW) for function in (set_cuda, set_cpu, set_all)}}


@pytest.mark.parametrize('switch', SWITCHES.values(), ids=SWITCHES)
def test_products_are_exact_inside_and_the_settings_as_before_outside(switch):
    switch()
    before = settings()
    with full_precision(ON_CPU):
        assert is_exact()
        with full_precision(ON_CPU):
            assert is_exact()
        assert is_exact()
    assert settings() == before and set(before) & {'high', 'medium', 'tf32', 'bf16'}


@pytest.mark.parametrize('switch', SWITCHES.values(), ids=SWITCHES)
def test_settings_are_restored_after_an_error(switch):
    switch()
    before = settings()
    with pytest.raises(ZeroDivisionError), full_precision(ON_CPU):
        1 / 0  # noqa: B018
    assert settings() == before


def test_default_settings_are_not_touched():
    before = settings()
    with full_precision(ON_CPU):
        assert settings() == before
    assert settings() == before


@NEW
def test_an_inherited_setting_stays_inherited():
    set_all()
    with full_precision(ON_CPU):
        assert is_exact()
    torch.backends.fp32_precision = 'ieee'
    assert is_exact()


def test_threads_that_overlap():
    torch.set_float32_matmul_precision('high')
    before, found = settings(), []
    both_inside, first_is_out = threading.Barrier(2), threading.Event()

    def first():
        with full_precision(ON_CPU):
            both_inside.wait(10)
        first_is_out.set()

    def second():
        with full_precision(ON_CPU):
            both_inside.wait(10)
            first_is_out.wait(10)
            found.append(is_exact())

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] and settings() == before


def test_a_product_inside_equals_that_of_default_settings(generator):
    a, b = (torch.randn(197, 211, generator=generator), torch.randn(211, 223, generator=generator))
    expected = a @ b
    torch.set_float32_matmul_precision('medium')
    with torch.autocast('cpu', torch.bfloat16), full_precision(a):
        assert torch.equal(a @ b, expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_a_product_inside_is_float32_on_the_gpu(generator):
    a, b = (torch.randn(1009, 1013, generator=generator), torch.randn(1013, 1019, generator=generator))
    expected = (a.double() @ b.double()).float()
    a, b = a.cuda(), b.cuda()
    torch.backends.cuda.matmul.allow_tf32 = True
    with full_precision(a):
        exact = (a @ b).cpu()
    torch.testing.assert_close(exact, expected, atol=1e-4, rtol=1e-4)
    assert (((a @ b).cpu() - expected).abs().max() > 1e-3) == (torch.cuda.get_device_capability() >= (8, 0))
