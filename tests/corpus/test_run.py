"""``ovseg predict --engine ray`` on one machine."""
import re
import shutil
import socket
import sys
import tarfile
import threading

import pytest

from ovseg.corpus import engine, nodes

pytestmark = pytest.mark.usefixtures('one_thread')


def test_results_are_those_of_one_process_also_of_a_resumed_run(predict, on_ray, draw, results_of, tmp_path, capfd):
    images = draw(tmp_path / 'images', 13)
    assert predict([images], tmp_path / 'plain') == 0
    expected = results_of(tmp_path / 'plain')
    for path in sorted(images.iterdir())[9:]:
        shutil.move(path, tmp_path)
    out = tmp_path / 'out'
    (images / 'x_broken.png').write_text('text')
    (images / 'notes.txt').write_text('text')
    capfd.readouterr()
    assert on_ray([images], out) == 1
    printed, errors = capfd.readouterr()
    assert printed, errors
    assert printed.splitlines()[-1] == f'9 images in {out}: vis, pred, results.json'
    *_, left_out, head, line = errors.splitlines()
    assert left_out.endswith(f' were left out, because their names are not those of images: {images / "notes.txt"}')
    assert head == 'ovseg: error: 1 image has no results, or not all of them:'
    assert line.startswith(f'  {images / "x_broken.png"} is no image')
    assert results_of(out)['images'] == expected['images'][:9] and len(results_of(out)['failed']) == 1
    before = {path: path.stat().st_mtime_ns for path in (out / 'pred').iterdir()}
    (images / 'x_broken.png').unlink()
    for path in sorted(tmp_path.glob('*.png')):
        shutil.move(path, images)
    assert on_ray([images], out, '--resume', '--format', 'csv', '--batch-size', '2') == 0
    assert '13 images (9 were there already) in ' in capfd.readouterr().out
    found = results_of(out)
    assert found['images'] == expected['images'] and found['settings'] == expected['settings'] and found['failed'] == []
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for path in (tmp_path / 'plain' / 'vis').iterdir():
        assert (out / 'vis' / path.name).read_bytes() == path.read_bytes()
        assert (out / 'pred' / path.name).read_bytes() == (tmp_path / 'plain' / 'pred' / path.name).read_bytes()
    assert len((out / 'areas.csv').read_text().splitlines()) == 1 + 13 * 4 and not list(out.rglob('*.part'))


@pytest.mark.slow
def test_shards_lists_and_nothing_to_do(on_ray, draw, results_of, tmp_path, capfd):
    images = draw(tmp_path / 'images', 3)
    with tarfile.open(tmp_path / 'shard.tar', 'w') as tar:
        tar.add(images / '000.png', '000.png')
        tar.add(images / '001.png', 'deep/001.png')
    (tmp_path / 'list.txt').write_text(f'{images / "002.png"}\n{images / "missing.png"}\n')
    items = [tmp_path / 'shard.tar', tmp_path / 'list.txt', f'local://{images}/00[01].png']
    assert on_ray(items, tmp_path / 'out') == 1
    found = results_of(tmp_path / 'out')
    assert [(image['name'], image['source']) for image in found['images']] == [
        ('shard_000', f'{tmp_path}/shard.tar/000.png'), ('shard_001', f'{tmp_path}/shard.tar/deep/001.png'),
        ('002', str(images / '002.png')), ('000', f'file://{images}/000.png'), ('001', f'file://{images}/001.png')]
    failed, = found['failed']
    assert failed['source'] == str(images / 'missing.png')
    for one, other in (('shard_000', '000'), ('shard_001', '001')):
        assert (tmp_path / f'out/pred/{one}.png').read_bytes() == (tmp_path / f'out/pred/{other}.png').read_bytes()
    assert on_ray([tmp_path / 'shard.tar', *items[2:]], tmp_path / 'out', '--resume') == 0
    assert '5 images (5 were there already)' in capfd.readouterr().out


@pytest.mark.slow
def test_what_is_finished_stays_after_ctrl_c(on_ray, draw, results_of, tmp_path, monkeypatch, capfd):
    images, labelled = draw(tmp_path / 'images', 3), engine.labelled

    def interrupted(*args):
        yield next(labelled(*args))
        raise KeyboardInterrupt
    monkeypatch.setattr(engine, 'labelled', interrupted)
    assert on_ray([images], tmp_path / 'out') == 130
    assert capfd.readouterr().err.splitlines()[-1] == f'ovseg: interrupted; what is finished is in {tmp_path / "out"}'
    assert len(results_of(tmp_path / 'out')['images']) == 1


