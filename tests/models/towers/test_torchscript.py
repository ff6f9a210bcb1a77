import tracemalloc

import pytest
import torch
from torch import nn

from ovseg.models.towers.pickles import Instance
from ovseg.models.towers.torch_files import read_torch_file
from ovseg.models.towers.torchscript import named_weights

pytestmark = pytest.mark.filterwarnings('ignore:.torch.jit:FutureWarning', 'ignore::torch.jit.TracerWarning')


class Block(nn.Module):
    """As OpenAI's: the mask is an attribute, and no weight."""

    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 2)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))
        self.attn_mask = torch.full((5, 5), float('-inf')).triu(1)

    def forward(self, x):
        x = x + self.attn(x, x, x, need_weights=False, attn_mask=self.attn_mask.to(x.dtype))[0]
        return x + self.mlp(self.ln_1(x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 22, 7, 7, bias=False)
        self.resblocks = nn.Sequential(Block(22), Block(22))
        self.positional_embedding = nn.Parameter(torch.randn(5, 22))
        self.logit_scale = nn.Parameter(torch.tensor(0.7))
        self.tied = nn.Linear(11, 13)
        self.tied_again = self.tied
        self.register_buffer('half_of_it', torch.randn(7, 4)[:, 1::2].half())
        self.register_buffer('kept', torch.randn(3), persistent=False)
        self.register_buffer('nothing', None)
        for name, number in dict(input_resolution=21, context_length=5, vocab_size=53).items():
            self.register_buffer(name, torch.tensor(number))

    def forward(self, x):
        x = self.conv(x).flatten(2).permute(2, 0, 1) + self.positional_embedding[:, None]
        return self.resblocks(x) * self.logit_scale.exp()


@pytest.fixture(params=['traced', 'traced in half', 'scripted'])
def archive(request, tmp_path):
    model = Model().eval()
    if request.param == 'scripted':
        module = torch.jit.script(nn.Sequential(nn.Conv2d(3, 5, 7), nn.BatchNorm2d(5), nn.Linear(7, 11)))
    else:
        module = torch.jit.trace(model, torch.randn(1, 3, 7, 35))
        if request.param == 'traced in half':
            for block in module.resblocks.children():
                block.mlp.half()
    module.save(str(tmp_path / 'ViT-B-7.pt'))
    return tmp_path / 'ViT-B-7.pt'


def test_weights_are_those_of_torch_jit_load(archive):
    expected, found = torch.jit.load(str(archive)).state_dict(), read_torch_file(archive)
    assert list(found) == list(expected) and len(found) > 6
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].stride() == value.stride() and torch.equal(found[name], value)


def test_the_archive_is_as_openai_s(tmp_path):
    """Check the premise of the comparison above: several types, integers, nested names, and a mask that is not a weight."""
    module = torch.jit.trace(Model().eval(), torch.randn(1, 3, 7, 35))
    module.resblocks.half()
    module.save(str(tmp_path / 'ViT.pt'))
    found = read_torch_file(tmp_path / 'ViT.pt')
    assert {value.dtype for value in found.values()} == {torch.float16, torch.float32, torch.int64}
    assert {'resblocks.1.attn.in_proj_weight', 'input_resolution', 'context_length', 'vocab_size'} < set(found)
    assert not any('attn_mask' in name or name == 'nothing' for name in found)


def code(**classes):
    return lambda file: ''.join(f'class {name}{text}' for name, text in classes.items())


def module(name='A', **state):
    instance = Instance(f'__torch__ {name}')
    instance.state = state
    return instance


EMPTY = '(Module):\n  __parameters__ = []\n  __buffers__ = []\n'
ONE = '(Module):\n  __parameters__ = ["a", ]\n  __buffers__ = ["b", ]\n  def forward(self) -> int:\n    return 1\n'


def test_only_declared_attributes_of_modules_are_weights():
    root = module('A', a=1, c=2, b=3, child=module('A', a=4, b=None), other=module('B', a=5))
    assert named_weights(root, code(A=ONE, B=':\n  a : Tensor\n')) == {'a': 1, 'b': 3, 'child.a': 4}


@pytest.mark.parametrize(('text', 'message'), [
    (code(), "does not have the class 'A'"), (code(AA=ONE, B=ONE), "does not have the class 'A'"),
    (code(A=ONE.replace('forward', '__setstate__')), 'not executed')])
