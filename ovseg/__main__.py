"""``python -m ovseg``: the console command."""
import sys

from ovseg.cli import main

if __name__ == '__main__':
    sys.exit(main())
