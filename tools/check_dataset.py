"""``ovseg check-data`` from a checkout: python tools/check_dataset.py CONFIG."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('check-data', 'tools/check_dataset.py')
