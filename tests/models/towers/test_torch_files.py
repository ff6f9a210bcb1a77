import contextlib
import io
import pickle
import pickletools
import runpy
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from ovseg.models.towers.torch_files import BROKEN, LEGACY, is_torchscript, read_torch_file

pytestmark = pytest.mark.filterwarnings('ignore:.torch.jit:FutureWarning')
EVIL = runpy.run_path(str(Path(__file__).parents[2] / 'evil_checkpoints.py'), run_name='evil')['EVIL']


@pytest.fixture
def state():
    integers = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return {'visual.proj': torch.randn(3, 5), 'scale': torch.tensor(0.7), 'half': torch.randn(7).half(),
            'none': torch.zeros(0, 3), 'brain': torch.randn(2, 3, 5).bfloat16(), 'double': torch.randn(5).double(),
            'flags': torch.rand(11) > 0.5, **{str(dtype): torch.arange(-3, 4).to(dtype) for dtype in integers}}


def assert_equal(got, expected):
    assert list(got) == list(expected)
    for key, value in expected.items():
        assert got[key].dtype == value.dtype and got[key].stride() == value.stride() and torch.equal(got[key], value)


def rezip(path, change, kind=zipfile.ZIP_STORED):
    """Write the archive anew with the entries that ``change(name, content)`` gives, as pairs."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, 'w', kind) as archive:
        for name, content in entries:
            for changed in change(name, content):
                archive.writestr(*changed)


@pytest.mark.parametrize('zipped', [True, False])
def test_every_type_of_weights(tmp_path, state, zipped):
    torch.save(state, tmp_path / 'weights.pt', _use_new_zipfile_serialization=zipped)
    assert_equal(read_torch_file(tmp_path / 'weights.pt'), state)


@pytest.mark.parametrize('zipped', [True, False])
def test_views_of_one_storage_stay_views_of_one(tmp_path, zipped):
    whole = torch.randn(5, 7)
    saved = dict(whole=whole, row=whole[3], column=whole[:, 2], turned=whole.t(), again=whole)
    torch.save(saved, tmp_path / 'weights.pt', _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / 'weights.pt')
    assert_equal(found, saved)
    found['whole'][3, 2] = 100
    assert found['row'][2] == found['column'][3] == found['turned'][2, 3] == 100


@pytest.mark.parametrize('zipped', [True, False])
def test_a_training_checkpoint(tmp_path, zipped):
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    model(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    parts = dict(model=model, optimizer=optimizer, schedule=schedule)
    torch.save({**{name: part.state_dict() for name, part in parts.items()}, 'rng': torch.get_rng_state(), 'step': 3},
               tmp_path / 'last.pth', _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / 'last.pth')
    assert_equal(found['model'], model.state_dict())
    assert found['step'] == 3 and torch.equal(found['rng'], torch.get_rng_state())
    assert torch.equal(found['optimizer']['state'][0]['exp_avg'], optimizer.state_dict()['state'][0]['exp_avg'])
    for name, part in parts.items():
        part.load_state_dict(found[name])


@pytest.mark.parametrize('name', EVIL)
def test_the_traps_work(tmp_path, state, name):
    """Precondition of the next test: these checkpoints leave a file when they are executed."""
    target = tmp_path / 'executed'
    EVIL[name](tmp_path / 'weights.pt', target, state)
    load = torch.jit.load if name == 'script' else lambda path: torch.load(path, weights_only=False)
    with contextlib.suppress(AttributeError, RuntimeError, TypeError):  # what it brings is no tensor
        load(str(tmp_path / 'weights.pt'))
    assert target.exists()


@pytest.mark.parametrize('name', EVIL)
def test_nothing_is_executed(tmp_path, state, name):
    EVIL[name](tmp_path / 'weights.pt', tmp_path / 'executed', state)
    try:
        found = read_torch_file(tmp_path / 'weights.pt')
    except BROKEN as error:
        assert name != 'attribute' and '\n' not in str(error)
    else:
        assert name == 'attribute' and found['extra'] == {}  # what is no item of a dict is left out
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(('tensor', 'name'), [
    (lambda: torch.zeros(3, 5).to_sparse(), '_rebuild_sparse_tensor'),
    (lambda: torch.zeros(3, device='meta'), '_rebuild_meta_tensor_no_storage'),
    (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), 'storage of an unknown kind'),
    (lambda: torch.zeros(3, dtype=torch.complex64), 'storage of an unknown kind')])
@pytest.mark.filterwarnings('ignore')
def test_other_tensors_are_refused(tmp_path, tensor, name):
    torch.save(dict(a=tensor()), tmp_path / 'weights.pt')
    with pytest.raises(pickle.UnpicklingError, match=name):
        read_torch_file(tmp_path / 'weights.pt')


@pytest.mark.parametrize(('change', 'message'), [
    (lambda name, content: [] if name.endswith('data/0') else [(name, content)], 'weights/data/0'),
    (lambda name, content: [(name, content[:-4] if name.endswith('data/0') else content)], "'0' has 56 bytes instead of 15 "),
    (lambda name, content: [(name, content + b'0000' if name.endswith('data/0') else content)], "'0' has 64 bytes"),
    (lambda name, content: [(name, b'big' if name.endswith('byteorder') else content)], 'another byte order'),
    (lambda name, content: [(name, content), *[('other/data.pkl', b'')] * name.endswith('data.pkl')], 'must have one data.pkl'),
    (lambda name, content: [(name.split('/', 1)[1], content)], 'must have one data.pkl'),
    (lambda name, content: [(name, content + b' ' * (1 << 24) if name.endswith('data.pkl') else content)], 'its pickle has'),
    (lambda name, content: [(name, content), *[('weights/code/a.py', b' ' * (1 << 24) + b' ')] * name.endswith('data.pkl')],
     'its code is too long')])
def test_another_archive_is_refused(tmp_path, state, change, message):
    torch.save(state, tmp_path / 'weights.pt')
    rezip(tmp_path / 'weights.pt', change)
    with pytest.raises(BROKEN, match=message):
        read_torch_file(tmp_path / 'weights.pt')


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_two_entries_of_one_name_are_refused(tmp_path, state):
    torch.save(state, tmp_path / 'weights.pt')
    rezip(tmp_path / 'weights.pt', lambda name, content: [(name, content)] * (1 + name.endswith('data/0')))
    with pytest.raises(ValueError, match='two entries of one name'):
        read_torch_file(tmp_path / 'weights.pt')


def test_a_zip_bomb_is_refused(tmp_path):
    torch.save(dict(a=torch.zeros(1 << 24)), tmp_path / 'weights.pt')
    rezip(tmp_path / 'weights.pt', lambda name, content: [(name, content)], zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'weights.pt').stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match='has the compression method 8, which torch does not use'):
            read_torch_file(tmp_path / 'weights.pt')
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('kind', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_code_that_is_a_zip_bomb_is_refused(tmp_path, kind):
    """For these methods zipfile decompresses all that it reads, whatever size the archive declares."""
    path, declared, size = tmp_path / 'script.pt', 101, 1 << 24
    torch.jit.script(torch.nn.Linear(3, 5)).save(str(path))
    rezip(path, lambda name, content: [(name, b' ' * size if name.endswith('.py') else content,
                                        kind if name.endswith('.py') else zipfile.ZIP_STORED)])
    content = path.read_bytes()
    assert struct.pack('<I', size) in content and len(content) < 100_000
    path.write_bytes(content.replace(struct.pack('<I', size), struct.pack('<I', declared)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"its entry 'code/__torch__.*\.py' has the compression method {kind}"):
            read_torch_file(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_entries_that_overlap_are_refused(tmp_path, state):
    """A hundred entries of the central directory that point to one run of bytes."""
    torch.save(dict(state, big=torch.zeros(1000)), tmp_path / 'weights.pt')
    with zipfile.ZipFile(tmp_path / 'weights.pt', 'a') as archive:
        large, = (entry for entry in archive.infolist() if entry.file_size == 4000)
        for number in range(100, 200):
            copied = zipfile.ZipInfo(f'weights/data/{number}')
            for field in ('header_offset', 'CRC', 'compress_size', 'file_size'):
                setattr(copied, field, getattr(large, field))
            archive.filelist.append(copied)
        archive._didModify = True
    with pytest.raises(BROKEN, match='overlap or claim more bytes than the file has'):
        read_torch_file(tmp_path / 'weights.pt')


def test_a_flipped_bit_of_a_tensor_is_refused(tmp_path):
    weights = torch.randn(30)
    torch.save(dict(a=weights), tmp_path / 'weights.pt')
    content = bytearray((tmp_path / 'weights.pt').read_bytes())
    content[content.index(weights.numpy().tobytes()) + 17] ^= 1
    (tmp_path / 'weights.pt').write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match='CRC'):
        read_torch_file(tmp_path / 'weights.pt')


def legacy(path, numel=15, **changes):
    """A file of that format with one tensor; ``changes`` replace its first pickles but the first."""
    saved = io.BytesIO()
    torch.save(dict(a=torch.zeros(3, 5)), saved, _use_new_zipfile_serialization=False)
    saved.seek(0)
    parts = {}
    for name in ('magic', 'version', 'machine', 'tree', 'keys'):
        start = saved.tell()
        for _ in pickletools.genops(saved):
            pass
        parts[name] = saved.getvalue()[start:saved.tell()]
    assert parts['magic'] == LEGACY
    parts.update({name: pickle.dumps(value, 2) for name, value in changes.items()})
    path.write_bytes(b''.join(parts.values()) + struct.pack('<q', numel) + bytes(60))


def test_the_format_before_torch_1_6(tmp_path):
    legacy(tmp_path / 'weights.pt')
    assert torch.equal(read_torch_file(tmp_path / 'weights.pt')['a'], torch.zeros(3, 5))


@pytest.mark.parametrize(('damage', 'message'), [
    (dict(numel=2 ** 62), "more bytes than the file has"), (dict(numel=-1), 'more bytes than the file has'),
    (dict(numel=16), 'more bytes than the file has'), (dict(numel=14), 'has 56 bytes instead of 15'),
    (dict(keys=[]), r'^.\d+.$'), (dict(keys=['1']), "^'1'$"), (dict(version=1002), 'unknown version'),
    (dict(machine=dict(little_endian=False)), 'another byte order')], ids=str)
def test_a_damaged_file_of_that_format_is_refused(tmp_path, damage, message):
    legacy(tmp_path / 'weights.pt', **damage)
    with pytest.raises(BROKEN, match=message):
        read_torch_file(tmp_path / 'weights.pt')


@pytest.mark.parametrize('content', [b'', b'text', b'\x80\x02}.', pickle.dumps(dict(a=1), 4), LEGACY[:-1]])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / 'weights.pt').write_bytes(content)
    with pytest.raises(ValueError, match='neither a zip archive nor a file of torch.save' if content else 'the file is empty'):
        read_torch_file(tmp_path / 'weights.pt')


def test_is_torchscript(tmp_path, state):
    torch.jit.script(torch.nn.Linear(3, 5)).save(str(tmp_path / 'script.pt'))
    torch.save(state, tmp_path / 'saved.pt')
    (tmp_path / 'broken.pt').write_bytes((tmp_path / 'script.pt').read_bytes()[:-30])
    assert [is_torchscript(tmp_path / name) for name in ('script.pt', 'saved.pt', 'broken.pt')] == [True, False, False]
