"""Load and broken requests against the page, served with the tiny CLIP by a process of its own."""
import copy
import http.client
import io
import json
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')
pytestmark = pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='reads /proc')

VISITOR = runpy.run_path(str(Path(__file__).parents[1] / 'visitor.py'))
AT_ONCE = 8
SECONDS = 30  # within which any request is answered
WORDS = ['grass', 'water', 'sky; cloud', 'snow', 'zebra', 'wood']


class Served:
    """The page in a process, its visitor, and what it uses."""

    def __init__(self, process, visitor, temporary):
        self.visitor, self._process, self._temporary = visitor, process, temporary
        self.config = visitor.config()
        self.endpoints = {endpoint['api_name']: endpoint for endpoint in self.config['dependencies']}

    def usage(self):
        """Resident megabytes, open file handles, and files and folders in the temporary folder."""
        process = Path('/proc', str(self._process.pid))
        resident = int(re.search(r'VmRSS:\s+(\d+) kB', (process / 'status').read_text()).group(1)) / 1024
        return dict(megabytes=round(resident), handles=len(os.listdir(process / 'fd')),
                    files=sum(1 for _ in self._temporary.rglob('*')))

    def alive(self):
        return self._process.poll() is None


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    temporary = tmp_path_factory.mktemp('temporary')
    environment = dict(os.environ, TMPDIR=str(temporary), MPLCONFIGDIR=str(tmp_path_factory.mktemp('caches')),
                       PYTHONPATH=str(Path(__file__).parents[2]), PYTHONUNBUFFERED='1', OMP_NUM_THREADS='2')
    with open(tmp_path_factory.mktemp('log') / 'stderr', 'w+') as log:
        command = [sys.executable, '-m', 'ovseg', 'web', '--port', '0', '--device', 'cpu', '--max-upload-mb', '1']
        process = subprocess.Popen(command, text=True, env=environment, stdout=subprocess.PIPE, stderr=log)
        try:
            port = int(re.search(r':(\d+) ', process.stdout.readline()).group(1))
            yield Served(process, VISITOR['Visitor'](port), temporary)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        log.seek(0)
        assert 'Traceback' not in log.read()


def image_file(seed):
    """A PNG of noise, another one for each seed."""
    with io.BytesIO() as content:
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (61, 83, 3), np.uint8)).save(content, 'png')
        return content.getvalue()


def one_visit(served, seed):
    """Upload an image and have it segmented, or ask for what is refused; the kind of the answer, which is checked."""
    visitor, endpoint = served.visitor, served.endpoints['segment']
    chance = random.Random(seed)
    rest = VISITOR['defaults'](served.config, endpoint)[1:]
    words = chance.sample(WORDS, 3)
    rest[0] = ', '.join(words) if seed % 5 else ''  # every fifth has no words
    [path] = json.loads(visitor.upload(image_file(seed), f'{seed}.png').content)
    message = visitor.call(endpoint['id'], [visitor.file(path), *rest])
    if message.get('status') == 503:
        return 'queue full'
    if not seed % 5:
        assert not message['success'] and 'there are no class names' in message['output']['error'], message
        return 'refused'
    assert message['success'], message
    painted, legend, *_ = message['output']['data']
    rows = dict(re.findall(r'</span>(.*?)</td><td>(?:&lt; |< )?([\d.]+)%', legend))
    assert set(rows) <= {word.split(';')[0] for word in words} and abs(sum(map(float, rows.values())) - 100) < 0.5, legend
    content = visitor.request('GET', painted['url'][painted['url'].index('/gradio_api'):]).content
    with Image.open(io.BytesIO(content)) as result:
        assert result.size == (83, 61)
    return 'segmented'


def visits(served, seeds):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(lambda seed: one_visit(served, seed), seeds))


def test_many_visitors_at_once(served, attack):
    """200 requests after as many that warm up, 8 at a time; memory, handles and files stay what they were."""
    number = 200 if attack.full else 16
    warm = visits(served, range(1000, 1000 + (200 if attack.full else 8)))
    time.sleep(2)  # until connections are closed
    before = served.usage()
    kinds = visits(served, range(number))
    time.sleep(2)
    after = served.usage()
    attack.cases += number
    print(f'\nwarm-up {dict(warm)}: {before}\n{number} requests {dict(kinds)}: {after}')
    assert kinds['segmented'] == number - kinds['refused'] and kinds['refused'] == number // 5 + (number % 5 > 0)
    assert after['handles'] <= before['handles'] + 5
    if attack.full:
        assert after['megabytes'] <= before['megabytes'] + 50
        assert after['files'] <= before['files'] + 20  # the oldest of 200 uploads and results make room for the newest


