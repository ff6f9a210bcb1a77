import io
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovseg.apis import OVSegInferencer, runs
from ovseg.cli import main
from ovseg.cli.predict import _total_areas
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.models.post_processors import PostProcessorChain
from ovseg.models.text import TextEncoder
from ovseg.vocabulary import read_class_list

EVIL = runpy.run_path(str(Path(__file__).parents[1] / 'evil_checkpoints.py'), run_name='evil')['EVIL']
TEMPLATES = 'plain'  # one instead of eighty
SIZES = {'first': (101, 131), 'second': (127, 83)}  # height, width
CORNERS = {'first': (100, 150), 'second': (400, 60)}  # left, top


@pytest.fixture
def image_files(tmp_path):
    """Paths of two parts of a demo scene, with several classes in each."""
    folder = tmp_path / 'images'
    folder.mkdir()
    with Image.open(DEMO_SCENES / 'images' / '006.jpg') as scene:
        for name, (left, top) in CORNERS.items():
            height, width = SIZES[name]
            scene.crop((left, top, left + width, top + height)).save(folder / f'{name}.png')
    return sorted(folder.iterdir())


@pytest.fixture
def predict(tmp_path):
    """Runs ``ovseg predict`` on images, into ``tmp_path / 'out'``."""
    def run(image_files, *options):
        return main(['predict', *map(str, image_files), '--out', str(tmp_path / 'out'), '--device', 'cpu', *options,
                     '--cfg-options', f'model.prompt_templates={TEMPLATES}'])
    return run


def results(tmp_path):
    return json.loads((tmp_path / 'out' / 'results.json').read_text(encoding='utf-8'))


def synonyms(tmp_path):
    return [entry['synonyms'] for entry in results(tmp_path)['classes']]


def label_map(tmp_path, name):
    return np.array(Image.open(tmp_path / 'out' / 'pred' / f'{name}.png'))


def cells(output):
    """The cells of each row of the table that was printed."""
    return [[cell.strip() for cell in line.split('│')[1:-1]] for line in output.splitlines() if line.startswith('│')]


def test_a_table_and_the_paths_of_an_image(predict, image_files, tmp_path, capsys):
    assert predict(image_files[:1], '--classes', 'ladybug, snow; ice, gravel') == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert lines[0].strip() == 'first'
    assert lines[-2:] == [str(tmp_path / 'out' / folder / 'first.png') for folder in ('vis', 'pred')]
    labels = label_map(tmp_path, 'first')
    assert labels.shape == SIZES['first']
    assert dict(cells(output)) == {word: f'{(labels == index).mean():.1%}'
                                   for index, word in enumerate(['ladybug', 'snow', 'gravel']) if (labels == index).any()}
    assert Image.open(lines[-2]).mode == 'RGB'


def test_confidence_and_rejection(predict, image_files, tmp_path, capsys):
    options = ['--classes', 'ladybug, snow; ice, gravel', '--reject', '0.9']
    assert predict(image_files[:1], *options, '--confidence', '16') == 0
    output, errors = capsys.readouterr()
    assert output.splitlines()[-2:] == [str(tmp_path / 'out' / kind / 'first.png') for kind in ('confidence', 'margin')]
    confidence, margin = (np.array(Image.open(tmp_path / 'out' / kind / 'first.png')) for kind in ('confidence', 'margin'))
    labels = label_map(tmp_path, 'first')
    np.testing.assert_array_equal(labels == 255, confidence / 65535 < 0.9)
    assert (labels == 255).any() and (labels != 255).any() and (margin <= confidence).all() and margin.max() > 255
    assert results(tmp_path)['images'][0]['rejected_pixels'] == (labels == 255).sum() and 'not finite' not in errors
    assert predict(image_files, *options, '--confidence', '16', '--resume') == 0
    assert predict(image_files, *options, '--confidence', '8', '--resume') == 1
    assert 'different: confidence_bits' in capsys.readouterr().err


def test_one_table_of_several_images(predict, image_files, tmp_path, capsys):
    assert predict(image_files, '--classes', 'ladybug, snow; ice, zebra, gravel') == 0
    output = capsys.readouterr().out
    maps = [label_map(tmp_path, name) for name in SIZES]
    total = sum(labels.size for labels in maps)
    expected = []
    for index, word in enumerate(['ladybug', 'snow', 'zebra', 'gravel']):
        pixels = [int((labels == index).sum()) for labels in maps]
        if any(pixels):
            expected.append([word, f'{sum(pixels) / total:.1%}', str(sum(map(bool, pixels)))])
    assert sorted(cells(output)) == sorted(expected) and len(expected) > 1
    assert output.splitlines()[-1] == f'2 images in {tmp_path / "out"}: vis, pred, results.json'


