"""What the page takes at most; imported by the server, which loads nothing else of it."""

import os

UPLOAD_MB = 50  # the largest file that can be handed over, where nothing else is said
UPLOAD_VARIABLE = "FOOTNOTE_MAX_UPLOAD_MB"  # what was said, for the page and the processes that read
UPLOADS_AT_ONCE = 200
SESSION_MB = 500  # of files on their way to be kept, in memory: of one tab
DISK_RESERVE_MB = 1024  # that uploads leave free on the disk
ALL_TABS = 4  # times that of all tabs together


def upload_mb() -> int:
    """The largest file that can be handed over, as `ui.server.serve` left it."""
    return int(os.environ.get(UPLOAD_VARIABLE) or UPLOAD_MB)


def session_mb() -> int:
    """What one tab can hand over at once; two of the largest files at least."""
    return max(SESSION_MB, 2 * upload_mb())
