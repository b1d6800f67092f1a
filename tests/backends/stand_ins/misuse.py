"""How a stand-in says that it was called in a way that its documentation does not allow."""


class Misuse(BaseException):
    """No `Exception`: a target that turns those into refusals must not hide it."""


def require(condition: object, what: str) -> None:
    """Raise `Misuse` unless a call keeps to the documentation."""
    if not condition:
        raise Misuse(what)
