"""The one error type that users are meant to read."""


class BadInput(Exception):
    """Something the user gave us is wrong, and we can say what to do about it.

    The command line prints the text of this error alone, without a traceback.

    Args:
        where: the file, clip or parameter that is wrong.
        expected: what should have been there.
        found: what was there.
        fix: what the user can do.
    """

    def __init__(self, where: object, *, expected: str, found: str, fix: str) -> None:
        self.where, self.expected, self.found, self.fix = where, expected, found, fix
        super().__init__(f"{where}: expected {expected}, found {found}. {fix}")

    def __reduce__(self) -> tuple:  # keyword-only arguments survive a trip through a process pool
        return _rebuild, (self.where, self.expected, self.found, self.fix)


def _rebuild(where: object, expected: str, found: str, fix: str) -> BadInput:
    return BadInput(where, expected=expected, found=found, fix=fix)
