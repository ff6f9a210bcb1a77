"""The web page in a real Chromium, as a person uses it."""
import json
import re
import runpy
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES

pytest.importorskip('gradio', reason='the web page needs gradio: pip install "ovseg[web]"')
pytest.importorskip('selenium', reason='selenium is not installed')

pytestmark = pytest.mark.browser

TOOL = runpy.run_path(str(Path(ovseg.__file__).parents[1] / 'tools' / 'screenshots.py'))
SCENE = DEMO_SCENES / 'images' / '006.jpg'

for program in (TOOL['CHROMIUM'], TOOL['DRIVER']):
    if not program.exists():
        pytest.skip(f'there is no {program}: apt-get install chromium chromium-driver', allow_module_level=True)


@pytest.fixture(scope='module')
def uploads(tmp_path_factory):
    return tmp_path_factory.mktemp('uploads')


@pytest.fixture(scope='module')
def url(uploads):
    with pytest.MonkeyPatch.context() as patch:
        for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED'):
            patch.setenv(name, '')
        with TOOL['served_page'](uploads) as address:
            yield address


@pytest.fixture
def page(url, tmp_path):
    page = TOOL['PageInBrowser'](url, tmp_path / 'profile')
    yield page
    page.close()


def areas(legend):
    """``{class: percent}`` of a legend's text, in its order."""
    return {name: float(share) for name, share in re.findall(r'^(.+?) (?:< )?([\d.]+)%$', legend, re.MULTILINE)}


def requested_hosts(page):
    """Hosts that the page, not the browser's own services, sent requests to."""
    messages = (json.loads(entry['message'])['message'] for entry in page.driver.get_log('performance'))
    urls = [message['params']['request']['url'] for message in messages if message['method'] == 'Network.requestWillBeSent']
    return {urlparse(url).hostname for url in urls if urlparse(url).scheme in ('http', 'https', 'ws', 'wss')}


def test_upload_words_and_a_module(page):
    page.drop(SCENE)
    page.loaded('#image')
    page.type('classes', 'ladybug, grass; lawn, snow, gravel')
    page.press('segment')
    before = page.legend()
    assert before.startswith('class area\n') and 'time taken' in before
    assert set(areas(before)) == {'ladybug', 'grass', 'snow', 'gravel'}
    assert sum(areas(before).values()) == pytest.approx(100, abs=0.3)
    assert page.loaded('#painted').get_property('naturalWidth') == 640
    page.toggle('ctd-a')
    page.toggle('similarity-a')
    page.press('segment')
    after = page.legend(other_than=before)
    assert areas(after) != areas(before)
    page.open_tab('Config')
    assert "type='CTD'" in page.find('#config').text
    page.press('compare')
    both = page.legend('slider-legend')
    assert both.startswith('class A B\n')
    page.open_tab('Attention')
    page.loaded('#clicked').click()
    assert page.loaded('#attention').get_property('naturalWidth') > 300
    assert requested_hosts(page) == {'127.0.0.1'}
    assert [entry for entry in page.driver.get_log('browser') if entry['level'] == 'SEVERE'] == []


def test_a_demo_scene_and_its_words(page):
    page.pick_example(1)
    page.loaded('#image')
    page.press('segment')
    assert next(iter(areas(page.legend()))) == 'grass'


def test_what_cannot_be_done_is_said(page, tmp_path):
    page.press('segment')
    page.wait_for_notice('there is no image')
    large = tmp_path / 'large.png'  # over the megabyte that this server takes
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 701, 3), np.uint8)).save(large)
    page.drop(large)
    page.wait_for_notice('exceed the maximum allowed size')
    text = tmp_path / 'text.png'
    text.write_text('no image')
    page.drop(text)
    page.wait_for_notice('text.png is no image')


def test_an_image_that_was_deleted_is_asked_for_again(page, uploads):
    page.drop(SCENE)
    page.loaded('#image')
    page.open_tab('Attention')
    page.loaded('#clicked')
    for path in uploads.glob('*/006.jpg'):
        path.unlink()
    page.press('segment')
    page.wait_for_notice('this image is not on the server: drop it again')


def test_the_browser_refuses_what_comes_from_elsewhere_and_frames(page):
    page.driver.execute_script("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.2:9/a.png'}));"
                               "document.body.append(Object.assign(document.createElement('iframe'), {src: '/'}))")
    seen = []

    def refused(driver):
        seen.extend(entry['message'] for entry in driver.get_log('browser'))
        return all(any(rule in message for message in seen) for rule in ('img-src', 'frame-ancestors'))
    page._wait.until(refused)
