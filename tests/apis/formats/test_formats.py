"""The formats, made of small label maps that are written here."""
import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.apis.formats import FORMATS, check_formats
from ovseg.apis.formats.coco import annotations
from ovseg.cli.predict import FORMATS as OFFERED
from ovseg.extras import MissingPackageError

NAMES = ['zebra', 'snow/ice, 1', '瓢虫']
RING = np.zeros((11, 13), np.uint8)
RING[2:9, 3:12] = 1
RING[4:6, 5:8] = 0  # a hole
RING[7:10, 1:6] = 255
DOTS = np.full((7, 5), 2, np.uint8)
DOTS[3, 4] = DOTS[2, 3] = 0  # they touch at a corner


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'pred').mkdir()
    for name, labels in (('ring', RING), ('dots', DOTS)):
        Image.fromarray(labels).save(tmp_path / 'pred' / f'{name}.png')
    return tmp_path


@pytest.fixture
def results():
    classes = [dict(id=index, name=name, synonyms=[name], colour=[index, 2, 3]) for index, name in enumerate(NAMES)]
    images = [dict(name=name, source=source, size=list(labels.shape[::-1]), files=dict(pred=f'pred/{name}.png'),
                   areas={class_: dict(pixels=int((labels == index).sum()), share=float((labels == index).mean()))
                          for index, class_ in enumerate(NAMES)})
              for name, source, labels in (('ring', 'x/cat.jpg', RING), ('dots', 'y/cat.jpg', DOTS))]
    return dict(classes=classes, images=images, no_class=255)


def write(name, folder, results, max_pixels=1000):
    return FORMATS[name].write(folder, results, max_pixels)


def test_the_command_offers_all():
    assert list(OFFERED) == list(FORMATS)


def test_unknown_formats_and_missing_packages_are_refused(monkeypatch):
    assert check_formats(['csv', 'masks', 'csv']) == ['csv', 'masks'] and check_formats('csv') == ['csv']
    with pytest.raises(ValueError, match="formats='voc' is unknown; known: coco, csv, geojson, masks, parquet"):
        check_formats(['csv', 'voc'])
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    with pytest.raises(MissingPackageError, match=r'--format coco needs pycocotools: .* install .*formats'):
        check_formats(['coco'])


def test_csv_has_absent_classes(folder, results):
    results['images'][1]['source'] = 'caf\udce9.png'  # a name that is not UTF-8
    assert write('csv', folder, results) == []
    with (folder / 'areas.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['image'], row['class'], int(row['pixels']), float(row['share'])) for row in rows] == [
        (name, class_, int((labels == index).sum()), float((labels == index).mean()))
        for name, labels in (('ring', RING), ('dots', DOTS)) for index, class_ in enumerate(NAMES)]
    assert rows[0]['source'] == 'x/cat.jpg' and rows[-1]['source'] == r'caf\udce9.png'


def test_coco_is_read_by_pycocotools(folder, results):
    coco = pytest.importorskip('pycocotools.coco')
    assert write('coco', folder, results) == []
    found = coco.COCO(folder / 'coco.json')
    assert [found.cats[index + 1]['name'] for index in range(3)] == NAMES
    assert [image['file_name'] for image in found.dataset['images']] == ['x/cat.jpg', 'y/cat.jpg']  # of one name
    for image, labels in enumerate((RING, DOTS), 1):
        there = found.loadAnns(found.getAnnIds(imgIds=[image], iscrowd=None))
        assert [annotation['category_id'] - 1 for annotation in there] == [label for label in np.unique(labels) if label != 255]
        for annotation in there:
            mask = labels == annotation['category_id'] - 1
            np.testing.assert_array_equal(found.annToMask(annotation), mask)
            rows, columns = np.nonzero(mask)
            assert annotation['area'] == mask.sum() and annotation['iscrowd'] == 1
            assert annotation['bbox'] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_parquet_has_masks_that_pycocotools_reads(folder, results, monkeypatch):
    mask = pytest.importorskip('pycocotools.mask')
    parquet = pytest.importorskip('pyarrow.parquet')
    monkeypatch.setattr('ovseg.apis.formats.parquet.ROWS', 1)  # several groups of rows
    results['images'][1]['source'] = 'caf\udce9.png'  # a name that is not UTF-8
    assert write('parquet', folder, results) == []
    rows = parquet.read_table(folder / 'masks.parquet').to_pylist()
    assert [(row['image'], row['class_id']) for row in rows] == [('ring', 0), ('ring', 1), ('dots', 0), ('dots', 2)]
    for row in rows:
        labels = dict(ring=RING, dots=DOTS)[row['image']]
        where = labels == row['class_id']
        assert row['class'] == NAMES[row['class_id']] and (row['height'], row['width']) == labels.shape
        assert row['pixels'] == where.sum() and row['share'] == where.mean()
        np.testing.assert_array_equal(mask.decode(dict(size=labels.shape, counts=row['mask'])), where)
    assert rows[0]['source'] == 'x/cat.jpg' and rows[-1]['source'] == r'caf\udce9.png'
    left_out, = write('parquet', folder, results, max_pixels=11 * 13 - 1)
    assert left_out.startswith('x/cat.jpg is left out')


