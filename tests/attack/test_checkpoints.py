"""Damaged checkpoints of every format: the same weights, or an error of one line that names the file."""
import io
import json
import random
import resource
import struct
import tracemalloc
import warnings
import zipfile
from contextlib import contextmanager

import open_clip
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from ovseg.models.towers import load_clip
from ovseg.models.towers.checkpoints import FOLDER_CONFIG, FOLDER_FILES, load_from_file

MODEL = 'attacked-vit-quickgelu'
CONFIG = dict(embed_dim=3, vision_cfg=dict(layers=1, width=10, head_width=5, image_size=14, patch_size=7), quick_gelu=True,
              text_cfg=dict(context_length=7, vocab_size=11, width=6, heads=2, layers=1))
HUGE = [0, 1, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff]
ALLOWANCE = 1 << 29  # of address space for a file of 50 kB
CENTRAL = b'PK\1\2'  # begins the description of an entry at a zip archive's end
FIELDS = dict(flags=('<H', 8), method=('<H', 10), checksum=('<I', 16), stored=('<I', 20), size=('<I', 24), name=('<H', 28),
              offset=('<I', 42))  # of it


@pytest.fixture(scope='module', autouse=True)
def _model(tmp_path_factory):
    config = tmp_path_factory.mktemp('model') / f'{MODEL}.json'
    config.write_text(json.dumps(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, '_MODEL_CONFIGS', dict(open_clip.factory._MODEL_CONFIGS))
        patch.setattr(open_clip.factory, '_MODEL_CONFIG_PATHS', list(open_clip.factory._MODEL_CONFIG_PATHS))
        open_clip.add_model_config(config)
        yield


@pytest.fixture(scope='module')
def state():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = open_clip.create_model(MODEL)
    return {key: torch.randn_like(value).half().float() for key, value in model.state_dict().items()}


@contextmanager
def bounded_memory():
    """Allocations by a number that a damaged file claims fail inside, or are counted."""
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    tracemalloc.start()
    resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWANCE, limits[1]))
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        tracemalloc.stop()


def check(path, clip_path, state, exact, like_before):
    """Load a file: ``exact``ly the tensors of before, others of the same names and shapes, or any that are finite."""
    try:
        with bounded_memory():
            found = load_from_file(str(path))
        found = found.get('state_dict', found)
        assert found and all(isinstance(key, str) and value.float().isfinite().all() for key, value in found.items())
        if exact or like_before:
            assert {key: (value.dtype, value.shape) for key, value in found.items()} == {
                key: (value.dtype, value.shape) for key, value in state.items()}
        if exact:
            assert all(torch.equal(found[key], value) for key, value in state.items())
        clip = load_clip(MODEL, str(clip_path))
        for tower in (clip.image_tower, clip.text_encoder):
            assert all(value.isfinite().all() for value in tower.state_dict().values())
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
        assert path.name in message or clip_path.name in message or FOLDER_CONFIG in message
        assert message.isprintable() and len(message) < 1500 and 'alloc' not in message


def damage(rng, content, start=0, end=None):
    """Change bytes between ``start`` and ``end``: flip, cut, repeat, swap, remove, insert, or write huge numbers."""
    data = bytearray(content)
    end = len(data) if end is None else end

    def place():
        return rng.randrange(start, max(end, start + 1))

    kind = rng.choice(['bits', 'bits', 'bytes', 'number', 'number', 'cut', 'repeat', 'swap', 'remove', 'insert'])
    a, b = sorted((place(), place()))
    b = min(b, a + rng.choice([1, 4, 8, 64, 10 ** 9]))
    if kind == 'bits':
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            data[place() % len(data)] ^= 1 << rng.randrange(8)
    elif kind == 'bytes':
        for _ in range(rng.choice([1, 4, 16])):
            data[place() % len(data)] = rng.randrange(256)
    elif kind == 'number':
        length = rng.choice([1, 2, 4, 8])
        data[a:a + length] = rng.choice(HUGE).to_bytes(8, 'little')[:length]
    elif kind == 'cut':
        del data[a:]
    elif kind == 'repeat':
        data[a:a] = data[a:b]
    elif kind == 'swap':
        middle = (a + b) // 2
        data[a:b] = data[middle:b] + data[a:middle]
    elif kind == 'remove':
        del data[a:b]
    else:
        data[a:a] = rng.randbytes(rng.choice([1, 4, 100]))
    return bytes(data)


