import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.apis import image_sources
from ovseg.apis.image_sources import StoredImage, describe, new_name, read_image
from ovseg.corpus.sources import Shard, find_images, shard_images


def serial(shards):
    return [shard_images(shard) for shard in shards]


def found(*items):
    return find_images([str(item) for item in items], serial)


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (7, 11, 3), np.uint8)


def png(seed):
    content = io.BytesIO()
    Image.fromarray(pixels(seed)).save(content, 'PNG')
    return content.getvalue()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    for number, name in enumerate(['b.png', 'a.PNG', 'deep/er/c.png', 'deep/a.png']):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    (folder / 'notes.txt').write_text('no list')
    return folder


@pytest.fixture
def shard(tmp_path):
    """A shard of two images and two other files, and where it is."""
    def write(name='shard-000.tar', mode='w', members=('001.png', '001.json', 'x/002.cls.png', '.hidden.png')):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, mode) as tar:
            for number, member in enumerate(members):
                content = png(number)
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return path
    return write


def test_a_folder_and_a_file_are_those_of_predict(photos):
    assert found(photos / 'b.png', photos) == ([photos / 'b.png', photos / 'a.PNG', photos / 'b.png'],
                                               [str(photos / 'deep'), str(photos / 'notes.txt')])


def test_patterns(photos, shard):
    assert found(photos / '**' / '*.png') == ([photos / name for name in ('b.png', 'deep/a.png', 'deep/er/c.png')], [])
    assert found(photos / '*')[1] == [str(photos / 'notes.txt')]  # not taken for a list
    (photos / 'odd[1].png').write_bytes(png(0))
    assert found(photos / 'odd[1].png').sources == [photos / 'odd[1].png']
    shard('shards/a.tar'), shard('shards/b.tar')
    assert list(map(describe, found(shard('shards/c.tar').parent / '[ab].tar').sources)) == [
        f'{photos.parent}/shards/{name}.tar/{member}' for name in 'ab' for member in ('001.png', 'x/002.cls.png')]


def test_a_file_url_is_the_path_that_it_names(photos, shard, tmp_path):
    path, missing = shard(), (tmp_path / 'missing.tif').as_uri()
    assert found((photos / 'b.png').as_uri(), photos.as_uri()) == found(photos / 'b.png', photos)
    assert found(path.as_uri()) == found(path)
    (tmp_path / 'list.txt').write_text(f'{path.as_uri()}\n{missing}\n')
    assert found((tmp_path / 'list.txt').as_uri()).sources == [*found(path).sources, tmp_path / 'missing.tif']
    with pytest.raises(FileNotFoundError, match=r'missing\.tif'):
        found(missing)


