"""A hook of mkdocs: the one script that the theme would take from elsewhere comes along instead."""

from __future__ import annotations

from typing import Any

SCRIPT = "https://unpkg.com/iframe-worker/shim"


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The page with its own script."""
    return output.replace(SCRIPT, "../" * page.url.count("/") + "worker.js")


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """The same of the page that is shown for those that are not there."""
    return output_content.replace(SCRIPT, "worker.js")
