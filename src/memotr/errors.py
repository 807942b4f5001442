"""Error for mistakes of users. Its message says in one line what is wrong, where, and what to do."""


class UserError(Exception):
    """Error of a file, a setting or a device. The command line prints it and exits with code 2."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
