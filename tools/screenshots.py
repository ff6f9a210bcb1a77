"""Make the screenshots of the web page that the docs show. Needs Debian's chromium and chromium-driver, selenium, and
scikit-image, whose package contains the photographs.

python tools/screenshots.py [FOLDER]
"""
import argparse
import io
import os
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Iterator, Optional

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = Path('/usr/bin/chromium'), Path('/usr/bin/chromedriver')
FLAGS = ('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-background-networking',
         'disable-component-update', 'disable-sync', 'disable-dev-shm-usage', 'hide-scrollbars', 'force-device-scale-factor=1')
PATIENCE = 60  # seconds; a busy machine takes some of them for the first image
CLASSES = 'brick, wood, snow, leopard'  # of those that the tiny CLIP knows, so that the page shows no warning
OF_A_PHONE = (4000, 2667)  # width and height in pixels of a photograph that the page scales down
QUALITY = 80  # of a screenshot, whose file then has under 300 kB
ASSETS = Path(__file__).parents[1] / 'docs' / 'assets'


@contextmanager
def served_page(folder: Path) -> Iterator[str]:
    """The address of the page with the tiny CLIP, while it is served by a thread that keeps uploads in ``folder``."""
    os.environ.update(GRADIO_TEMP_DIR=str(folder), GRADIO_ANALYTICS_ENABLED='False')
    from ovseg.cli.web import listen
    from ovseg.web.app import make_server
    from ovseg.web.settings import Models
    with listen('127.0.0.1', 0) as listener:
        server = make_server(Models(device='cpu'), max_upload_mb=1)
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listener]))
        thread.start()
        try:
            yield f'http://127.0.0.1:{listener.getsockname()[1]}'
        finally:
            server.should_exit = True
            thread.join()


class PageInBrowser:
    """The page at ``url`` in a headless Chromium whose profile lies in ``profile``; ``close`` ends it.

    The window has ``width`` and ``height``, or is the screen of a ``phone``.
    """

    def __init__(self, url: str, profile: Path, width: int = 1280, height: int = 1000, phone: bool = False) -> None:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f'user-data-dir={profile}', f'window-size={width},{height}'):
            options.add_argument(f'--{flag}')
        options.set_capability('goog:loggingPrefs', {'performance': 'ALL', 'browser': 'ALL'})
        self.driver = Chrome(options, ChromeService(str(DRIVER)))
        self._wait = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.2)
        if phone:  # a window cannot be as narrow
            self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(
                width=width, height=height, deviceScaleFactor=1, mobile=True))
        self.driver.get(url)
        self.find('#segment')

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def find(self, selector: str) -> Any:
        """The visible element of this CSS selector, as soon as there is one."""
        return self._wait.until(lambda driver: next(
            (element for element in driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()), None), selector)

    def drop(self, path: Path) -> None:
        """Upload an image."""
        self.driver.find_element(By.CSS_SELECTOR, '#image input[type=file]').send_keys(str(path))

    def pick_example(self, number: int) -> None:
        """Pick an example, which segments it."""
        self.find('#examples button')
        self.driver.find_elements(By.CSS_SELECTOR, '#examples button')[number].click()

    def type(self, name: str, text: str) -> None:
        """Replace what stands in a text field."""
        field = self.find(f'#{name} textarea, #{name} input')
        field.send_keys(Keys.CONTROL, 'a')
        field.send_keys(text)

    def toggle(self, name: str) -> None:
        """Click a check box."""
        self.find(f'#{name} input[type=checkbox]').click()

    def press(self, name: str) -> None:
        """Click a button."""
        self.find(f'#{name}').click()

    def open_tab(self, title: str) -> None:
        """Show a tab."""
        self._wait.until(lambda driver: next((tab for tab in driver.find_elements(By.CSS_SELECTOR, 'button[role=tab]')
                                              if tab.text == title and tab.is_displayed()), None), title).click()

    def legend(self, name: str = 'legend', other_than: Optional[str] = None) -> str:
        """The text of a legend, as soon as there is one that is not ``other_than``."""
        return self._wait.until(lambda driver: next(
            (table.text for table in driver.find_elements(By.CSS_SELECTOR, f'#{name} table')
             if table.is_displayed() and table.text not in ('', other_than)), None), f'a new #{name}')

    def wait_for_notice(self, text: str) -> None:
        """Return as soon as the page says so, in whatever case."""
        self._wait.until(lambda driver: any(text in notice.text.lower() for notice in
                                            driver.find_elements(By.CSS_SELECTOR, '.toast-wrap')), text)

    def loaded(self, selector: str) -> Any:
        """The first image in this element, as soon as its pixels are there."""
        image = self.find(f'{selector} img')
        self._wait.until(lambda driver: image.get_property('naturalWidth'))
        return image

    def other_image(self, selector: str, source: str) -> str:
        """The address of the first image in this element, as soon as it is not ``source``."""
        return self._wait.until(lambda driver: next(
            (image.get_property('src') for image in driver.find_elements(By.CSS_SELECTOR, f'{selector} img')
             if image.get_property('src') != source), None), f'another image in {selector}')

    def wait_for_text(self, selector: str, text: str) -> None:
        """Return as soon as this element shows the text, in whatever case."""
        self._wait.until(lambda driver: text in driver.find_element(By.CSS_SELECTOR, selector).text.lower(), text)

    def in_view(self, selector: str) -> bool:
        """True if the top half of this element is in the window."""
        return self.driver.execute_script('const {top, height} = document.querySelector(arguments[0]).getBoundingClientRect(); '
                                          'return top >= 0 && top + height / 2 <= innerHeight', selector)

    def scroll_to_top(self) -> None:
        """Show the beginning of the page."""
        self.driver.execute_script('scrollTo(0, 0)')

    def save(self, path: Path) -> None:
        """A screenshot of the window as a JPEG, after a pause for animations."""
        time.sleep(1.5)
        with Image.open(io.BytesIO(self.driver.get_screenshot_as_png())) as image:
            image.convert('RGB').save(path, quality=QUALITY, subsampling=0, optimize=True)


