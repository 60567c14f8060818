"""What a server says to somebody whom it will never let in."""


class AccessError(Exception):
    """One line that names the setting, the server and what to check. Trying again cannot help."""
