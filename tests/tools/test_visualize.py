import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ovseg import files
from ovseg.resources import configs_dir

ROOT = configs_dir().parent
PAGE = (ROOT / 'docs' / 'visualize.md').read_text()
COMMANDS = [shlex.split(command.replace('\\\n', ' '))
            for command in re.findall(r'^    (ovseg (?:.*\\\n)*.*)$', PAGE, flags=re.M)]
FIGURES = ['attention', 'similarity', 'outliers', 'clusters', 'cls_similarity', 'scores', 'errors']
QUICK = ['--cfg-options', 'model.pretrained=None', 'model.prompt_templates=plain']


@pytest.fixture
def scene(tmp_path, draw_scenes):
    draw_scenes(tmp_path, {'a': (61, 83)})
    return tmp_path / 'images' / 'a.jpg', tmp_path / 'annotations' / 'a.png'


def test_figures_are_written(scene, tmp_path, in_process):
    image, truth = scene
    out = tmp_path / 'new' / 'out [a]'
    output = in_process('visualize.py', 'gated_full_tiny-clip', image, '--ground-truth', truth, '--out', out, '--svg',
                        '--points', '5,7', '60,82', '--model-types', 'SFP', '--classes', 'zebra', *QUICK)
    files = [out / f'{name}.{suffix}' for name in FIGURES for suffix in ('png', 'svg')]
    assert [line for line in output.splitlines() if line.startswith(str(tmp_path))] == [str(path) for path in files]
    assert sorted(out.iterdir()) == sorted(files)
    for path in files:
        if path.suffix == '.png':
            assert np.array(Image.open(path).convert('L')).std() > 10
        else:
            assert '<svg' in path.read_text()


def test_the_commands_of_the_page_run(tmp_path, in_process, monkeypatch):
    assert len(COMMANDS) == 2 and all(command[:2] == ['ovseg', 'visualize'] for command in COMMANDS)
    written = []
    monkeypatch.setattr(files, 'write_figure', lambda figure, path: written.append(path))  # drawn in the test above
    monkeypatch.chdir(ROOT)
    for _, _, *arguments in COMMANDS:
        options = QUICK[1:] if '--cfg-options' in arguments else QUICK
        in_process('visualize.py', *arguments, *options, '--out', tmp_path)
    assert [path.name for path in written] == [*(f'{name}.png' for name in FIGURES),
                                               *(f'{name}.{suffix}' for name in FIGURES[:-1] for suffix in ('png', 'svg'))]


def test_the_page_names_every_figure():
    assert re.findall(r'^\| `(\w+)\.png`', PAGE, flags=re.M) == FIGURES


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    code, = re.findall(r'```python\n(.*?)```', PAGE, flags=re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert '<svg' in (tmp_path / 'attention.svg').read_text()


@pytest.mark.parametrize('point', ['5', '5,7,9', 'a,b'])
def test_a_point_is_a_row_and_a_column(point, scene, in_process, capfd):
    with pytest.raises(SystemExit):
        in_process('visualize.py', 'gated_tiny-clip', scene[0], '--points', point)
    assert f"invalid point value: '{point}'" in capfd.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['no_such_config', 'a.jpg'], "model='no_such_config' is no config"),
    (['other.py', 'a.jpg'], 'the model of other.py is a SegDataPreProcessor; class names need a CLIPSegmentor'),
    (['gated_tiny-clip', 'nowhere.jpg'], 'nowhere.jpg'),
    (['gated_tiny-clip', 'other.py'], 'other.py is no image'),
    (['gated_tiny-clip', 'a.jpg', '--points', '9999,1'], 'the point 9999,1 .* is outside the image'),
    (['gated_tiny-clip', 'a.jpg', '--model-types', 'Foo'], ".*attention.type='Foo' is unknown; known: ClearCLIP"),
    (['gated_tiny-clip', 'a.jpg', '--classes', 'foo'], "class='foo' is unknown; known: grass"),
    (['gated_tiny-clip', 'a.jpg', '--ground-truth', 'nowhere.png'], 'there is no label map .*nowhere.png')])
def test_what_cannot_be_drawn_is_said_in_a_line(arguments, message, scene, tmp_path, in_process, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('a.jpg').write_bytes(scene[0].read_bytes())
    Path('other.py').write_text("model = dict(type='SegDataPreProcessor')\ntest_dataloader = dict(dataset=dict(pipeline=[]))\n")
    with pytest.raises(SystemExit, match=rf'^tools/visualize\.py: .*{message}') as stopped:
        in_process('visualize.py', *arguments)
    assert '\n' not in stopped.value.code


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_computed(scene, tmp_path, in_process, monkeypatch):
    monkeypatch.setattr('ovseg.visualization.explanation.explain', pytest.fail)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(SystemExit, match=r'^tools/visualize\.py: .*file'):
        in_process('visualize.py', 'gated_tiny-clip', scene[0], '--out', tmp_path / 'file', *QUICK)


def test_a_setting_that_cannot_be_read_is_named(scene, in_process, capfd):
    with pytest.raises(SystemExit) as stopped:
        in_process('visualize.py', 'gated_tiny-clip', scene[0], '--cfg-options', 'model.name_path=[cat,dog')
    assert stopped.value.code == 2 and "'model.name_path=[cat,dog': the brackets do not match" in capfd.readouterr().err


def test_the_folder_is_named_after_the_image(scene, tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(Figure, 'savefig', lambda figure, path, format: path.write_text(''))
    monkeypatch.chdir(tmp_path)
    in_process('visualize.py', 'gated_tiny-clip', scene[0], *QUICK)
    assert sorted(path.stem for path in (tmp_path / 'work_dirs' / 'visualize' / 'a').iterdir()) == sorted(FIGURES[:-1])
