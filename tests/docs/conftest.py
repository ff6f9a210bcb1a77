"""A folder like the root of a checkout, and what runs a page's command lines in it: in this process, and made quick."""
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import NamedTuple, Sequence

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from packaging.requirements import Requirement

import ovseg
from ovseg import cli
from ovseg.config import read_config
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.models.guides import TimmGuide

ROOT = Path(ovseg.__file__).parents[1]
MINIATURES = runpy.run_path(str(ROOT / 'tests' / 'miniatures.py'))
BENCHMARK = re.compile(r'(\w+)(?:-\w+)?_vit-[^_]+_(\w+)')
SCENES = ('000', '006')
TINY = ['--cfg-options', 'model.clip.name=ovseg-tiny-clip', 'model.clip.pretrained=embedded',
        'model.vocabulary.templates=plain']
PLACEHOLDERS = {'CONFIG': 'configs/demo/gated_tiny-clip_demo.py', 'IMAGE': 'image.jpg', 'DIR': 'maps'}
# By the folder of the config: blocks of the tiny CLIP, and what stands in for networks and region maps that are not here.
OFFLINE = {'scclip': [f'model.image_encoder.{setting}' for setting in ('pre_layer=3', 'post_layer=2', 'levels=(2,3)')],
           'resclip': ['model.image_encoder.rcs_layers=(2,3)'],
           'proxyclip': ['model.image_encoder.guide.type=CLIPGuide'],
           'corrclip': ['model.image_encoder.guide.type=CLIPGuide', 'model.image_encoder.regions.type=SuperpixelRegions']}
SMALL = 'test_dataloader.dataset.pipeline.1.scale=(256,64)'  # of a benchmark's images


class Tool(NamedTuple):
    """Arguments that make a tool quick, the text that it prints then, and the files (a pattern) that it writes."""
    quick: Sequence[str] = ()
    prints: str = ''
    writes: str = ''


TOOLS = {
    'tools/ablate.py': Tool(
        ['--limit', '1', *TINY, 'test_dataloader.num_workers=0'], 'table.csv', 'work_dirs/ablate_*/table.csv'),
    'tools/measure_speed.py': Tool(['--rounds', '1', '--only', 'decode'], 'decode'),
    'tools/check_dataset.py': Tool(prints='classes seen in them'),
    'tools/dataset_converters/ade20k_847.py': Tool(prints='1 label maps written'),
    'tools/dataset_converters/coco_object.py': Tool(prints='1 label maps written'),
    'tools/dataset_converters/context459.py': Tool(prints='1 label maps written'),
    'tools/draw_pipeline.py': Tool(prints='wrote pipeline.png'),
    'tools/make_demo_scenes.py': Tool(['--count', '2'], writes='ovseg/datasets/resources/demo_scenes/annotations/001.png'),
    'tools/test.py': Tool(
        [*TINY, 'test_dataloader.num_workers=0',
         'test_dataloader.dataset.indices=2'], r' mIoU: +[\d.]+  ', 'work_dirs/*/*/*.log'),
    'tools/train.py': Tool(
        ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.length=4', 'train_dataloader.batch_size=2',
         'train_dataloader.num_workers=0', 'val_dataloader.dataset.length=2'], 'top1_n4: ', 'work_dirs/*/epoch_1.pth'),
    'tools/train_tiny_clip.py': Tool(
        ['--images', '8', '--batch-size', '2', '--workers', '0', '--device', 'cpu'], 'wrote ',
        'work_dirs/tiny_clip/*.safetensors'),
}


# the commands that tools run
COMMANDS = {'tools/ablate.py': 'ablate', 'tools/check_dataset.py': 'check-data', 'tools/demo.py': 'demo',
            'tools/eval_predictions.py': 'eval', 'tools/make_regions.py': 'regions', 'tools/test.py': 'test',
            'tools/visualize.py': 'visualize'}
TOOL_OF = {command: tool for tool, command in COMMANDS.items() if tool in TOOLS}


@pytest.fixture(autouse=True)
def _loggers_of_their_own(monkeypatch):
    """A logger keeps the stream it was made with, and those of ``capsys`` are closed after each test."""
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())