def test_the_total_has_the_pixels_without_a_class_and_not_those_without_data():
    def image(size, nodata, **counts):
        areas = {name: dict(pixels=pixels) for name, pixels in counts.items()}
        return dict(size=size, areas=areas, rejected_pixels=size[0] * size[1] - nodata - sum(counts.values()),
                    **(dict(nodata_pixels=nodata) if nodata else {}))
    images = [image([7, 11], 0, cat=31, snow=13), image([5, 17], 19, cat=23, snow=0)]
    assert _total_areas(images) == [('cat', '37.8%', '2'), ('snow', '9.1%', '1')]  # of 7 * 11 + 5 * 17 - 19 = 143


def test_two_equal_images_have_the_shares_of_one(predict, image_files, capsys):
    options = ['--classes', 'ladybug, snow; ice, gravel', '--reject', '0.9']
    assert predict(image_files[:1], *options) == 0
    one = cells(capsys.readouterr().out)
    assert predict(image_files[:1] * 2, *options) == 0
    assert cells(capsys.readouterr().out) == [[*row, '2'] for row in one]


def test_labels_are_those_of_the_inferencer(predict, image_files, tmp_path):
    options = {'model.prompt_templates': TEMPLATES}
    words = ['ladybug', 'snow; ice', 'gravel']
    expected = OVSegInferencer('gated_full_tiny-clip', device='cpu', cfg_options=options)(
        image_files, words, background='grass, sky', threshold=0.97)['predictions']
    assert predict(image_files, '--classes', ','.join(words), '--background', 'grass, sky', '--threshold', '0.97',
                   '--model', 'gated_full_tiny-clip', '--batch-size', '2') == 0
    for path, labels in zip(image_files, expected):
        assert np.array_equal(label_map(tmp_path, path.stem), labels)
        assert len(np.unique(labels)) > 1


@pytest.mark.parametrize(('text', 'expected'), [
    ('zebra, snow; ice cube ,sky', [['zebra'], ['snow', 'ice cube'], ['sky']]),
    ('zebra', [['zebra']]),
    ('voc20', read_class_list('voc20')),
    ('words.txt', [['zebra', 'horse'], ['snow']])], ids=['words', 'a word', 'bundled list', 'file'])
