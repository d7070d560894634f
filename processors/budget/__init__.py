"""What the shadow side may spend: in dollars, tokens, calls and bytes, by the hour, the day and the rollout."""