def mutated(chance, value):
    """A JSON value with something in it exchanged."""
    odd = [None, True, -1, 10 ** 400, 1.5, 1e308, float('nan'), '', 'a' * 5000, '\0\x1b[31m', '\u202e', [], {}, [[]],
           '/etc/passwd', 'file:///etc/passwd', dict(path='/dev/zero', meta=dict(_type='gradio.FileData')),
           dict(path=5, meta=None), dict(meta=dict(_type='gradio.FileData'), url='http://127.0.0.1:9/')]
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        if chance.random() < 0.1:
            return {other: value[other] for other in value if other != key}
        return {**value, key: mutated(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value[:place] + value[place + chance.randrange(2):]
        return [*value[:place], mutated(chance, value[place]), *value[place + 1:]]
    return copy.deepcopy(chance.choice(odd))


def damaged(chance, content):
    """Bytes with some exchanged, cut off or repeated."""
    place = chance.randrange(len(content) + 1)
    return chance.choice([content[:place], content[:place] + bytes([chance.randrange(256)]) + content[place + 1:],
                          content[:place] * chance.randrange(1, 40), b'[' * chance.randrange(1, 100_000) + content,
                          content.replace(b'0', b'9' * chance.randrange(1, 20_000)), content + content])


def test_bodies_of_requests(served, attack):
    """A body is answered by a result or by one line, soon, and the page goes on."""
    visitor = served.visitor
    [path] = json.loads(visitor.upload(image_file(0)).content)
    endpoints = list(served.endpoints.values())
    kinds = {component['id']: component['type'] for component in served.config['components']}
    for seed in attack.seeds(120, 5000):
        with attack.one_case(seed):
            chance = random.Random(seed)
            endpoint = chance.choice(endpoints)
            data = VISITOR['defaults'](served.config, endpoint)
            data = [visitor.file(path) if kinds[number] == 'image' else value
                    for number, value in zip(endpoint['inputs'], data)]
            body = dict(data=data, fn_index=endpoint['id'], session_hash=f's{seed}', trigger_id=8,
                        event_data=dict(index=[3, 5], value=None))
            route = '/gradio_api/' + ('queue/join' if endpoint['queue'] else 'run/predict')
            for _ in range(chance.randrange(1, 4)):
                body = mutated(chance, body)
            content = json.dumps(body).encode()
            if chance.random() < 0.4:
                content = damaged(chance, content)
            answer = visitor.request('POST', route, content, {'Content-Type': chance.choice(
                ['application/json', 'Application/JSON; charset=utf-16', 'text/plain'])}, timeout=SECONDS)
            check_answer(answer)
            if answer.status == 200 and endpoint['queue']:  # it did not do harm: what the page says is a result or a line
                session = json.loads(content)['session_hash']
                stream = visitor.request('GET', f'/gradio_api/queue/data?session_hash={session}', timeout=SECONDS).content
                last = [json.loads(line[6:]) for line in stream.decode().splitlines() if 'process_completed' in line][-1]
                assert last['success'] or ('\n' not in last['output']['error'] and '/tmp' not in last['output']['error']), last  # noqa: S108
    assert served.alive() and one_visit(served, 1) == 'segmented'


def test_uploads(served, attack):
    """A damaged form is kept or refused in one line, and a kept file that is no image is refused when it is used."""
    visitor, endpoint = served.visitor, served.endpoints['segment']
    rest = VISITOR['defaults'](served.config, endpoint)[1:]
    for seed in attack.seeds(40, 1000):
        with attack.one_case(seed):
            chance = random.Random(seed)
            content = damaged(chance, VISITOR['form'](('files', f'{seed}.png', image_file(seed))))
            kind = 'multipart/form-data; boundary=' + chance.choice(['b', 'c' * chance.randrange(99), 'b; charset=utf-16'])
            try:
                answer = visitor.request('POST', '/gradio_api/upload', content, {'Content-Type': kind}, timeout=SECONDS)
            except (BrokenPipeError, ConnectionResetError):  # refused, and closed, before all was sent
                continue
            check_answer(answer)
            if answer.status == 200:
                [path] = json.loads(answer.content)
                message = visitor.call(endpoint['id'], [visitor.file(path), *rest])
                assert message['success'] or 'cannot read' in message['output']['error'] \
                    or 'no image' in message['output']['error'], message
    assert served.alive() and one_visit(served, 1) == 'segmented'


def check_answer(answer):
    assert answer.status in (200, 400, 404, 413, 415, 503), answer
    if answer.status != 200:
        assert len(answer.content) < 300 and b'Traceback' not in answer.content and b'/tmp' not in answer.content, answer
        assert len(answer.content.splitlines()) == 1


def test_requests_that_are_no_http(served, attack):
    """Bytes that are no request, and connections that say nothing, leave no handle open."""
    before = served.usage()['handles']
    for seed in attack.seeds(20, 300):
        with attack.one_case(seed):
            chance = random.Random(seed)
            connection = http.client.HTTPConnection('127.0.0.1', served.visitor.port, timeout=SECONDS)
            connection.connect()
            connection.sock.sendall(chance.randbytes(chance.randrange(200)) + b'\r\n\r\n' * chance.randrange(2))
            connection.close()
    time.sleep(1)
    assert served.alive() and served.usage()['handles'] <= before + 5
