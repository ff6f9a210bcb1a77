"""``ovseg demo`` from a checkout.

    python tools/demo.py            (or: make demo)
"""
import sys

from ovseg.cli import main

if __name__ == '__main__':
    sys.exit(main(['demo', *sys.argv[1:]]))
