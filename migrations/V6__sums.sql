-- What a start reads instead of every row that ever was: sums, each fill that still waits to count, and indexes for the
-- newest rows. All of it follows from the rows above and is compared with them whenever the whole ledger is checked
-- (protocol.md 2 and 6). A state, not a history.

-- Per ticker: the signed shares of the fills that count, of the executions that count, and of all executions. Null where
-- there is no such row at all.
CREATE TABLE sums (
    symbol     TEXT PRIMARY KEY CHECK (length(symbol) BETWEEN 1 AND 12),
    fills      TEXT CHECK (fills GLOB '[-0-9]*' AND substr(fills, 2) NOT GLOB '*[^0-9.]*'),
    executions TEXT CHECK (executions GLOB '[-0-9]*' AND substr(executions, 2) NOT GLOB '*[^0-9.]*'),
    account    TEXT CHECK (account GLOB '[-0-9]*' AND substr(account, 2) NOT GLOB '*[^0-9.]*')
) STRICT, WITHOUT ROWID;

-- How many rows there are, and what tells that the sums are as they were written. Null until they are first reckoned.
ALTER TABLE last_commit ADD COLUMN fills INTEGER CHECK (fills >= 0);
ALTER TABLE last_commit ADD COLUMN reversals INTEGER CHECK (reversals >= 0);
ALTER TABLE last_commit ADD COLUMN dead INTEGER CHECK (dead >= 0);
ALTER TABLE last_commit ADD COLUMN digest INTEGER;

-- Fills whose last entry stands and does not count yet.
CREATE TABLE waiting_fills (fill INTEGER PRIMARY KEY REFERENCES fills (fill)) STRICT;
INSERT INTO waiting_fills
    SELECT e.fill FROM fill_entries e LEFT JOIN fill_counts c ON c.fill = e.fill AND c.n = e.n
    WHERE c.n IS NULL AND e.sign = 1 AND e.n = (SELECT count(*) - 1 FROM fill_entries l WHERE l.fill = e.fill);

CREATE INDEX fills_by_symbol ON fills (symbol);
CREATE INDEX intents_live ON intents (intent) WHERE live = 1;
CREATE INDEX intents_by_moment ON intents (max(changed_at, coalesce(sent_at, changed_at)));
-- Those that count against their ticker (protocol.md 3.7).
CREATE INDEX intents_without_execution ON intents (changed_at)
    WHERE executed = '0' AND counted = 1 AND state IN ('Refused', 'Rejected', 'Canceled');