def test_code_that_does_not_tell_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        named_weights(module(a=1, b=2), text)


def test_code_of_another_class_does_not_matter():
    assert named_weights(module(), code(B=ONE.replace('forward', '__setstate__'), A=EMPTY, C=ONE)) == {}


def test_the_first_of_two_classes_of_one_name_counts():
    text = code(A=ONE)('') + code(A=EMPTY)('')
    assert named_weights(module(a=1, b=2), lambda file: text) == {'a': 1, 'b': 2}


@pytest.mark.parametrize('line', ['x = 1', ' x = 1', 'def f(a: Tensor) -> Tensor:'])
def test_a_class_ends_where_the_indentation_does(line):
    text = code(A=f'(Module):\n  __parameters__ = ["a"]\n\n{line}\n  __buffers__ = ["b"]\n')
    assert named_weights(module(a=1, b=2), text) == {'a': 1}


def test_each_file_of_code_is_read_once():
    """A deflated file of a few kB holds 16 MB of code; reading it for each class or spelling of its path takes minutes."""
    read = []
    root = module('A', b=2, a=1, one=module('B'), two=module('B'), three=module('C'))
    root.state.update({separators: Instance(f'__torch__{separators[0]}x{separators[1]}y D')
                       for separators in ('..', './', '/.')})
    for child in root.state.values():
        if isinstance(child, Instance):
            child.state = {}
    text = code(A=ONE, B=EMPTY, C=EMPTY, D=EMPTY)('')
    assert named_weights(root, lambda file: read.append(file) or text) == {'a': 1, 'b': 2}
    assert sorted(read) == ['code/__torch__.py', 'code/__torch__/x/y.py']


@pytest.mark.parametrize('text', [EMPTY + '\n' * (1 << 21), EMPTY + '  \n' * (1 << 20)], ids=['empty lines', 'blank lines'])
def test_long_code_takes_little_memory(text):
    source = code(A=text)('')
    tracemalloc.start()
    try:
        assert named_weights(module(), lambda file: source) == {}
        assert tracemalloc.get_traced_memory()[1] < 10 * len(source)
    finally:
        tracemalloc.stop()


def test_too_many_classes_are_refused():
    text = ''.join(f'class A{number}:\n' for number in range(100_001))
    with pytest.raises(ValueError, match='more than 100000 classes'):
        named_weights(module('A0'), lambda file: text)


def test_a_large_state_in_many_places_is_refused():
    """Each visit counts what it looks at, not only the weights that it finds."""
    shared = module('B', **{f'a{number}': None for number in range(1009)})
    root = module('A', **{f'b{number}': shared for number in range(101)})
    with pytest.raises(ValueError, match='more than 100000 modules'):
        named_weights(root, code(A=EMPTY, B=EMPTY))


def test_many_names_in_many_places_are_refused():
    shared = module('B', a=None)
    root = module('A', **{f'b{number}': shared for number in range(101)})
    repeated = EMPTY.replace('[]', '[' + '"a", ' * 1009 + ']', 1)
    with pytest.raises(ValueError, match='more than 100000 modules'):
        named_weights(root, code(A=EMPTY, B=repeated))


def test_a_long_name_is_refused_before_it_is_repeated():
    child = module('A')
    assert named_weights(module('A', **{'a' * 1000: child}), code(A=EMPTY)) == {}
    with pytest.raises(ValueError, match='a name of more than 1000 characters'):
        named_weights(module('A', **{'a' * 1001: None}), code(A=EMPTY))


def test_a_state_that_is_none_is_refused():
    root = module()
    root.state = (1, 2)
    with pytest.raises(ValueError, match='no attributes'):
        named_weights(root, code(A=EMPTY))


def test_modules_that_contain_themselves_are_refused():
    root = module()
    root.state['a'] = root
    with pytest.raises(ValueError, match='contain themselves'):
        named_weights(root, code(A=EMPTY))


def test_modules_in_many_places_are_refused():
    root = module()
    for _ in range(60):
        root = module(a=root, b=root)
    with pytest.raises(ValueError, match='more than 100000 modules'):
        named_weights(root, code(A=EMPTY))
