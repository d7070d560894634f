"""What runs between Kafka and ClickHouse: shadow worker, pairing, scoring, sink, dead letters."""
