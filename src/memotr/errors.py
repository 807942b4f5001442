"""Error for mistakes of users. Its message says in one line what is wrong, where, and what to do."""


class UserError(Exception):
    """Error of a file, a setting or a device. The command line prints it and exits with code 2."""


def wrong_type(expected: str, value: object) -> TypeError:
    """Return an error for an argument of another type, which names the type and never prints the value."""
    return TypeError(f"expected {expected}, got {type(value).__name__}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
