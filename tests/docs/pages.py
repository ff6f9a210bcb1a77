"""The pages of the documentation, cut into prose and blocks.

Not a test module: a test takes what it needs by ``runpy.run_path``.
"""
import re
from pathlib import Path
from typing import List, NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ['README.md', 'CONTRIBUTING.md', *(path.relative_to(ROOT).as_posix() for pattern in ('docs/*.md', 'configs/*/README.md')
                                           for path in sorted(ROOT.glob(pattern)))]
# A block is fenced, or stands behind an empty line and is indented by four spaces.
BLOCK = re.compile(r'^```(\w*)\n((?s:.*?))^```$|(?<=\n\n)((?:    .*\n)+)', flags=re.MULTILINE)
NO_CODE = re.compile(r'[├└]── |_[ij]+\b')  # trees of folders; formulas, which have subscripts


class Block(NamedTuple):
    """``kind`` is the language of a fenced block, ``'command'`` for a line of a shell, ``'drawn'`` for what is no code."""
    kind: str
    text: str


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding='utf-8')


def blocks(page: str) -> List[Block]:
    """All blocks in their order; each command line is one."""
    found = []
    for language, fenced, indented in BLOCK.findall(read(page)):
        if indented and NO_CODE.search(indented):
            found.append(Block('drawn', indented))
        elif indented or language in ('sh', 'bash'):
            lines = re.sub(r'\\\n *', '', indented or fenced).splitlines()
            found += [Block('command', line.strip()) for line in lines if line.strip()]
        else:
            found.append(Block(language, fenced))
    return found


def texts(page: str, kind: str) -> List[str]:
    """Text of the blocks of one kind."""
    return [block.text for block in blocks(page) if block.kind == kind]


def commands(page: str) -> List[str]:
    return texts(page, 'command')


def prose(page: str) -> str:
    """Text outside of all blocks."""
    return BLOCK.sub('', read(page))


def inline(page: str) -> List[str]:
    """The code within the prose."""
    return [' '.join(code.split()) for code in re.findall(r'`([^`]+)`', prose(page))]
