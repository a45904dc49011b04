"""What the page takes at most; imported by the server, which loads nothing else of it."""

import os

UPLOAD_MB = 50  # the largest file that can be handed over, where nothing else is said
UPLOAD_VARIABLE = "FOOTNOTE_MAX_UPLOAD_MB"  # what was said, for the page and the processes that read
UPLOADS_AT_ONCE = 200


def upload_mb() -> int:
    """The largest file that can be handed over, as `ui.server.serve` left it."""
    return int(os.environ.get(UPLOAD_VARIABLE) or UPLOAD_MB)
