"""``ovseg test`` under the name of mmseg's own tool: python tools/test.py CONFIG."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('test', 'tools/test.py')
