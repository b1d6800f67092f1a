"""Reports of runs as an HTML page or as Markdown, both from one summary."""

from benchmarks.report.html import render_html
from benchmarks.report.markdown import render_markdown

__all__ = ["render_html", "render_markdown"]
