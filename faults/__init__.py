"""The fault suite: the real system, hurt for real, and its ledger afterwards. `make faults`, docs/faults.md."""
