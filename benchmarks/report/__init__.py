"""What was measured, for people: one view of the runs, shown as a page or as Markdown."""

from benchmarks.report.html import render_html
from benchmarks.report.markdown import render_markdown

__all__ = ["render_html", "render_markdown"]
