"""Live streams: connected to, looked at, tracked, drawn and kept for a while, until somebody or a limit ends them.

`opening` gives FFmpeg bytes and never an address; `reading` decodes at the stream's own pace and drops what the model
has no time for; `scene` follows objects and says what happens; `recording` draws and writes; `watching` holds it all
together and connects again; `job` is what the queue runs.
"""

import signal
from typing import Final

#: has a streamer's process write down all it knows of its stream, and put it back into the queue
LEAVE_SIGNAL: Final = signal.SIGUSR2
