import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

import ovseg
from ovseg.program import error_line, errors_as_lines


class Broken(Dataset):
    """A data set that cannot be read."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise ValueError('cannot read a.png')


@pytest.mark.parametrize('error, text', [
    (ValueError('x=3 must be 5'), 'x=3 must be 5'), (MemoryError(), 'MemoryError'),
    (FileNotFoundError(2, 'No such file', 'a\x1b[31m'), "[Errno 2] No such file: 'a\\x1b[31m'"),
    (ValueError('a\x1b[31mb\u202ec\x07'), 'a\\x1b[31mb\\u202ec\\x07'), (ValueError('Größe 木\nof two'), 'Größe 木\nof two')])
def test_the_line_of_an_error(error, text):
    assert error_line('tools/x.py', error) == f'tools/x.py: error: {text}'


def test_a_worker_of_a_data_loader_is_quoted_without_its_traceback():
    with pytest.raises(SystemExit) as ended, errors_as_lines('x'):
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert ended.value.code == 'x: error: ValueError: cannot read a.png'


@pytest.mark.parametrize('statement, code, lines', [
    ("raise ValueError('wrong')", 1, ['prog: error: wrong']), ("open('/no such')", 1, None),
    ('raise KeyboardInterrupt', 130, ['prog: interrupted'])])
def test_a_program_ends_with_a_line_and_a_code(statement, code, lines):
    script = f"from ovseg.program import errors_as_lines\nwith errors_as_lines('prog'):\n    {statement}\n"
    ended = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=300, env=os.environ)
    assert ended.returncode == code
    printed = ended.stderr.splitlines()
    assert printed == (lines or ["prog: error: [Errno 2] No such file or directory: '/no such'"])


@pytest.mark.parametrize('statement', [
    "print('x' * 10 ** 6)", "print('x')", "from rich.console import Console; Console().print('x')",
    "import logging; logging.basicConfig(stream=sys.stdout); logging.error('x' * 10 ** 6)",
    "print('x', file=sys.stderr)"])
def test_a_reader_that_has_ended_ends_the_program_without_a_word(statement, tmp_path):
    script = tmp_path / 'ovseg'  # by this name nothing is registered
    script.write_text("import sys\nfrom ovseg.program import errors_as_lines\nwith errors_as_lines('prog'):\n"
                      f"    {statement}\n    sys.stdout.flush()\n    open('after', 'w')\n")
    both = '2>&1' if 'stderr' in statement else ''
    ended = subprocess.run(['bash', '-c', f'{shlex.quote(sys.executable)} ovseg {both} | true; exit ${{PIPESTATUS[0]}}'],
                           cwd=tmp_path, capture_output=True, text=True, timeout=300,
                           env={**os.environ, 'PYTHONPATH': str(Path(ovseg.__file__).parents[1])})
    assert (ended.returncode, ended.stdout, ended.stderr) == (141, '', '')
    assert not (tmp_path / 'after').exists()


@pytest.mark.parametrize('error', [KeyError('x'), TypeError('x'), AttributeError('x'), AssertionError('x'), RuntimeError('x')])
def test_a_defect_shows_where_it_is(error):
    with pytest.raises(type(error)), errors_as_lines('prog'):
        raise error