def segment(page: PageInBrowser, photograph: Path) -> None:
    """Upload a photograph, and segment it by ``CLASSES``."""
    page.drop(photograph)
    page.loaded('#image')
    page.type('classes', CLASSES)
    page.press('segment')


def on_a_screen(page: PageInBrowser, photograph: Path, folder: Path) -> None:
    """Save screenshots of start, result, comparison and attention."""
    page.loaded('#examples')
    page.save(folder / 'web-start.jpg')
    segment(page, photograph)
    page.legend()
    page.loaded('#painted')
    page.scroll_to_top()
    page.save(folder / 'web-result.jpg')
    page.press('compare')
    page.legend('slider-legend')
    page.loaded('#slider')
    page.save(folder / 'web-compare.jpg')
    page.open_tab('Attention')
    page.loaded('#clicked').click()
    page.loaded('#attention')
    page.save(folder / 'web-attention.jpg')


def on_a_phone(page: PageInBrowser, photograph: Path, folder: Path) -> None:
    """Save screenshots of start, progress and result."""
    page.loaded('#examples')
    page.save(folder / 'web-phone-start.jpg')
    segment(page, photograph)
    page.wait_for_text('#painted', 'windows')
    page.save(folder / 'web-phone-progress.jpg')
    page.legend()
    page.loaded('#painted')
    page.save(folder / 'web-phone-result.jpg')


def main(folder: Path) -> None:
    """Save all screenshots of the page in docs/web.md."""
    from ovseg.web.examples import photographs
    _, cat, coffee = (example.path for example in photographs())
    with tempfile.TemporaryDirectory() as temporary, served_page(Path(temporary, 'uploads')) as url:
        with closing(PageInBrowser(url, Path(temporary, 'screen'), height=1280)) as page:
            on_a_screen(page, cat, folder)
        photograph = Path(temporary, 'IMG_0006.jpg')
        with Image.open(coffee) as image:
            image.convert('RGB').resize(OF_A_PHONE).save(photograph, quality=50)
        with closing(PageInBrowser(url, Path(temporary, 'phone'), 390, 844, phone=True)) as page:
            on_a_phone(page, photograph, folder)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, nargs='?', default=ASSETS, help='where to write (default: %(default)s)')
    return parser.parse_args()


if __name__ == '__main__':
    main(parse_args().folder)
