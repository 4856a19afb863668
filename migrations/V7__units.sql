-- What one token is worth in shares (protocol.md 1.8). Append-only, as everything that happened.

-- What a listed token holds, as its contract said: `1`, `*3/2` (EQUITIES), `vault:0x…,wrapper:0x…,multiplier`. The last row
-- of a token holds. A token of an earlier version has none until its contract is asked.
CREATE TABLE token_units (
    address TEXT NOT NULL REFERENCES tokens (address),
    n       INTEGER NOT NULL CHECK (n >= 0),
    unit    TEXT NOT NULL CHECK (unit <> ''),
    at      INTEGER NOT NULL,
    PRIMARY KEY (address, n)
) STRICT, WITHOUT ROWID;

-- How a fill's shares came of its token, where a token is not one share: so many base units of the token were so many of the
-- last token that it holds, under that token's multiplier (1e18 is one; NULL where it has none).
CREATE TABLE fill_units (
    fill           INTEGER PRIMARY KEY REFERENCES fills (fill),
    token          TEXT NOT NULL CHECK (length(token) = 42 AND token GLOB '0x*'
                                        AND substr(token, 3) NOT GLOB '*[^0-9a-f]*'),
    amount         TEXT NOT NULL CHECK (amount GLOB '[0-9]*' AND amount NOT GLOB '*[^0-9]*' AND amount <> '0'),
    decimals       INTEGER NOT NULL CHECK (decimals BETWEEN 0 AND 255),
    assets         TEXT NOT NULL CHECK (assets GLOB '[0-9]*' AND assets NOT GLOB '*[^0-9]*'),
    asset_decimals INTEGER NOT NULL CHECK (asset_decimals BETWEEN 0 AND 255),
    multiplier     TEXT CHECK (multiplier GLOB '[0-9]*' AND multiplier NOT GLOB '*[^0-9]*')
) STRICT;

-- A check can not be changed in place, so the table is made anew, row by row as it was.
CREATE TABLE halts_7 (
    halt   INTEGER PRIMARY KEY,
    symbol TEXT CHECK (length(symbol) BETWEEN 1 AND 12),
    kind   TEXT NOT NULL CHECK (kind IN ('operator', 'stuck', 'rejects', 'execution_changed', 'foreign_order',
                                         'earlier_orders', 'backfill', 'skipped', 'drift', 'price', 'unit')),
    raised INTEGER NOT NULL CHECK (raised IN (0, 1)),
    reason TEXT NOT NULL,
    who    TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
INSERT INTO halts_7 (halt, symbol, kind, raised, reason, who, at)
    SELECT halt, symbol, kind, raised, reason, who, at FROM halts;
DROP TABLE halts;
ALTER TABLE halts_7 RENAME TO halts;

CREATE TRIGGER halts_are_final BEFORE UPDATE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER halts_stay BEFORE DELETE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER token_units_are_final BEFORE UPDATE ON token_units
    BEGIN SELECT RAISE(ABORT, 'token_units are append-only'); END;
CREATE TRIGGER token_units_stay BEFORE DELETE ON token_units
    BEGIN SELECT RAISE(ABORT, 'token_units are append-only'); END;
CREATE TRIGGER fill_units_are_final BEFORE UPDATE ON fill_units
    BEGIN SELECT RAISE(ABORT, 'fill_units are append-only'); END;
CREATE TRIGGER fill_units_stay BEFORE DELETE ON fill_units
    BEGIN SELECT RAISE(ABORT, 'fill_units are append-only'); END;
