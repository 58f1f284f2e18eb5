"""Where the files that ship with triggerd are: waiter definitions, unit files, the sample config."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """The shipped folder or file `name`, such as ``"waiters"`` or ``"systemd/triggerd.service"``.

    A wheel carries these files inside the package (``triggerd/_data``); in a checkout and in an
    editable install they stand at the top level of the repository.

    Raises:
        FileNotFoundError: The installation is incomplete.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        path = root / name
        if path.exists():
            return path
    raise FileNotFoundError(f"{name!r} is missing from this installation of triggerd: reinstall the package")