def damage_archive(rng, content):
    """Change a zip archive; returns it and whether the tensors, if it loads, must be those of before.

    Bytes anywhere, a field of an entry's description, whole entries, or what is inside of an entry, with a right checksum.
    """
    kind = rng.choice(['bytes', 'bytes', 'field', 'field', 'entries', 'inside', 'inside', 'inside'])
    directory = content.index(CENTRAL)
    if kind == 'bytes':
        return damage(rng, content, rng.choice([0, directory])), True
    if kind == 'field':
        at = rng.choice([index for index in range(directory, len(content)) if content.startswith(CENTRAL, index)])
        format_, offset = FIELDS[rng.choice(list(FIELDS))]
        value = rng.choice([*HUGE[:4], rng.randrange(1 << 16)]) % (1 << 8 * struct.calcsize(format_))
        return content[:at + offset] + struct.pack(format_, value) + content[at + offset + struct.calcsize(format_):], True
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [[entry.filename, archive.read(entry), entry.compress_type] for entry in archive.infolist()]
    if kind == 'inside':
        entry = rng.choice([entry for entry in entries if entry[0].endswith(('data.pkl', '.py'))])
        entry[1] = damage(rng, entry[1])
    else:
        one, other = rng.choice(entries), rng.choice(entries)
        change = rng.choice(['names', 'contents', 'drop', 'twice', 'compress'])
        if change == 'drop':
            entries.remove(one)
        elif change == 'twice':
            entries.append(list(one))
        elif change == 'compress':
            one[2] = zipfile.ZIP_DEFLATED
        else:
            index = ['names', 'contents'].index(change)
            one[index], other[index] = other[index], one[index]
    changed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(changed, 'w') as archive:
        warnings.simplefilter('ignore')  # two entries of one name
        for name, data, compression in entries:
            archive.writestr(name, data, compression)
    return changed.getvalue(), False


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def scripted(state):
    """An archive as OpenAI's: weights in fp16 by their path in a tree of modules."""
    root = nn.Module()
    for key, value in state.items():
        *folders, leaf = key.split('.')
        node = root
        for folder in folders:
            if folder not in node._modules:
                node.add_module(folder, nn.Module())
            node = node._modules[folder]
        node.register_buffer(leaf, value.half())
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.script(root), file)
    return file.getvalue()


@pytest.mark.parametrize('format_', ['save', 'script'])
def test_zip_archives(format_, attack, state, tmp_path):
    content = saved(state) if format_ == 'save' else scripted(state)
    expected = state if format_ == 'save' else {key: value.half() for key, value in state.items()}
    path = tmp_path / 'weights.pt'
    path.write_bytes(content)
    check(path, path, expected, True, True)
    for seed in attack.seeds(30, 1000):
        with attack.one_case(seed):
            changed, exact = damage_archive(random.Random(f'{format_} {seed}'), content)
            path.write_bytes(changed)
            check(path, path, expected, exact, exact)


def test_the_format_before_torch_1_6(attack, state, tmp_path):
    content = saved(state, _use_new_zipfile_serialization=False)
    path, start = tmp_path / 'weights.pt', content.rindex(b'e.') + 2  # of the tensors, behind the list of their keys
    for seed in attack.seeds(30, 1000):
        with attack.one_case(seed):
            rng = random.Random(seed)
            in_tensors = rng.random() < 0.3
            changed = damage(rng, content, *((start, None) if in_tensors else (0, start)))
            path.write_bytes(changed)
            check(path, path, state, False, in_tensors)


def test_safetensors(attack, state, tmp_path):
    content, path = save(state), tmp_path / 'weights.safetensors'
    length = 8 + struct.unpack('<Q', content[:8])[0]
    for seed in attack.seeds(30, 1000):
        with attack.one_case(seed):
            rng = random.Random(seed)
            kind = rng.choice(['head', 'tensors', 'entry'])
            if kind == 'entry':
                head = json.loads(content[8:length])
                entry = head[rng.choice([key for key in head if key != '__metadata__'])]
                key = rng.choice(list(entry))
                if key == 'dtype':
                    entry[key] = rng.choice(['F64', 'I64', 'BOOL', 'F8_E4M3', 'C64', 'F16', 'I32', 'U64', 'nonsense', 5])
                else:
                    entry[key] = [rng.choice([*HUGE, -1, 0.5, number, number + 1]) for number in entry[key]]
                written = json.dumps(head).encode()
                changed = struct.pack('<Q', len(written)) + written + content[length:]
            else:
                changed = damage(rng, content, *((0, length) if kind == 'head' else (length, None)))
            path.write_bytes(changed)
            check(path, path, state, False, kind == 'tensors' and len(changed) == len(content))


def test_hub_folders(attack, state, tmp_path):
    save_file(state, tmp_path / FOLDER_FILES[0])
    record = dict(model_cfg=CONFIG, preprocess_cfg=dict(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], interpolation='bicubic'))
    text = json.dumps(record).encode()
    for seed in attack.seeds(30, 1000):
        with attack.one_case(seed):
            rng = random.Random(seed)
            if rng.random() < 0.5:
                changed = damage(rng, text)
            else:
                copy = json.loads(text)
                part = copy[rng.choice(list(copy))] if rng.random() < 0.8 else copy
                part[rng.choice(list(part))] = rng.choice(
                    [None, True, 'text', '', [], {}, 0, -1, 10 ** 400, [0.5] * 3, [1e308] * 3, [[0.5]] * 3, dict(mean=5)])
                changed = json.dumps(copy).encode()
            (tmp_path / FOLDER_CONFIG).write_bytes(changed)
            check(tmp_path / FOLDER_FILES[0], tmp_path, state, True, True)
