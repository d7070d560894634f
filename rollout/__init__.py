"""The rollout controller: stages, decisions, routing, alerts. It comes with the next release."""
