"""Streamlit's AppTest, made safe for pages that start threads."""

import sys

from streamlit.testing.v1 import AppTest, app_test

from ui.server import SCRIPT

__all__ = ["AppTest"]

# For each run of a script its folder is put first in `sys.path` and taken out after it, so that a thread which imports
# at that moment misses an entry. A folder that is in it already is left alone, as it is where Streamlit serves.
sys.path += [str(SCRIPT.parent), app_test.TMP_DIR.name]
