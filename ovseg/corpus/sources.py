"""The images of a collection: in folders, patterns, lists, shards, and stores that fsspec knows."""
import glob
import re
import tarfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Callable, ContextManager, Dict, List, NamedTuple, Sequence, Tuple, Union

from ovseg.apis.image_sources import URL_SCHEMES, Source, StoredImage, is_image_name, local_path
from ovseg.extras import MissingPackageError, needed
from ovseg.files import file_stamp
from ovseg.image_files import open_regular
from ovseg.utils import expanded, one_line, quoted

SHARD = '.tar'
LISTS = ('.txt', '.parquet')
COLUMN = 'path'  # of a list in Parquet that has several columns
LONGEST_LIST = 2 ** 31  # bytes
BLOCK = 512  # bytes of a header in a tar file
STAMPS = ('ETag', 'etag', 'md5Hash', 'md5', 'mtime', 'LastModified', 'last_modified', 'updated')  # in the details of a store

Place = Union[Path, str]  # a path, or an address of fsspec


class Shard(NamedTuple):
    """A tar file of images, as WebDataset writes it; ``stamp`` tells whether it is still the same."""
    place: Place
    stamp: Tuple[Any, ...]


class Collection(NamedTuple):
    """The images that were found, and the files that were left out because their names are not those of images or shards."""
    sources: List[Source]
    left_out: List[str]


IndexShards = Callable[[Sequence[Shard]], List[List[StoredImage]]]


def find_images(items: Sequence[str], index_shards: IndexShards) -> Collection:
    """The images that ``items`` name, in their order; no image is read.

    An item is an image file or its URL; a folder (its images and shards, not those of its sub-folders); a pattern with ``*``,
    ``?``, ``[...]`` or ``**`` (``photos/**/*.jpg``); a text file with one path per line, or a Parquet file with a column of
    paths; a shard, which is a tar file; or an address of a store that fsspec knows (``s3://bucket/photos/*.jpg``) of one of
    these. A ``file://`` URL counts as the path that it names.

    Args:
        items: One or more of them.
        index_shards: The images of each of several shards, see ``shard_images``.

    Raises:
        FileNotFoundError: there is no such file, folder or pattern.
        MissingPackageError: fsspec lacks the package of a store.
        OSError: something cannot be read.
        ValueError: no images, or a damaged list or shard; names it.
    """
    found: List[Union[Source, Shard]] = []
    left_out: List[str] = []
    for item in items:
        sources, others = _find(item)
        found += sources
        left_out += others
    shards = [source for source in found if isinstance(source, Shard)]
    members = iter(index_shards(shards) if shards else [])
    return Collection([source for entry in found for source in (next(members) if isinstance(entry, Shard) else [entry])],
                      left_out)


def shard_images(shard: Shard) -> List[StoredImage]:
    """The images in a shard, in their order. Its headers are read, and no pixels.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read.
        ValueError: it is damaged, compressed, or has no images; names it.
    """
    name = quoted(shard.place)
    with _opened(shard.place) as file:
        try:
            with tarfile.open(fileobj=file, mode='r:') as tar:
                members = [member for member in tar if member.isreg() and not member.issparse()
                           and is_image_name(PurePosixPath(member.name))]
                file.seek(tar.offset)  # tarfile takes a damaged header in the middle for the end
                damaged = file.read(BLOCK).strip(b'\0')
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f'{name} is no shard: a tar file that is not compressed, and not damaged '
                             f'({one_line(error)})') from error
    if damaged:
        raise ValueError(f'{name} is a damaged shard: no header of a file at byte {tar.offset}')
    if not members:
        raise ValueError(f'there are no images in the shard {name}')
    return [StoredImage(shard.place, shard.stamp, member.size, member.name, member.offset_data) for member in members]


def _find(item: str) -> Tuple[List[Union[Source, Shard]], List[str]]:
    """The images and shards that an item names, and the other files."""
    scheme = re.match(r'([a-z][a-z0-9+.-]+)://', item, re.IGNORECASE)
    if scheme and scheme[1].lower() == 'file':
        item = local_path(item)
    elif scheme and scheme[1].lower() in URL_SCHEMES:
        return [item], []
    elif scheme:
        return _find_stored(item)
    if not item:  # perhaps an unset variable of the shell
        raise FileNotFoundError("there is no image or folder ''")
    path = expanded('image', item)
    if path.is_dir():
        return _chosen(item, sorted(path.iterdir()), _local)
    if path.is_file():
        return (_listed(path), []) if path.suffix.lower() in LISTS else ([_local(path)], [])
    if not glob.has_magic(item):
        raise FileNotFoundError(f'there is no image, folder or shard {quoted(path.absolute())}')
    paths = (Path(name) for name in sorted(glob.glob(str(path), recursive=True)))
    return _chosen(item, [path for path in paths if not path.is_dir()], _local)


