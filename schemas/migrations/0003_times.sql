-- A time is in Unix milliseconds, before the year 2100. ClickHouse would take any number: minutes start again from
-- 1970 after 2106, and no client can read a date column that holds the year 33658 (a clock in microseconds).

ALTER TABLE pair_log ADD CONSTRAINT IF NOT EXISTS is_dated
    CHECK ts >= 0 AND ts < 4102444800000 AND completed_at >= 0 AND completed_at < 4102444800000;

ALTER TABLE ledger_log ADD CONSTRAINT IF NOT EXISTS is_dated CHECK minute >= 0 AND minute < 4102444800000;

ALTER TABLE dead_letter_log ADD CONSTRAINT IF NOT EXISTS is_dated CHECK ts >= 0 AND ts < 4102444800000;