def test_lists_of_paths(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = tmp_path / 'list.txt'
    text.write_bytes('\ufeffphotos/b.png\r\n\n  missing.png \nhttp://host/a.jpg\n'.encode() + b'caf\xe9.png\n')
    assert found(text).sources == [Path('photos/b.png'), Path('missing.png'), 'http://host/a.jpg',
                                   Path(os.fsdecode(b'caf\xe9.png'))]
    arrow = pytest.importorskip('pyarrow', reason='lists in Parquet need pyarrow')
    parquet = pytest.importorskip('pyarrow.parquet')
    parquet.write_table(arrow.table(dict(path=['photos/b.png'], other=[1])), tmp_path / 'list.parquet')
    parquet.write_table(arrow.table(dict(image=['photos/a.PNG'])), tmp_path / 'one.parquet')
    assert found('list.parquet', 'one.parquet').sources == [Path('photos/b.png'), Path('photos/a.PNG')]
    parquet.write_table(arrow.table(dict(image=['x'], url=['y'])), tmp_path / 'two.parquet')
    with pytest.raises(ValueError, match=r"the list two\.parquet cannot be read: has no column 'path', but image, url"):
        found('two.parquet')
    parquet.write_table(arrow.table(dict(path=[b'x'])), tmp_path / 'bytes.parquet')
    with pytest.raises(ValueError, match=r"bytes\.parquet: column 'path' has values that are no strings"):
        found('bytes.parquet')
    (tmp_path / 'broken.parquet').write_bytes(b'PAR1')
    with pytest.raises(ValueError, match=r'the list broken\.parquet cannot be read'):
        found('broken.parquet')


@pytest.mark.parametrize(('content', 'message'), [
    (b'\n \n', r'there are no paths in the list .*list\.txt'),
    ('a.jpg\n'.encode('utf-16'), r'list\.txt is no text file in UTF-8')])
def test_a_list_without_paths_is_refused(content, message, tmp_path):
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(ValueError, match=message):
        found(tmp_path / 'list.txt')


def test_images_of_a_shard(shard):
    path = shard()
    first, second = found(path).sources
    assert [describe(image) for image in (first, second)] == [f'{path}/001.png', f'{path}/x/002.cls.png']
    np.testing.assert_array_equal(read_image(first, 1000)[..., ::-1], pixels(0))
    np.testing.assert_array_equal(read_image(second, 1000)[..., ::-1], pixels(2))
    taken = set()
    assert [new_name(image, 0, taken) for image in (first, second)] == ['shard-000_001', 'shard-000_002.cls']


def test_a_shard_in_a_list_and_in_a_folder(shard, photos, tmp_path):
    path = shard('photos/shard.tar')
    (tmp_path / 'list.txt').write_text(f'{path}\n{photos / "b.png"}\n')
    assert found(tmp_path / 'list.txt').sources == [*shard_images(Shard(path, tuple(_stamp(path)))), photos / 'b.png']
    assert len(found(photos).sources) == 4


def _stamp(path):
    return [path.stat().st_size, path.stat().st_mtime_ns]


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda content: content[:700], r'is no shard: a tar .* not compressed, and not damaged \(unexpected end of data\)'),
    (lambda content: b'', r'is no shard: .* \(empty file\)'),
    (lambda content: b'text' * 300, r'is no shard: a tar file'),
    (lambda content: content[:1024] + b'\x07' * 512 + content[1536:], r'is a damaged shard: no header of a file at byte 1024'),
    (lambda content: bytes(10240), 'there are no images in the shard')],
    ids=['cut off', 'empty', 'text', 'header', 'no members'])
def test_a_damaged_shard_is_named(damage, message, shard):
    path = shard()
    content = path.read_bytes()
    assert len(png(0)) <= 512
    path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=message) as caught:
        found(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_compressed_shard_is_refused(shard):
    with pytest.raises(ValueError, match=r'b\.tar is no shard: a tar file that is not compressed'):
        found(shard('b.tar', 'w:gz'))


def test_what_changes_in_a_shard_after_it_was_found_is_an_error_of_the_image(shard):
    path = shard()
    image = found(path).sources[1]
    path.write_bytes(path.read_bytes()[:image.offset + 3])
    with pytest.raises(ValueError, match=r'002\.cls\.png: it is cut off'):
        read_image(image, 1000)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'shard-000\.tar'):
        read_image(image, 1000)


