"""The loop that delivers webhooks, for tests: it may talk to this machine, and its leases are short."""

import sys

from shared import logs
from shared.safe_http import SafeClient
from shared.settings import get_settings
from web.webhooks import Pace, serve

LEASE = 2.0

if __name__ == "__main__":
    logs.configure(get_settings())
    sys.exit(serve(get_settings(), SafeClient(lambda address: address.is_loopback), Pace(lease=LEASE, poll=0.05)))
