"""``ovseg regions`` from a checkout: python tools/make_regions.py CONFIG --out FOLDER."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('regions', 'tools/make_regions.py')