def test_coco_counts_from_other_images_of_one_name_only(folder, results):
    pytest.importorskip('pycocotools')
    results['images'][1]['source'] = 'y/dog.jpg'
    write('coco', folder, results)
    images = json.loads((folder / 'coco.json').read_text(encoding='utf-8'))['images']
    assert [image['file_name'] for image in images] == ['cat.jpg', 'dog.jpg']


def test_over_255_classes_in_coco():
    pytest.importorskip('pycocotools')
    labels = np.array([[300, 65535], [65535, 7]], np.uint16)
    assert [annotation['category_id'] for annotation in annotations(labels, 65535)] == [8, 301]


def inside(rings, x, y):
    """True where a point is within an odd number of rings: count the edges to its right."""
    edges = [(one, other) for ring in rings for one, other in zip(ring, ring[1:])]
    return sum((a[1] > y) != (b[1] > y) and a[0] > x for a, b in edges) % 2 == 1


def test_geojson_has_polygons_with_holes_along_pixels(folder, results):
    pytest.importorskip('rasterio')
    assert write('geojson', folder, results) == []
    for name, labels in (('ring', RING), ('dots', DOTS)):
        document = json.loads((folder / 'geojson' / f'{name}.geojson').read_text(encoding='utf-8'))
        found = np.full(labels.shape, 255)
        for feature in document['features']:
            label = feature['properties']['id']
            assert feature['properties'] == {'class': NAMES[label], 'id': label, 'colour': [label, 2, 3]}
            assert feature['geometry']['type'] == 'Polygon'
            for row, column in np.ndindex(*labels.shape):
                if inside(feature['geometry']['coordinates'], column + 0.5, row + 0.5):
                    assert found[row, column] == 255
                    found[row, column] = label
        np.testing.assert_array_equal(found, labels)
    holes = [len(feature['geometry']['coordinates']) - 1 for feature in json.loads(
        (folder / 'geojson' / 'ring.geojson').read_text(encoding='utf-8'))['features']]
    assert max(holes) == 1


def test_geojson_of_a_raster_is_in_degrees(folder, results, monkeypatch):
    rasterio = pytest.importorskip('rasterio')
    from rasterio.warp import transform

    from ovseg.apis.formats import geojson
    monkeypatch.setattr(geojson, 'WINDOW', 5)  # polygons are cut there
    labels = np.zeros((11, 13), np.uint8)
    labels[:, 7:] = 255
    place = rasterio.transform.from_origin(500_000, 5_400_000, 100, 50)
    with rasterio.open(folder / 'pred' / 'geo.tif', 'w', driver='GTiff', count=1, height=11, width=13, dtype='uint8',
                       nodata=255, crs='EPSG:32633', transform=place) as target:
        target.write(labels, 1)
    results['images'] = [dict(results['images'][0], name='geo', files=dict(pred='pred/geo.tif'))]
    write('geojson', folder, results)
    features = json.loads((folder / 'geojson' / 'geo.geojson').read_text(encoding='utf-8'))['features']
    assert len(features) == 6  # 3 windows by 2
    corners = np.concatenate([feature['geometry']['coordinates'][0] for feature in features])
    longitudes, latitudes = transform('EPSG:32633', 'EPSG:4326', [500_000, 500_700], [5_400_000, 5_399_450])
    np.testing.assert_allclose(corners.min(axis=0), [min(longitudes), min(latitudes)], atol=1e-5)
    np.testing.assert_allclose(corners.max(axis=0), [max(longitudes), max(latitudes)], atol=1e-5)


def test_masks_of_classes_that_occur(folder, results):
    (folder / 'masks' / 'ring').mkdir(parents=True)
    (folder / 'masks' / 'ring' / '7_old.png').write_bytes(b'')
    (folder / 'masks' / 'ring' / 'mine.txt').write_bytes(b'')
    assert write('masks', folder, results) == []
    files = sorted(path.relative_to(folder / 'masks').as_posix() for path in (folder / 'masks').rglob('*.*'))
    assert files == ['dots/0_zebra.png', 'dots/2_瓢虫.png', 'ring/0_zebra.png', 'ring/1_snow-ice-1.png', 'ring/mine.txt']
    for name, labels in (('ring', RING), ('dots', DOTS)):
        for path in (folder / 'masks' / name).glob('*.png'):
            np.testing.assert_array_equal(np.array(Image.open(path)), (labels == int(path.name[0])) * 255)


@pytest.mark.parametrize('name', ['coco', 'masks'])
def test_what_is_too_large_is_left_out_and_named(folder, results, name):
    if name == 'coco':
        pytest.importorskip('pycocotools')
    line, = write(name, folder, results, RING.size - 1)
    assert line == 'x/cat.jpg is left out, its 13 x 11 pixels are more than max_pixels=142'
    assert Path(folder / 'coco.json').is_file() if name == 'coco' else (folder / 'masks' / 'dots').is_dir()
