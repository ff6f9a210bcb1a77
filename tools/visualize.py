"""``ovseg visualize`` from a checkout: python tools/visualize.py CONFIG IMAGE."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('visualize', 'tools/visualize.py')