@pytest.fixture
def checkout(tmp_path, monkeypatch, one_thread):
    """A folder with the configs, some of the demo scenes and ``image.jpg``, in which the test then is."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    for folder, suffix in (('images', 'jpg'), ('annotations', 'png')):
        target = tmp_path / 'ovseg' / 'datasets' / 'resources' / 'demo_scenes' / folder
        target.mkdir(parents=True)
        for scene in SCENES:
            shutil.copy(DEMO_SCENES / folder / f'{scene}.{suffix}', target)
    shutil.copy(DEMO_SCENES / 'images' / '006.jpg', tmp_path / 'image.jpg')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('DATA_ROOT', raising=False)
    monkeypatch.setenv('LOCAL_RANK', '0')
    # A Runner formats its config five times, which takes longer than all the rest.
    for module in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):  # onedl-mmengine imports it where it formats
        monkeypatch.setattr(f'{module}.FormatCode', lambda text, **style: (text, True), raising=False)
    return tmp_path


class Shell:
    """Takes command lines as they stand on a page."""

    def __init__(self, folder, monkeypatch, capfd):
        self.folder, self.monkeypatch, self.capfd = folder, monkeypatch, capfd

    def run(self, command, exit_code=0):
        """Run it, made quick, and return what it prints. What would go on for long (a server, ``make``) is only parsed."""
        program, *arguments = self._words(command)
        if program == 'ovseg' and arguments[0] == 'predict':
            assert cli.main([*arguments, *TINY]) == exit_code
            output = self.capfd.readouterr().out
        elif program == 'ovseg' and arguments[:2] == ['reproduce', 'demo/gated_tiny-clip_demo']:  # two scenes: any verdict
            assert cli.main([*arguments, '--subset', '2', *TINY[:1], 'test_dataloader.num_workers=0']) in (0, 1)
            return self.capfd.readouterr().out
        elif program == 'ovseg' and arguments[0] in TOOL_OF:
            output = self._run_tool(TOOL_OF[arguments[0]], arguments[1:], exit_code)
        elif program == 'ovseg' and arguments[0] == 'dist-test':
            return self.run(shlex.join(['tools/dist_test.sh', *arguments[1:]]), exit_code)
        elif program == 'ovseg' and arguments[0] == 'convert':
            output = self._run_tool(f'tools/dataset_converters/{arguments[1]}.py', arguments[2:], exit_code)
        elif program in TOOLS:
            output = self._run_tool(program, arguments, exit_code)
        elif program == 'tools/dist_test.sh':
            output = self._run_tool('tools/test.py', self._arguments_of_a_process(program, arguments), exit_code)
        elif program == '.venv/bin/pre-commit':
            return self._run_pre_commit(arguments)
        else:
            return self.parse(command)
        if '--out' in arguments:
            assert any((self.folder / arguments[arguments.index('--out') + 1]).rglob('*.png'))
        return output

    def parse(self, command):
        """Let the program of a command line read its arguments, and no more; a program that is not known fails.

        Returns:
            What a tool has read.
        """
        program, *arguments = self._words(command)
        if program == 'make':
            return self._dry_run(arguments)
        if program == 'pip':
            self._check_requirements(arguments)
        elif program == 'ovseg':
            if '--help' in arguments:
                with pytest.raises(SystemExit, match=r'^0$'):
                    cli.main(arguments)
            else:
                return cli.parse_arguments(arguments)
        elif program in COMMANDS:
            return self.parse(shlex.join(['ovseg', COMMANDS[program], *arguments]))
        elif program.endswith('.sh'):
            assert os.access(ROOT / program, os.X_OK)
        else:
            assert program.startswith('tools/'), f'nothing here knows how to run {command}'
            self._set_arguments(program, arguments)
            tool = runpy.run_path(str(ROOT / program), run_name='tool')
            return tool.get('parse_args', lambda: None)()
        return None

    def _words(self, command):
        """The words of a line without its comment, patterns replaced by the files of that name; ``python`` and what stands in
        front of it are gone, and heeded.
        """
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command, comments=True)]
        words = [part for word in words for part in (sorted(glob(word)) if '*' in word else [word])]
        if words[0] == 'PYTHONPATH=.':
            self.monkeypatch.syspath_prepend(str(self.folder))
            del words[0]
        if words[:3] == ['python', '-m', 'ovseg']:
            return words[2:]
        return words[1:] if words[0] == 'python' else words

    def _set_arguments(self, program, arguments):
        self.monkeypatch.syspath_prepend(str((ROOT / program).parent))  # as Python does
        self.monkeypatch.setattr(sys, 'argv', [program, *arguments])

    def _run_tool(self, program, arguments, exit_code):
        tool = TOOLS[program]
        if program == 'tools/measure_speed.py' and '--scenario' in arguments:  # minutes, or a GPU
            return self.parse(shlex.join([program, *arguments]))
        quick = list(tool.quick)
        benchmarks = [*filter(None, map(BENCHMARK.fullmatch, (Path(argument).stem for argument in arguments)))]
        if not {benchmark[2] for benchmark in benchmarks} <= {*MINIATURES['LAYOUTS'], *MINIATURES['MESS_LAYOUTS']}:
            return self.parse(shlex.join([program, *arguments]))  # remote sensing, whose miniatures are those of its own tests
        for benchmark in benchmarks:
            MINIATURES['draw'](benchmark[2], Path(os.environ.get('DATA_ROOT', 'data')), [0, 1, 2])
            quick += ['--cfg-options', SMALL, *OFFLINE.get(benchmark[1], [])]
        self._set_arguments(program, [*arguments, *quick])
        code = 0
        try:
            runpy.run_path(str(ROOT / program), run_name='__main__')
        except SystemExit as exit_:
            code = exit_.code
        output = self.capfd.readouterr().out
        assert code == exit_code
        assert re.search(tool.prints, output)
        assert not tool.writes or any(self.folder.glob(tool.writes))
        return output

    def _arguments_of_a_process(self, script, arguments):
        """The command of each process of ``tools/dist_test.sh``, without the launcher; test_dist_test.py starts some."""
        torchrun = self.folder / 'bin' / 'torchrun'
        torchrun.parent.mkdir()
        torchrun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        torchrun.chmod(0o755)
        path = os.pathsep.join([str(torchrun.parent), os.environ['PATH']])
        words = self._output([str(ROOT / script), *arguments], PATH=path).split()
        assert f'--nproc_per_node={arguments[1]}' in words
        config, *rest = words[words.index(str(ROOT / 'tools' / 'test.py')) + 1:]
        assert rest[:2] == ['--launcher', 'pytorch']
        return [config, *rest[2:]]

    def _run_pre_commit(self, arguments):
        if shutil.which('git') is None:
            pytest.skip('needs git')
        shutil.copy(ROOT / '.pre-commit-config.yaml', self.folder)
        self._output(['git', 'init', '--quiet'], cwd=self.folder)
        output = self._output([sys.executable, '-m', 'pre_commit', *arguments], cwd=self.folder,
                              PRE_COMMIT_HOME=str(self.folder / 'pre-commit'))
        assert (self.folder / '.git' / 'hooks' / 'pre-commit').is_file()
        return output

    def _dry_run(self, arguments):
        if shutil.which('make') is None:
            pytest.skip('needs make')
        output = self._output(['make', *arguments, '--dry-run', '--no-print-directory'])  # tests may run under make themselves
        assert output
        return output

    def _check_requirements(self, arguments):
        """Of ``pip install``: files are there, and extras are the package's own."""
        keywords = {}
        self.monkeypatch.setattr('setuptools.setup', keywords.update)
        runpy.run_path(str(ROOT / 'setup.py'))
        assert arguments[0] == 'install'
        for argument in arguments[1:]:
            if argument.startswith((keywords['name'], '.[')):
                assert Requirement(argument.replace('.[', 'ovseg[')).extras <= set(keywords['extras_require'])
            else:
                assert argument in ('-e', '-r', '--no-deps', '.') or (ROOT / argument).is_file()

    @staticmethod
    def _output(command, cwd=ROOT, **variables):
        """Output of a process; git gets no settings from outside, as a hook that runs the tests would give it."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith('GIT_')}
        return subprocess.run(command, cwd=cwd, env={**environment, 'GIT_CONFIG_GLOBAL': os.devnull, **variables}, timeout=60,
                              capture_output=True, text=True, check=True).stdout


@pytest.fixture
def shell(checkout, monkeypatch, capfd):
    """Runs the command lines of pages in the folder ``checkout``, with small random guides."""
    load, small = TimmGuide.load, dict(pretrained=None, model_cfg=dict(embed_dim=48, depth=2, num_heads=3))
    monkeypatch.setattr(TimmGuide, 'load', lambda guide: load(replace(guide, **small)))
    return Shell(checkout, monkeypatch, capfd)


@pytest.fixture
def build(files, monkeypatch):
    """Builds the model of the config at ``files``, a fixture of the page's tests, with random weights."""
    monkeypatch.syspath_prepend(str(files.parent))

    def from_page(**options):
        cfg = read_config(files, {'model.clip.pretrained': None, 'model.vocabulary.templates': 'plain', **options})
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            return MODELS.build(cfg.model)
    return from_page
