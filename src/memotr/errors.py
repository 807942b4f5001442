"""The one exception that a user can cause; its message is one line: what is wrong, where, and what to do."""


class UserError(Exception):
    """Bad input from outside: a file, a setting, a device. The command line prints it and exits with code 2."""


def first_line(error: BaseException) -> str:
    """Return what a library's error says in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
