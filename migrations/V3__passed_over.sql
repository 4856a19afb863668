-- What a person said of trades that were passed over before their ticker was listed (protocol.md 5.4): each is counted,
-- and then a fill too, or ignored for good. Append-only, one answer a trade.
CREATE TABLE skipped_answers (
    skipped INTEGER PRIMARY KEY REFERENCES skipped_fills (skipped),
    counted INTEGER NOT NULL CHECK (counted IN (0, 1)),
    reason  TEXT NOT NULL,
    who     TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

-- A check can not be changed in place, so the table is made anew, row by row as it was.
CREATE TABLE halts_3 (
    halt   INTEGER PRIMARY KEY,
    symbol TEXT CHECK (length(symbol) BETWEEN 1 AND 12),
    kind   TEXT NOT NULL CHECK (kind IN ('operator', 'stuck', 'rejects', 'execution_changed', 'foreign_order',
                                         'earlier_orders', 'backfill', 'skipped', 'drift', 'price')),
    raised INTEGER NOT NULL CHECK (raised IN (0, 1)),
    reason TEXT NOT NULL,
    who    TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
INSERT INTO halts_3 (halt, symbol, kind, raised, reason, who, at)
    SELECT halt, symbol, kind, raised, reason, who, at FROM halts;
DROP TABLE halts;
ALTER TABLE halts_3 RENAME TO halts;

CREATE TRIGGER halts_are_final BEFORE UPDATE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER halts_stay BEFORE DELETE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER skipped_answers_are_final BEFORE UPDATE ON skipped_answers
    BEGIN SELECT RAISE(ABORT, 'skipped_answers are append-only'); END;
CREATE TRIGGER skipped_answers_stay BEFORE DELETE ON skipped_answers
    BEGIN SELECT RAISE(ABORT, 'skipped_answers are append-only'); END;
-- A token's meaning may change once: a stranger's becomes a listed share.
DROP TRIGGER tokens_are_final;
CREATE TRIGGER tokens_are_final BEFORE UPDATE ON tokens
    WHEN OLD.kind <> 'foreign' OR NEW.kind NOT IN ('share', 'wrapped_share') OR NEW.address <> OLD.address
        OR NEW.decimals <> OLD.decimals OR NEW.seen_at <> OLD.seen_at
    BEGIN SELECT RAISE(ABORT, 'tokens are append-only'); END;
