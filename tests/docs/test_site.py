"""The site that ``make docs`` builds: all pages are there, links lead somewhere, and nothing comes from other hosts."""
import base64
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from PIL import Image

import ovseg

pytest.importorskip('mkdocs', reason='needs mkdocs-material')
ROOT = Path(ovseg.__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / '.mkdocs.yml').read_text())
COMMAND = 'mkdocs build --strict --config-file .mkdocs.yml'
LOADED = dict(script='src', link='href', img='src', iframe='src', source='src')  # what a browser fetches by itself


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loaded, self.images = path, set(), [], [], []
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get('id'))
        if tag == 'a' and 'href' in values:
            self.links.append(values['href'])
        if values.get(LOADED.get(tag)):
            self.loaded.append(values[LOADED[tag]])
            self.images += [values['src']] if tag == 'img' else []


def build(checkout, site):
    return subprocess.run([sys.executable, '-m', *COMMAND.split(), '--site-dir', str(site)], cwd=checkout, capture_output=True,
                          text=True, timeout=120)


def leads_somewhere(page, link, pages):
    """Return True if a link or a file's address within the site is good, as a browser finds it on disk."""
    parts = urlsplit(link)
    target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    return target.is_file() and (not parts.fragment or unquote(parts.fragment) in pages[target].ids)


def nav_entries(entries):
    """The files that the navigation names, those of its sections too."""
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else nav_entries(value)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp('site')
    finished = build(ROOT, folder)
    assert finished.returncode == 0, finished.stderr
    return folder.resolve()


@pytest.fixture(scope='module')
def pages(site):
    """All pages but the one for wrong addresses, which knows its place only on a server."""
    return {path: Page(path) for path in site.rglob('*.html') if path.name != '404.html'}


def test_the_navigation_is_all_pages_and_each_is_built(site, pages):
    named = list(nav_entries(CONFIG['nav']))
    written = [path.with_suffix('.md').name for pattern in ('*.md', '*.ipynb') for path in (ROOT / 'docs').glob(pattern)]
    assert sorted(named) == sorted(written)
    presets = [path.relative_to(ROOT).with_name('index.html') for path in ROOT.glob('configs/*/README.md')]
    assert {path.relative_to(site) for path in pages} == {*(Path(name).with_suffix('.html') for name in named), *presets}


def test_links_lead_somewhere(pages):
    links = [(page, link) for page in pages.values() for link in page.links if not urlsplit(link).scheme]
    assert len(links) > 500
    assert [(str(page.path), link) for page, link in links if not leads_somewhere(page, link, pages)] == []


def test_nothing_comes_from_elsewhere(site, pages):
    loaded = [(page, address) for page in pages.values() for address in page.loaded if urlsplit(address).scheme != 'data']
    assert len(loaded) > 100
    assert [(str(page.path), address) for page, address in loaded
            if urlsplit(address).scheme or urlsplit(address).netloc or not leads_somewhere(page, address, pages)] == []
    styles = '\n'.join(path.read_text() for path in site.rglob('*.css'))
    assert 'url(' in styles
    assert re.findall(r'@import|url\(["\']?(?:https?:)?//[^)]*', styles) == []


def test_images_can_be_drawn(site, pages):
    drawn = [(page, address) for page in pages.values() for address in page.images]
    assert {page.path.name for page, _ in drawn} >= {'own_images.html', 'tour.html', 'web.html'}
    for page, address in drawn:
        inside = address.startswith('data:')
        content = base64.b64decode(address.split(',')[1]) if inside else (page.path.parent / address).read_bytes()
        Image.open(io.BytesIO(content)).load()


def test_the_site_holds_no_sources(site):
    assert [path for path in site.rglob('*') if path.suffix in ('.py', '.pyc', '.ipynb', '.md')] == []


@pytest.mark.parametrize('name, text', [
    ('index.md', '[gone](gone.md)'), ('index.md', '[gone](modules.md#gone)'), ('index.md', '[gone](../configs/gone/README.md)'),
    ('index.md', '![gone](assets/gone.png)'), ('index.md', '[gone](/gone)'), ('gone.md', '# In no navigation')])
def test_what_leads_nowhere_fails_the_build(name, text, tmp_path):
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs')
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    shutil.copy(ROOT / '.mkdocs.yml', tmp_path)
    with (tmp_path / 'docs' / name).open('a') as file:
        file.write(f'\n{text}\n')
    finished = build(tmp_path, tmp_path / 'site')
    assert finished.returncode != 0
    assert re.search(r'WARNING.*\bgone\b', finished.stderr, re.DOTALL)


@pytest.mark.skipif(shutil.which('make') is None, reason='needs make')
def test_make_docs_builds_the_same():
    finished = subprocess.run(['make', 'docs', '--dry-run', '--no-print-directory'], cwd=ROOT, capture_output=True, text=True,
                              timeout=60, check=True)
    assert f'.venv/bin/{COMMAND}' in finished.stdout.splitlines()