def test_classes(text, expected, predict, image_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('words.txt').write_text('zebra, horse\nsnow\n')
    Path('zebra').write_text('a file, but no text file\n')
    assert predict(image_files[:1], '--classes', text) == 0
    assert synonyms(tmp_path) == expected


@pytest.mark.parametrize('model', ['corrclip_tiny-clip', 'lposs_plus_tiny-clip'])
def test_a_method_by_name(model, predict, image_files, tmp_path):
    assert predict(image_files, '--model', model) == 0
    for name, size in SIZES.items():
        assert label_map(tmp_path, name).shape == size


def test_without_classes_the_names_are_those_of_the_config(predict, image_files, tmp_path):
    assert predict(image_files[:1]) == 0
    assert synonyms(tmp_path) == read_class_list('demo_scenes')


def test_a_folder_and_a_url(predict, image_files, tmp_path):
    assert predict([image_files[0].parent, image_files[1].as_uri()], '--classes', 'zebra, snow') == 0
    assert [(entry['name'], entry['source']) for entry in results(tmp_path)['images']] == [
        ('first', str(image_files[0])), ('second', str(image_files[1])), ('second_2', str(image_files[1]))]


def test_names_are_printed_as_they_stand(predict, image_files, capsys):
    assert predict(image_files[:1], '--classes', '[red]cat :smile:') == 0
    assert '│ [red]cat :smile: │ 100.0% │' in capsys.readouterr().out


def test_json_is_all_that_goes_to_the_standard_output(predict, image_files, tmp_path, capsys):
    assert predict(image_files, '--classes', 'zebra, snow', '--json') == 0
    captured = capsys.readouterr()
    found, written = json.loads(captured.out), results(tmp_path)
    assert found['classes'] == written['classes']
    assert found['images'] == [
        {**entry, 'files': {folder: str(tmp_path / 'out' / folder / path.name) for folder in ('vis', 'pred')}}
        for path, entry in zip(image_files, written['images'])]
    assert [image['source'] for image in found['images']] == list(map(str, image_files))
    assert 'No model was named, so this is the tiny CLIP of the demo' in captured.err
    assert '--model gated_vit-b16 on the command line' in captured.err


@pytest.mark.parametrize(('options', 'message'), [
    (['--model', 'gated_vit-b17'], "--model='gated_vit-b17' is no config of ovseg; near: gated_vit-b16"),
    (['--classes', 'zebra,, sky'], 'class 1 of the class list has an empty name'),
    (['--classes', 'no_such.txt'], "vocabulary.names='no_such.txt' is neither a bundled class list"),
    (['--threshold', '0.3'], '--threshold=0.3 needs a background, which pixels under it become, for instance --background='),
    (['--batch-size', '0'], '--batch-size=0 must be an integer >= 1'),
    (['--tile', '223'], '--tile=223 must be an integer >= 224 (the side of the windows, model.windows.crop, or more)'),
    (['--overlap', '1024'], '--overlap=1024 must be an integer from 0 to 1023 (less than tile)'),
    (['--bands', '1', '2'], '--bands=(1, 2) must be one band, for grey, or three, for red, green and blue'),
    (['--bit-depth', '33'], '--bit-depth=33 must be an integer from 1 to 32'),
    (['--nodata', 'nan'], '--nodata=nan must be a finite number (NaN and Inf never count as data)'),
    (['--max-pixels', '0'], '--max-pixels=0 must be an integer >= 1'),
    (['--device', 'nonsense'], "--device='nonsense' cannot be used: Expected one of cpu"),
    (['--weights', 'no_such.pt'], "clip.pretrained='no_such.pt' is neither a tag")])
def test_what_cannot_be_done_is_said_in_a_line_and_exits_with_1(options, message, predict, image_files, capsys):
    assert predict(image_files, *options) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f'ovseg: error: {message}')


def test_errors_of_images_name_options_and_leave_the_names_of_images(predict, image_files, tmp_path, capsys):
    names = ['max_pixels.png', 'tile=3.png', 'bands.png']
    for name in names:
        image_files[0].rename(tmp_path / name) if name == names[0] else (tmp_path / name).write_text('no image')
    assert predict([tmp_path / name for name in names], '--classes', 'zebra, snow', '--max-pixels', '7') == 1
    lines = capsys.readouterr().err.splitlines()[-3:]
    assert lines[0].startswith(f'  {tmp_path / names[0]} is too large: 131 x 101 pixels, and --max-pixels=7. ')
    assert lines[0].endswith(' or raise --max-pixels; a pixel takes some 25 bytes of memory')
    assert [line.split(' is no image,')[0] for line in lines[1:]] == [f'  {tmp_path / name}' for name in names[1:]]
    assert predict(image_files[1:], '--classes', 'zebra, snow', '--nodata', '0') == 1
    assert ' and --nodata=0.0 can be used with such files only' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['zip', 'tar'])
def test_weights_run_no_code(name, predict, image_files, tmp_path, capsys):
    EVIL[name](tmp_path / 'evil.pt', tmp_path / 'executed', {'a': torch.zeros(3)})
    assert predict(image_files, '--weights', str(tmp_path / 'evil.pt')) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f'ovseg: error: {tmp_path / "evil.pt"} ')
    assert not (tmp_path / 'executed').exists()


def test_names_that_the_terminal_cannot_show_are_escaped_and_whole_in_json(predict, image_files, monkeypatch):
    printed = []
    for options in ([], ['--json']):
        written = io.BytesIO()
        monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, 'ascii'))
        assert predict(image_files[:1], '--classes', '猫🐈é', *options) == 0
        sys.stdout.flush()
        printed.append(written.getvalue().decode())
    table, document = printed
    assert r'\u732b\U0001f408\xe9' in table
    assert json.loads(document)['classes'][0]['name'] == '猫🐈é'


