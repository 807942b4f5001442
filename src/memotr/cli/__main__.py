"""``python -m memotr.cli``, for where the command itself is not on the path."""

from memotr.cli import main

if __name__ == "__main__":
    main()