def test_stores_of_fsspec(photos, shard):
    pytest.importorskip('fsspec', reason='stores need fsspec')
    place, path = f'local://{photos}', shard('photos/shard.tar')
    sources, left_out = found(f'{place}/*.*')
    assert [describe(source) for source in sources] == [f'file://{photos}/{name}' for name in (
        'a.PNG', 'b.png', 'shard.tar/001.png', 'shard.tar/x/002.cls.png')]
    assert left_out == [f'{photos}/notes.txt']
    np.testing.assert_array_equal(read_image(sources[1], 1000)[..., ::-1], pixels(0))
    np.testing.assert_array_equal(read_image(sources[3], 1000)[..., ::-1], pixels(2))
    assert sources[1].size == len(png(0)) and sources[1].stamp[0] == sources[1].size and sources[1].stamp[1:]
    assert [describe(source) for source in found(place).sources] == [describe(source) for source in sources]
    assert found(f'{place}/b.png').sources == [sources[1]]
    (photos / 'notes.txt').write_text(f'{place}/b.png\n{place}/gone.png\n{path}\n')
    listed, gone, *others = found(f'{place}/notes.txt').sources  # addresses in a list are looked for when they are read
    assert listed == StoredImage(f'{place}/b.png', (), None) and listed.read() == sources[1].read()
    with pytest.raises(OSError, match=r'gone\.png'):
        gone.read()
    assert [describe(source) for source in others] == [f'{path}/001.png', f'{path}/x/002.cls.png']
    (photos / 'notes.txt').write_text(f'{place}/notes.txt\n')
    with pytest.raises(ValueError, match='a list cannot name another list'):
        found(f'{place}/notes.txt')


def test_an_image_of_a_store_that_is_gone_is_an_error_of_the_image(photos):
    pytest.importorskip('fsspec', reason='stores need fsspec')
    image, = found(f'local://{photos}/b.png').sources
    (photos / 'b.png').unlink()
    with pytest.raises(OSError, match=r'cannot get file://.*b\.png: ') as caught:
        image.read()
    assert '\n' not in str(caught.value)


def test_no_more_than_the_bound_is_fetched_of_a_file_of_unknown_size(photos, monkeypatch):
    pytest.importorskip('fsspec', reason='stores need fsspec')
    size = (photos / 'b.png').stat().st_size
    image = StoredImage(f'local://{photos}/b.png', (), None)
    monkeypatch.setattr(image_sources, 'MAX_FILE_BYTES', size)
    assert image.read() == (photos / 'b.png').read_bytes()
    monkeypatch.setattr(image_sources, 'MAX_FILE_BYTES', size - 1)
    with pytest.raises(ValueError, match=rf'b\.png: it is too large, over {size - 1} bytes'):
        image.read()


def test_a_range_is_asked_for_by_keyword_since_stores_have_arguments_of_their_own(photos, monkeypatch):
    fsspec = pytest.importorskip('fsspec', reason='stores need fsspec')
    store = type(fsspec.filesystem('local'))
    whole = store.cat_file
    monkeypatch.setattr(store, 'cat_file', lambda self, path, version_id=None, start=None, end=None:  # as s3fs has them
                        whole(self, path, start=start, end=end) if version_id is None else pytest.fail('a version'))
    content = (photos / 'b.png').read_bytes()
    assert StoredImage(f'local://{photos}/b.png', (), 7, 'member', 5).read() == content[5:12]


def test_too_large_a_file_of_a_store_is_not_fetched():
    image = StoredImage('nowhere://a.png', (), 2 ** 30)
    with pytest.raises(ValueError, match=r'nowhere://a\.png: it is too large, over 536870912 bytes'):
        image.read()


@pytest.mark.parametrize(('item', 'error', 'message'), [
    ('missing.png', FileNotFoundError, 'there is no image, folder or shard .*missing.png'),
    ('missing/*.png', ValueError, r'there are no images and no shards \(.tar\) in missing/\*\.png'),
    ('', FileNotFoundError, "there is no image or folder ''"),
    ('local:///no/such.png', FileNotFoundError, 'cannot find local:///no/such.png: '),
    ('nonsense://bucket/a.png', FileNotFoundError, 'cannot find nonsense://bucket/a.png: Protocol not known'),
    ('zip://*.png::a.zip', ValueError, r'chained addresses \(::\) are not supported')])
def test_what_is_not_there_is_named(item, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        found(item)
    assert '\n' not in str(caught.value)


def test_a_store_whose_package_is_missing_is_named():
    with pytest.raises(ImportError, match=r's3://bucket/a\.jpg: Install s3fs'):
        found('s3://bucket/a.jpg')
