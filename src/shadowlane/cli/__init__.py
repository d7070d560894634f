"""The command line. ``main`` is the entry point; what a command prints and its exit code are its contract.

Exit codes, of every command:

==== =====================================================================================
0    done; of ``status``: everything is up; of ``report --exit-code``: promote; of ``audit``: it adds up
1    of ``status``: something is down; of ``replay``: some lines were refused; of ``alerts test``: not sent;
     of ``audit``: it does not add up
2    the command or the configuration is wrong; the message says where and what to do
3    Kafka can't be reached, or refuses
4    ClickHouse can't be reached, or refuses
5    a component stopped by itself; its log says why
6    a command that can't be done now, or that somebody else's came before
7    a component met more records that it can't read than ``dead_letters.limit`` allows, and stopped
8    a component stood still with work to do, and ended itself to be started again; its log has the stacks
10   of ``report --exit-code``: hold
11   of ``report --exit-code``: inconclusive
12   of ``report --exit-code``: roll back
130  interrupted
==== =====================================================================================
"""

import sys

from shadowlane.errors import BrokerError, ConfigError, PoisonError, RefusedError, ShadowlaneError, StoreError

EXIT_DOWN = 1
EXIT_CONFIG = 2
EXIT_BROKER = 3
EXIT_STORE = 4
EXIT_FAILED = 5
EXIT_REFUSED = 6
EXIT_POISON = 7
EXIT_INTERRUPTED = 130


def main() -> None:
    """Runs one command, and turns its errors into one message on stderr and an exit code."""
    try:
        from shadowlane.cli.app import app
    except KeyboardInterrupt:  # the imports take a moment, and so may Ctrl-C
        sys.exit(EXIT_INTERRUPTED)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("shadowlane"):
            raise
        print(
            f"shadowlane: the command line needs {exc.name}, which a service does not install; "
            "install it with: pip install 'shadowlane[server,embedded]'",
            file=sys.stderr,
        )
        sys.exit(EXIT_CONFIG)
    try:
        app()
    except ShadowlaneError as exc:
        from shadowlane.cli.render import printable

        print(f"shadowlane: {printable(str(exc))}", file=sys.stderr)
        sys.exit(exit_code(exc))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `shadowlane pairs | head`
        sys.stderr.close()
        sys.exit(0)


def exit_code(error: ShadowlaneError) -> int:
    """The exit code that tells a script what kind of thing is wrong."""
    codes = {
        ConfigError: EXIT_CONFIG,
        BrokerError: EXIT_BROKER,
        StoreError: EXIT_STORE,
        RefusedError: EXIT_REFUSED,
        PoisonError: EXIT_POISON,
    }
    for kind, code in codes.items():
        if isinstance(error, kind):
            return code
    return EXIT_FAILED