def test_pixels_without_a_class_are_counted_at_the_end(predict, image_files, tmp_path, monkeypatch, capsys):
    chain = PostProcessorChain.__call__

    def broken(self, features, stage):
        features = chain(self, features, stage)
        patches = features.patches.clone()
        patches[0, 0] = torch.nan if patches.shape[1] > 50 else patches[0, 0]  # the first image has 7 x 9 patches
        return features.replace(patches=patches)

    monkeypatch.setattr(PostProcessorChain, '__call__', broken)
    assert predict(image_files, '--classes', 'zebra, snow', '--json') == 0
    captured = capsys.readouterr()
    counts = [int((label_map(tmp_path, path.stem) == 255).sum()) for path in image_files]
    assert counts[0] > 0 and [entry.get('undefined_pixels', 0) for entry in json.loads(captured.out)['images']] == counts
    assert captured.err.splitlines()[-1] == (
        f'ovseg: warning: {sum(counts)} pixels of {sum(map(bool, counts))} images have no class, because their scores are not '
        'finite (NaN or Inf). They are 255 in the label maps (65535 for more than 255 classes) and not painted')


def test_a_word_without_an_embedding_is_named(predict, image_files, monkeypatch, capsys):
    monkeypatch.setattr(TextEncoder, '_embed', lambda self, ids: torch.full((len(ids), 128), torch.nan))
    assert predict(image_files, '--classes', 'glyptodon, okapi') == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "ovseg: error: the text tower gives no finite embedding of 2 of 2 class names: 'glyptodon', 'okapi'; are its weights "
        'finite?')


def test_a_missing_image(predict, tmp_path, capsys):
    assert predict([tmp_path / 'no_such.jpg']) == 1
    assert f'ovseg: error: there is no image or folder {tmp_path / "no_such.jpg"}\n' in capsys.readouterr().err


def test_the_name_of_a_missing_image_is_left_as_it_is(predict, tmp_path, capsys):
    path = tmp_path / 'my max_pixels=3 a.jpg'
    assert predict([path], '--classes', 'zebra, snow') == 1
    assert capsys.readouterr().err.endswith(f'ovseg: error: there is no image or folder {path}\n')


def test_a_model_that_takes_no_names(predict, image_files, tmp_path, capsys):
    config = tmp_path / 'other.py'
    config.write_text("model = dict(type='SegDataPreProcessor')\ntest_dataloader = dict(dataset=dict(pipeline=[]))\n")
    assert main(['predict', str(image_files[0]), '--out', str(tmp_path), '--model', str(config)]) == 1
    assert capsys.readouterr().err.endswith(
        f'ovseg: error: the model of {config} is a SegDataPreProcessor; class names need a CLIPSegmentor\n')


def test_broken_images_are_listed_at_the_end(predict, image_files, tmp_path, capsys):
    folder = image_files[0].parent
    (folder / 'a.jpg').write_text('no image')
    (folder / 'middle.psd').write_bytes(b'8BPS')
    (folder / 'notes.txt').write_text('no image')
    assert predict([folder], '--classes', 'zebra, snow') == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()[-4:]
    assert lines[0] == ('ovseg: 1 files or sub-folders were left out, because their names are not those of images: '
                        f'{folder / "notes.txt"}')
    assert lines[1] == 'ovseg: error: 2 images have no results, or not all of them:'
    assert [line.split(' is no image,')[0] for line in lines[2:]] == [f'  {folder / name}' for name in ('a.jpg', 'middle.psd')]
    assert '2 images in ' in captured.out
    document = results(tmp_path)
    assert [entry['name'] for entry in document['images']] == ['first', 'second']
    assert [entry['source'] for entry in document['failed']] == [str(folder / name) for name in ('a.jpg', 'middle.psd')]


def test_folders_of_formats_are_printed_and_one_image_is_singular(predict, image_files, tmp_path, capsys):
    assert predict(image_files[:1], '--classes', 'zebra, snow', '--format', 'masks', 'csv') == 0
    printed = capsys.readouterr().out.splitlines()
    out = Path(printed[-1]).parent
    assert printed[-2:] == [str(out / 'masks'), str(out / 'areas.csv')] and all(map(Path.exists, map(Path, printed[-2:])))
    image_files[0].write_text('no image')
    assert predict(image_files[:1], '--classes', 'zebra, snow') == 1
    assert 'ovseg: error: 1 image has no results, or not all of them:' in capsys.readouterr().err


