"""The web page: `ui.server.serve` starts it, `ui/app.py` is what Streamlit runs."""
