"""``ovseg ablate`` from a checkout: python tools/ablate.py CONFIG --toggle SWITCH."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('ablate', 'tools/ablate.py')
