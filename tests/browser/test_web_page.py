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

from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

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


def requests(page):
    """Addresses that the page, not the browser's own services, sent requests to."""
    messages = (json.loads(entry['message'])['message'] for entry in page.driver.get_log('performance'))
    return [message['params']['request']['url'] for message in messages if message['method'] == 'Network.requestWillBeSent']


def requested_hosts(page):
    return {urlparse(url).hostname for url in requests(page) if urlparse(url).scheme in ('http', 'https', 'ws', 'wss')}


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


def test_an_example_is_segmented_by_one_click(page):
    page.pick_example(1)
    assert next(iter(areas(page.legend()))) == 'grass'
    assert page.loaded('#image') and 'ladybug' in page.find('#classes textarea').get_property('value')


def test_opacity_classes_and_downloads(page, uploads, tmp_path):
    page.pick_example(0)
    page.legend()
    first = page.loaded('#painted').get_property('src')
    before = {path.name for path in uploads.glob('*/*_labels.png')}
    box = page.find('#names input[type=checkbox]')
    box.click()
    without = page.other_image('#painted', first)
    slider = page.find('#opacity input[type=range]')
    slider.send_keys(Keys.HOME)
    assert page.other_image('#painted', without) != first
    assert {path.name for path in uploads.glob('*/*_labels.png')} == before  # the model was not run again
    page.driver.execute_cdp_cmd('Browser.setDownloadBehavior', dict(behavior='allow', downloadPath=str(tmp_path)))
    for name in ('labels', 'classes', 'overlay'):
        page.press(f'{name}-file')
    patterns = '006_labels.png', '006_classes.json', '006_overlay_*.png'
    files = page._wait.until(lambda driver: [file for pattern in patterns for file in tmp_path.glob(pattern)][2:] and
                             [next(tmp_path.glob(pattern)) for pattern in patterns], 'the downloads')
    with Image.open(files[0]) as labels, Image.open(SCENE) as scene, Image.open(files[2]) as overlay:
        assert labels.mode == 'P' and labels.size == scene.size
        shown = np.asarray(overlay)[:scene.height, :scene.width]
        assert np.abs(shown - np.asarray(scene).astype(int)).max() <= 1  # the opacity is 0
    assert {item['name'] for item in json.loads(files[1].read_text())['classes']} >= {'ladybug', 'snow'}


def test_cancel_stops_the_model_and_the_page_goes_on(page, tmp_path):
    large = tmp_path / 'large.png'
    Image.new('RGB', (2400, 1600), 'green').save(large)
    page.drop(large)
    page.loaded('#image')
    page.press('segment')
    page.find('#painted .progress-text, #painted .progress-level, #painted .meta-text, #painted .meta-text-center')
    page.wait_for_text('#painted', 'segmenting')
    page.press('cancel')
    page.wait_for_notice('stopped.')
    page.pick_example(1)
    assert next(iter(areas(page.legend()))) == 'grass'


def test_a_result_takes_the_place_of_an_old_error(page):
    page.press('segment')
    page.wait_for_notice('there is no image')
    page.pick_example(1)
    page.legend()
    assert 'there is no image' not in page.driver.find_element(By.TAG_NAME, 'body').text


def test_on_a_phone_the_result_is_in_view_and_nothing_is_cut_off(url, tmp_path):
    page = TOOL['PageInBrowser'](url, tmp_path / 'profile', 390, 844, phone=True)
    try:
        page.drop(SCENE)
        page.loaded('#image')
        page.press('segment')
        page.legend()
        page.loaded('#painted')
        page._wait.until(lambda driver: page.in_view('#painted img') and page.in_view('#legend table'))
        assert page.driver.execute_script('return document.documentElement.scrollWidth') <= 390
    finally:
        page.close()


def test_what_cannot_be_done_is_said(page, tmp_path):
    page.press('segment')
    page.wait_for_notice('there is no image')
    large = tmp_path / 'large.png'  # over the megabyte that this server takes
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 701, 3), np.uint8)).save(large)
    page.drop(large)
    page.wait_for_notice('exceed the maximum allowed size')
    assert not any('/gradio_api/upload?' in address for address in requests(page))  # nothing was sent
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
