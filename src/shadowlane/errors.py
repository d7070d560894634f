"""The errors a user can meet, in one tree.

::

    ShadowlaneError
    ├── ConfigError    the configuration is wrong: which key, and what to put there
    ├── CodecError     a record that can't be read: it goes to the dead letters with this text
    ├── BrokerError    Kafka can't be reached, or refuses
    ├── StoreError     ClickHouse can't be reached, or refuses
    ├── PoisonError    too many records can't be read: the component stops before it empties their topic
    └── RefusedError   a command that can't be done in the present state: why, and what can be done instead

Errors of a library stop at the edge of the module that uses it, and come out as one of these,
``raise … from exc``. Every message says what happened, where, and what to do.
"""


class ShadowlaneError(Exception):
    """The root: ``except ShadowlaneError`` catches all that shadowlane raises on purpose."""


class ConfigError(ShadowlaneError):
    """The configuration is wrong. The message names the key, what is wrong with it, and the remedy."""


class CodecError(ShadowlaneError):
    """A record that can't be read. ``str(error)`` is the reason kept in the dead letter."""


class BrokerError(ShadowlaneError):
    """Kafka can't be reached, or it refuses what is asked."""


class StoreError(ShadowlaneError):
    """ClickHouse can't be reached, or it refuses what is asked."""


class PoisonError(ShadowlaneError):
    """Too many records became dead letters within a window. The message says from where, why, and how to go on."""


class RefusedError(ShadowlaneError):
    """A command that can't be done now. The message says why, and what can be done instead."""
