"""`python -m client`."""

import sys

from client.command import main

if __name__ == "__main__":
    sys.exit(main())
