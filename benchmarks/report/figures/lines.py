"""Families of candidates, each a line of a plot; a variant is told from its host at a glance.

A line that is named after another one is its variant: Slide-Swin of Swin. Both have one colour. The
host's line is dotted and its marks are hollow.
"""

from dataclasses import dataclass

from benchmarks.report.palette import SURFACE, series


@dataclass(frozen=True)
class Lines:
    """The lines of one run.

    Attributes:
        names: each once, in the order in which candidates name them.
    """

    names: tuple[str, ...]

    def colour(self, name: str) -> str:
        """The colour of a line in the light theme: by its host's place among the hosts."""
        hosts = [each for each in self.names if self._host(each) is None]
        host = self._host(name) or name
        return series(hosts.index(host) + 1).light

    def is_host(self, name: str) -> bool:
        """Whether another line is a variant of this one."""
        return any(self._host(each) == name for each in self.names)

    def fill(self, name: str) -> str:
        """The colour inside the marks of a line."""
        return SURFACE.light if self.is_host(name) else self.colour(name)

    def _host(self, name: str) -> str | None:
        """The shortest name that another one ends with, behind a hyphen; None for a host."""
        found = [each for each in self.names if name.endswith(f"-{each}")]
        return min(found, key=len, default=None)