def refused(code, capfd):
    assert code == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith('ovseg: error: ')
    return line


@pytest.mark.slow
def test_what_a_cluster_cannot_do_is_a_line_before_the_work(on_ray, draw, tmp_path, monkeypatch, capfd):
    images = draw(tmp_path / 'images', 3)
    (tmp_path / 'shard-7.tar').write_bytes(b'text' * 300)
    assert f'{tmp_path}/shard-7.tar is no shard' in refused(on_ray([images, tmp_path / 'shard-7.tar'], tmp_path / 'out'), capfd)
    (tmp_path / 'file').write_text('in the way')
    assert f"cannot write into --out='{tmp_path / 'file'}'" in refused(on_ray([images], tmp_path / 'file'), capfd)
    assert 'has 17 CPUs' in refused(on_ray([images], tmp_path / 'out', '--cpus-per-worker', '17'), capfd)
    assert not (tmp_path / 'out').exists()
    here = dict(nodes.software(), ovseg='0.0.9')
    monkeypatch.setattr(nodes, 'software', lambda: here)
    line = refused(on_ray([images], tmp_path / 'out'), capfd)
    assert ' has another version of ovseg: 0.1.0, source ' in line and line.endswith(', and 0.0.9 here')
    assert list((tmp_path / 'out').iterdir()) == []  # so that an earlier run's results.json would still be there


@pytest.mark.parametrize(('options', 'message'), [
    (['--address', 'nowhere'], '--address=nowhere must be HOST:PORT of the head of a cluster, or auto'),
    (['--address', 'ray://host:10001'], '--address=ray://host:10001 must be HOST:PORT'),
    (['--out', 's3://bucket/out'], '--out=s3:/bucket/out must be a folder that all machines share')])
def test_wrong_places_are_a_line(options, message, predict, tmp_path, capfd):
    pytest.importorskip('ray', reason='the engine needs Ray: pip install "ovseg[ray]"')
    assert message in refused(predict([tmp_path], tmp_path / 'out', '--engine', 'ray', *options), capfd)


@pytest.mark.parametrize('answer', [None, b'', b'HTTP/1.0 400 Bad request'], ids=['closed', 'silent', 'other'])
def test_no_cluster_at_the_address_is_a_line(answer, predict, tmp_path, monkeypatch, capfd):
    pytest.importorskip('ray', reason='the engine needs Ray: pip install "ovseg[ray]"')
    monkeypatch.setattr(engine, 'PATIENCE', 0.5)
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'127.0.0.1:{server.getsockname()[1]}'
        if answer is None:
            server.close()
        elif answer:
            threading.Thread(target=lambda: server.accept()[0].sendall(answer), daemon=True).start()
        line = refused(predict([tmp_path], tmp_path / 'out', '--engine', 'ray', '--address', address), capfd)
    assert line.startswith(f'ovseg: error: there is no cluster of Ray at --address={address}: ')


@pytest.mark.parametrize('address', ['no.such.host.invalid:6379', '127.0.0.1:99999'])
def test_an_address_that_cannot_be_is_a_line(address, predict, tmp_path, capfd):
    pytest.importorskip('ray', reason='the engine needs Ray: pip install "ovseg[ray]"')
    line = refused(predict([tmp_path], tmp_path / 'out', '--engine', 'ray', '--address', address), capfd)
    assert f'there is no cluster of Ray at --address={address}: ' in line


def test_options_of_ray_need_the_engine(predict, tmp_path, capfd):
    with pytest.raises(SystemExit, match=r'^2$'):
        predict([tmp_path], tmp_path / 'out', '--address', 'auto')
    assert '--address and --cpus-per-worker need --engine ray' in capfd.readouterr().err


def test_without_ray_the_extra_is_named(predict, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'ray', None)
    line = refused(predict([tmp_path], tmp_path / 'out', '--engine', 'ray'), capfd)
    assert re.match(r'ovseg: error: --engine ray needs ray: .* install .*ray', line)
