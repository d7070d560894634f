"""The headers by which a shadow request is told from one of production's. There is no standard for them.

Gateways that mirror put ``-shadow`` behind the host's name, which a candidate with a certificate can't be asked by.
"""

PREFIX = "x-shadowlane-"
SHADOW = PREFIX + "shadow"
"""``1`` on every shadow request: nobody reads the answer, nothing is to be written, nobody billed."""
ROLLOUT = PREFIX + "rollout"
"""The rollout's name."""
REQUEST = PREFIX + "request"
"""The id of the mirrored request: the same at each attempt, and in what Kafka and the store have of it."""
