"""The one error that the stack raises."""


class StackError(Exception):
    """A service cannot run here; the message's first line says why and what to do about it."""
