"""An interpreter of MIL, which runs saved Core ML programs on the CPU of any system."""

from slide_deploy.backends.mil_interpreter.errors import UnsupportedOperator
from slide_deploy.backends.mil_interpreter.program import MilProgram, ProgramPort

__all__ = ["MilProgram", "ProgramPort", "UnsupportedOperator"]
