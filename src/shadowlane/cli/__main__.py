"""``python -m shadowlane.cli``: the same as ``shadowlane``, wherever the script is not on the PATH."""

from shadowlane.cli import main

main()
