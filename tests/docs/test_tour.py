"""The notebook of the tour, run from top to bottom. To renew what it shows, run all its cells in Jupyter, and save it."""
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import ovseg

NOTEBOOK = Path(ovseg.__file__).parents[1] / 'docs' / 'tour.ipynb'


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def printed(cell):
    return ''.join(output.text for output in cell.outputs if output.get('name') == 'stdout')


def figures(cell):
    return sum('image/jpeg' in output.get('data', {}) for output in cell.outputs)


@pytest.fixture(scope='module')
def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """The notebook after a run in an empty folder, without the user's IPython settings."""
    folder = tmp_path_factory.mktemp('empty')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '1')  # nearly as fast, and other tests want the cores
        for variable in ('IPYTHONDIR', 'JUPYTER_RUNTIME_DIR'):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable)))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        for cell in code_cells(notebook):
            cell.outputs = []
        NotebookClient(notebook, timeout=300, kernel_name='python3', resources=dict(metadata=dict(path=str(folder)))).execute()
    assert list(folder.iterdir()) == []
    return notebook


def test_it_prints_and_draws_what_was_committed(committed, executed):
    before, after = ([(cell.source, printed(cell), figures(cell)) for cell in code_cells(notebook)]
                     for notebook in (committed, executed))
    assert after == before


def test_it_prints_and_draws_something(committed):
    assert sum(bool(printed(cell)) for cell in code_cells(committed)) >= 5
    assert sum(map(figures, code_cells(committed))) >= 5


def test_it_was_committed_after_one_run_from_top_to_bottom(committed):
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, 1 + len(cells)))


def test_what_was_committed_is_small_and_without_warnings_errors_and_times(committed):
    assert nbformat.validate(committed) is None
    for cell in committed.cells:
        assert 'execution' not in cell.metadata
        for output in cell.get('outputs', []):
            assert output.get('name') == 'stdout' or 'image/jpeg' in output.data
    assert NOTEBOOK.stat().st_size < 600_000
