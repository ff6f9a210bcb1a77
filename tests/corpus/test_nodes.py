import pytest

from ovseg.corpus import nodes
from ovseg.corpus.nodes import Workers, check_states, node_name, plan_workers, state


def node(name='a', alive=True, **resources):
    return dict(NodeID=name, Alive=alive, NodeManagerHostname=name, NodeManagerAddress='192.0.2.3', Resources=resources)


LARGE, SMALL, GPUS, GONE = node(CPU=13.0), node('b', CPU=3.0), node('c', CPU=2.0, GPU=5.0), node('d', False, CPU=64.0, GPU=8.0)


@pytest.mark.parametrize(('machines', 'device', 'cpus', 'expected'), [
    ([LARGE, SMALL, GONE], None, None, Workers(3, 4, 'cpu', [LARGE])),
    ([SMALL], None, None, Workers(1, 3, 'cpu', [SMALL])),
    ([LARGE, SMALL], 'cpu', 3, Workers(5, 3, 'cpu', [LARGE, SMALL])),
    ([LARGE, GPUS], None, None, Workers(5, None, 'cuda', [GPUS])),
    ([LARGE, GPUS], 'cpu', 1, Workers(15, 1, 'cpu', [LARGE, GPUS]))])
def test_a_worker_takes_a_gpu_or_some_cpus(machines, device, cpus, expected):
    assert plan_workers(machines, device, cpus) == expected


@pytest.mark.parametrize(('device', 'cpus', 'message'), [
    ('cuda:1', None, "--device='cuda:1' must be cpu or cuda with --engine ray"),
    ('cpu', 0, '--cpus-per-worker=0 must be an integer >= 1'),
    ('cpu', 17, 'no machine of the cluster has 17 CPUs for a worker'),
    ('cuda', None, 'no machine of the cluster has a GPU for a worker'),
    ('cuda', 2, '--cpus-per-worker=2 is of workers without a GPU')])
def test_what_no_machine_has_is_refused(device, cpus, message):
    with pytest.raises(ValueError, match=message):
        plan_workers([LARGE, GONE], device, cpus)


def test_a_cluster_without_cpus():
    with pytest.raises(ValueError, match='has 1 CPUs'):
        plan_workers([node(memory=5.0)], None, None)


def test_a_machine_that_sees_the_folder_has_no_problem(tmp_path):
    (tmp_path / 'token').touch()
    found = state(tmp_path, 'token', tmp_path / 'token')
    assert 'problem' not in found and [path.name for path in tmp_path.iterdir()] == ['token']
    check_states({node_name(LARGE): found})


def test_what_a_machine_does_not_see_is_named(tmp_path):
    (tmp_path / 'token').touch()
    elsewhere = state(tmp_path / 'elsewhere', 'token', None)
    without_image = state(tmp_path, 'token', tmp_path / 'image.png')
    with pytest.raises(ValueError, match=r'^b \(192.0.2.3\): --out=.*elsewhere is not there as it is .* all machines share$'):
        check_states({'a (192.0.2.3)': state(tmp_path, 'token', None), node_name(SMALL): elsewhere})
    with pytest.raises(ValueError, match=r'^b: image .*image\.png is not there$'):
        check_states({'b': without_image})


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / 'token').touch()

    def refused(path):
        raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr('pathlib.Path.touch', refused)
    with pytest.raises(ValueError, match=r'^a: cannot write into --out=.*Permission denied'):
        check_states({'a': state(tmp_path, 'token', None)})


@pytest.mark.parametrize(('package', 'other'), [('ovseg', '0.0.9, source 1234'), ('python', '3.7'), ('torch', '1.0')])
def test_another_version_is_named(package, other, tmp_path):
    (tmp_path / 'token').touch()
    found = dict(state(tmp_path, 'token', None), **{package: other})
    with pytest.raises(ValueError, match=f'^a has another version of {package}: {other}, and .* here$'):
        check_states({'a': found})


def test_a_package_that_a_machine_does_not_tell_of_is_another_version(monkeypatch, tmp_path):
    (tmp_path / 'token').touch()
    found, here = state(tmp_path, 'token', None), dict(nodes.software())
    monkeypatch.setattr(nodes, 'software', lambda: dict(here, more='1'))
    with pytest.raises(ValueError, match=r'^a has another version of more: None, and 1 here'):
        check_states({'a': found})
