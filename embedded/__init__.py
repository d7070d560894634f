"""The two servers for one machine: a Kafka-compatible broker, and ClickHouse over chDB."""
