"""How a target runs a file."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Configuration:
    """How a target runs a file. All of it is set explicitly, whatever the runtime's defaults.

    Attributes:
        threads: that one inference may use.
        pinned: processors that the process is bound to; empty for no binding.
        precision: of the arithmetic: "float32", "float16", "bfloat16", or "default" for the
            runtime's own choice.
        batch: images of one call, where the file leaves it open; None leaves it, and every other
            size that is open, as the file has it.
        streams: calls that are in flight at a time.
        shapes: sizes of inputs by name, where the file leaves more open than the batch.
        options: of the runtime, by its own names; they overrule the rest.
        environment: variables that its process is started with, as runtimes read some of them.
    """

    threads: int = 1
    pinned: tuple[int, ...] = ()
    precision: str = "float32"
    batch: int | None = 1
    streams: int = 1
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images of one call; 1 where the file decides."""
        return self.batch or 1
