"""What a command takes and what it leaves, declared once: settings in, result out.

From `Settings` come the command line, the Python signature, the request in ``config.json``, the refusals and the line on the
page; from `Result` come ``summary.json``, its table in the docs and the page's fields. Nothing here imports more than the
standard library and the errors.
"""