def test_results_of_another_run_are_not_printed(predict, image_files, tmp_path, capsys):
    (tmp_path / 'broken.jpg').write_text('no image')
    assert predict([tmp_path / 'broken.jpg'], '--classes', 'zebra', '--json') == 1
    assert json.loads(capsys.readouterr().out)['images'] == []
    assert predict(image_files, '--classes', 'zebra, snow') == 0
    capsys.readouterr()
    assert predict([tmp_path / 'broken.jpg'], '--classes', 'zebra', '--json') == 1
    assert capsys.readouterr().out == '' and len(results(tmp_path)['images']) == 2


def test_a_file_that_vanishes_meanwhile_is_named(predict, image_files, tmp_path, monkeypatch, capsys):
    read = runs.read_image

    def vanishing(source, *args):
        image_files[1].unlink(missing_ok=True)
        return read(source, *args)

    monkeypatch.setattr(runs, 'read_image', vanishing)
    assert predict(image_files, '--classes', 'zebra, snow') == 1
    assert str(image_files[1]) in capsys.readouterr().err.splitlines()[-1]
    assert [entry['name'] for entry in results(tmp_path)['images']] == ['first']


def test_a_full_disk_is_a_line_and_finished_work_stays(predict, image_files, tmp_path, monkeypatch, capsys):
    write = Path.write_bytes

    def full(path, content):
        if path.name.startswith('second'):
            raise OSError(28, 'No space left on device')
        return write(path, content)

    monkeypatch.setattr(Path, 'write_bytes', full)
    assert predict(image_files, '--classes', 'zebra, snow') == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"ovseg: error: cannot write into --out='{tmp_path / 'out'}': ") and 'No space left' in line
    assert [entry['name'] for entry in results(tmp_path)['images']] == ['first']
    assert label_map(tmp_path, 'first').shape == SIZES['first']


def test_resume_leaves_out_what_is_done(predict, image_files, tmp_path, monkeypatch, capsys):
    words = ['--classes', 'zebra, snow']
    assert predict(image_files[:1], *words) == 0
    first = results(tmp_path)['images']
    seen, read = [], runs.read_image
    monkeypatch.setattr(runs, 'read_image', lambda source, *args: seen.append(source) or read(source, *args))
    assert predict(image_files, *words, '--resume', '--format', 'csv') == 0
    assert seen == image_files[1:]
    assert '2 images (1 were there already) in ' in capsys.readouterr().out
    assert results(tmp_path)['images'][0] == first[0] and len(results(tmp_path)['images']) == 2
    assert len((tmp_path / 'out' / 'areas.csv').read_text().splitlines()) == 1 + 2 * 2
    for options in (['--classes', 'zebra, sky'], [*words, '--model', 'naclip_tiny-clip'], [*words, '--overlap', '7']):
        assert predict(image_files, *options, '--resume') == 1
        assert 'holds results of other settings, which must not be mixed (different: ' in capsys.readouterr().err


def test_ctrl_c_leaves_the_results_of_what_is_finished(predict, image_files, tmp_path, monkeypatch, capsys):
    read = runs.read_image

    def interrupted(source, *args):
        if source == image_files[1]:
            raise KeyboardInterrupt
        return read(source, *args)

    monkeypatch.setattr(runs, 'read_image', interrupted)
    assert predict(image_files, '--classes', 'zebra, snow', '--json') == 130
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.endswith(f'ovseg: interrupted; what is finished is in {tmp_path / "out"}\n')
    assert [entry['name'] for entry in results(tmp_path)['images']] == ['first']


def test_a_repeated_format_adds_to_the_first(predict, image_files, tmp_path):
    assert predict(image_files[:1], '--classes', 'zebra, snow', '--format', 'csv', '--format', 'masks') == 0
    assert (tmp_path / 'out' / 'areas.csv').is_file() and (tmp_path / 'out' / 'masks' / 'first').is_dir()


@pytest.mark.parametrize(('arguments', 'message'), [
    ([], 'the following arguments are required: IMAGE, --out'),
    (['a.jpg', '--out', 'out', '--threshold', 'high'], "argument --threshold: invalid float value: 'high'"),
    (['--out', 'out', '--cfg-options', 'a=1', 'a.jpg'], "'a.jpg' is not KEY=VALUE (what has no name stands in front of"),
    (['a.jpg', '--out', 'out', '--cfg-options', 'model.name_path=[cat'], "'model.name_path=[cat': the brackets do not match")])
def test_wrong_arguments_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as finished:
        main(['predict', *arguments])
    assert finished.value.code == 2
    assert message in capsys.readouterr().err