def _chosen(item: str, paths: Sequence[Any], source: Callable[[Any], Any]) -> Tuple[List[Any], List[str]]:
    """The results of ``source`` for those ``paths`` that are images or shards by their names, and the other paths."""
    chosen = [_is_wanted(PurePosixPath(path)) for path in paths]
    if not any(chosen):
        raise ValueError(f'there are no images and no shards ({SHARD}) in {quoted(item)}')
    return ([source(path) for path, wanted in zip(paths, chosen) if wanted],
            [str(path) for path, wanted in zip(paths, chosen) if not wanted])


def _is_wanted(path: PurePosixPath) -> bool:
    return is_image_name(path) or (path.suffix.lower() == SHARD and not path.name.startswith('.'))


def _local(path: Path) -> Union[Path, Shard]:
    return Shard(path.absolute(), tuple(file_stamp(path))) if path.suffix.lower() == SHARD else path


def _listed(place: Place) -> List[Union[Source, Shard]]:
    """The images and shards that a list names. Files that are not there are found out when they are read."""
    names = _parquet_lines(place) if str(place).lower().endswith('.parquet') else _text_lines(place)
    if not names:
        raise ValueError(f'there are no paths in the list {quoted(place)}')
    return [source for name in names for source in _listed_item(name)]


def _listed_item(name: str) -> List[Union[Source, Shard]]:
    if name.lower().startswith('file://'):
        name = local_path(name)
    elif '://' in name:
        if name.lower().endswith(LISTS):
            raise ValueError(f'{quoted(name)}: a list cannot name another list')
        if name.lower().endswith(SHARD) or glob.has_magic(name) or '::' in name or name.split(':')[0].lower() in URL_SCHEMES:
            return _find(name)[0]
        return [StoredImage(name, (), None)]  # looked for when it is read
    path = expanded('image', name)
    return [_local(path) if path.suffix.lower() == SHARD else path]


def _text_lines(place: Place) -> List[str]:
    with _opened(place) as file:
        content = file.read(LONGEST_LIST + 1)
    if len(content) > LONGEST_LIST or b'\0' in content:
        raise ValueError(f'the list {quoted(place)} is no text file in UTF-8 of at most {LONGEST_LIST >> 30} GB')
    lines = content.decode('utf-8-sig', 'surrogateescape').splitlines()
    return [line.strip() for line in lines if line.strip()]


def _parquet_lines(place: Place) -> List[str]:
    arrow = needed('pyarrow', 'ray', f'the list {quoted(place)}')
    parquet = needed('pyarrow.parquet', 'ray', f'the list {quoted(place)}')
    with _opened(place) as file:
        try:
            table = parquet.ParquetFile(file)
            columns = table.schema_arrow.names
            column = COLUMN if COLUMN in columns else columns[0] if len(columns) == 1 else None
            if column is None:
                raise ValueError(f'has no column {COLUMN!r}, but {", ".join(columns)}')
            values = table.read([column]).column(column).to_pylist()
        except (arrow.ArrowException, ValueError) as error:
            raise ValueError(f'the list {quoted(place)} cannot be read: {one_line(error)}') from error
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f'the list {quoted(place)}: column {column!r} has values that are no strings')
    return values


def _find_stored(address: str) -> Tuple[List[Union[Source, Shard]], List[str]]:
    """``_find`` for an address of fsspec."""
    fsspec = needed('fsspec', 'ray', quoted(address))
    if '::' in address:
        raise ValueError(f'{quoted(address)}: chained addresses (::) are not supported')
    try:
        store, path = fsspec.core.url_to_fs(address)
        details: Dict[str, Dict[str, Any]]
        if glob.has_magic(path):
            details = store.glob(path, detail=True)
        elif store.isdir(path):
            details = {entry['name']: entry for entry in store.ls(path, detail=True)}
        else:
            details = {path: store.info(path)}
    except ImportError as error:
        raise MissingPackageError(f'{quoted(address)}: {one_line(error)}') from error
    except Exception as error:  # the clients of stores raise errors of their own
        raise FileNotFoundError(f'cannot find {quoted(address)}: {one_line(error)}') from error
    make = partial(_stored, store, details)
    if list(details) == [path]:
        return (_listed(address), []) if path.lower().endswith(LISTS) else ([make(path)], [])
    return _chosen(address, sorted(name for name, entry in details.items() if entry['type'] == 'file'), make)


def _stored(store: Any, details: Dict[str, Dict[str, Any]], path: str) -> Union[StoredImage, Shard]:
    entry, address = details[path], store.unstrip_protocol(path)
    stamp = (entry.get('size'), *(str(entry[key]) for key in STAMPS if key in entry))
    return Shard(address, stamp) if path.lower().endswith(SHARD) else StoredImage(address, stamp, entry.get('size'))


def _opened(place: Place) -> ContextManager[BinaryIO]:
    """A file of this machine or of a store, open for reading."""
    if isinstance(place, Path):
        return open_regular(place)
    return needed('fsspec', 'ray', quoted(place)).open(place, 'rb')
