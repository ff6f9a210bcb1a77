"""``ovseg demo`` from a checkout: python tools/demo.py (or: make demo)."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('demo', 'tools/demo.py')
