"""The one exception that a user can cause; its message is one line: what is wrong, where, and what to do."""


class UserError(Exception):
    """Bad input from outside: a file, a setting, a device. The command line prints it and exits with code 2."""
