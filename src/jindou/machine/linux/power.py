"""Is the machine itself going down? Then what stops us will not start us again in a moment.

Only systemd tells, while the job that takes the machine down is queued: `systemctl` answers
"stopping" from the first SIGTERM of a reboot or power-off on.
"""

from __future__ import annotations

import os
from pathlib import Path

from jindou.machine.linux import processes

RUNNING = Path("/run/systemd/system")  # there where systemd is the first process: sd_booted(3)
TIMEOUT = 5.0


async def going_down() -> bool:
    if not os.path.isdir(RUNNING):
        return False
    try:
        done = await processes.run("systemctl", "is-system-running", timeout=TIMEOUT)
    except (OSError, TimeoutError):
        return False
    return done.stdout.strip() == b"stopping"
