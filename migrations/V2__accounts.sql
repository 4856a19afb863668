-- What a broker without client order ids needs: what was known when an order was sent, what a person said of an intent,
-- and what the account held that no order of ours explains. Append-only, as everything that happened.

-- The account as it was known when an intent became Sent in its transition n (protocol.md 3.1): the ticker's position,
-- where the last reading of it was not overtaken by an order of ours, and those of the broker's orders that could
-- otherwise be taken for this one, comma-separated.
CREATE TABLE intent_snapshots (
    intent       INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    position     TEXT CHECK (position GLOB '[-0-9]*' AND substr(position, 2) NOT GLOB '*[^0-9.]*'),
    position_at  INTEGER,
    known_orders TEXT NOT NULL,
    PRIMARY KEY (intent, n),
    FOREIGN KEY (intent, n) REFERENCES intent_transitions (intent, n),
    CHECK ((position IS NULL) = (position_at IS NULL))
) STRICT, WITHOUT ROWID;

-- What a person said of an intent that the program could not settle (protocol.md 3.5, 3.6). The executions of an
-- ignored one are kept, and count no more.
CREATE TABLE decisions (
    decision INTEGER PRIMARY KEY,
    intent   INTEGER NOT NULL REFERENCES intents (intent),
    what     TEXT NOT NULL CHECK (what IN ('adopt', 'absent', 'book', 'ignore')),
    order_id TEXT CHECK (length(order_id) BETWEEN 1 AND 64),
    reason   TEXT NOT NULL,
    who      TEXT NOT NULL,
    at       INTEGER NOT NULL,
    CHECK ((order_id IS NOT NULL) = (what = 'adopt'))
) STRICT;
CREATE INDEX decisions_by_intent ON decisions (intent);

-- What the account holds of a ticker beyond all executions in this ledger, as a sum of changes: the first row is the
-- position at birth, the others are what a person accepted (protocol.md 3.10).
CREATE TABLE baselines (
    baseline INTEGER PRIMARY KEY,
    symbol   TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 12),
    change   TEXT NOT NULL CHECK (change GLOB '[-0-9]*' AND substr(change, 2) NOT GLOB '*[^0-9.]*'),
    reason   TEXT NOT NULL,
    who      TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- When orders were first decided on real money: the first backfill is over (protocol.md 5.3).
ALTER TABLE last_commit ADD COLUMN begun_at INTEGER;

-- A check can not be changed in place, so the table is made anew, row by row as it was.
CREATE TABLE halts_2 (
    halt   INTEGER PRIMARY KEY,
    symbol TEXT CHECK (length(symbol) BETWEEN 1 AND 12),
    kind   TEXT NOT NULL CHECK (kind IN ('operator', 'stuck', 'rejects', 'execution_changed', 'foreign_order',
                                         'earlier_orders', 'backfill', 'drift', 'price')),
    raised INTEGER NOT NULL CHECK (raised IN (0, 1)),
    reason TEXT NOT NULL,
    who    TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
INSERT INTO halts_2 (halt, symbol, kind, raised, reason, who, at)
    SELECT halt, symbol, kind, raised, reason, who, at FROM halts;
DROP TABLE halts;
ALTER TABLE halts_2 RENAME TO halts;

CREATE TRIGGER halts_are_final BEFORE UPDATE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER halts_stay BEFORE DELETE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER intent_snapshots_are_final BEFORE UPDATE ON intent_snapshots
    BEGIN SELECT RAISE(ABORT, 'intent_snapshots are append-only'); END;
CREATE TRIGGER intent_snapshots_stay BEFORE DELETE ON intent_snapshots
    BEGIN SELECT RAISE(ABORT, 'intent_snapshots are append-only'); END;
CREATE TRIGGER decisions_are_final BEFORE UPDATE ON decisions
    BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
CREATE TRIGGER decisions_stay BEFORE DELETE ON decisions
    BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
CREATE TRIGGER baselines_are_final BEFORE UPDATE ON baselines
    BEGIN SELECT RAISE(ABORT, 'baselines are append-only'); END;
CREATE TRIGGER baselines_stay BEFORE DELETE ON baselines
    BEGIN SELECT RAISE(ABORT, 'baselines are append-only'); END;
-- The application's tag is learnt once (protocol.md 5.2).
CREATE TRIGGER stamp_tag_is_final BEFORE UPDATE OF app_tag ON stamp WHEN OLD.app_tag IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the tag was learnt already'); END;
