-- The ledger's first schema. Amounts are exact decimal text (units of 1e-18 at most), hashes and addresses are
-- lower-case 0x text, moments are milliseconds since 1970, block times seconds since 1970. There is no REAL anywhere.
-- What happened is append-only: the triggers at the end refuse to change or remove it.

-- Whose ledger this is. Written once, at birth; only the application's tag may still be learnt.
CREATE TABLE stamp (
    one              INTEGER PRIMARY KEY CHECK (one = 1),
    chain_id         INTEGER NOT NULL CHECK (chain_id > 0),
    orderbooks       TEXT NOT NULL CHECK (orderbooks = lower(orderbooks)), -- ascending, comma-separated
    owners           TEXT NOT NULL CHECK (owners = lower(owners)),         -- ascending, comma-separated
    broker           TEXT NOT NULL CHECK (broker <> ''),
    account          TEXT NOT NULL,
    hedge_from_block INTEGER CHECK (hedge_from_block >= 0),
    deployment_block INTEGER NOT NULL CHECK (deployment_block >= 0),
    born_at          INTEGER NOT NULL,
    app_tag          TEXT CHECK (app_tag <> '')
) STRICT;

-- What the chain says of a token, asked once.
CREATE TABLE tokens (
    address  TEXT PRIMARY KEY CHECK (length(address) = 42 AND address GLOB '0x*'
                                     AND substr(address, 3) NOT GLOB '*[^0-9a-f]*'),
    symbol   TEXT NOT NULL,
    decimals INTEGER NOT NULL CHECK (decimals BETWEEN 0 AND 255),
    kind     TEXT NOT NULL CHECK (kind IN ('cash', 'share', 'wrapped_share', 'foreign')),
    ticker   TEXT CHECK (length(ticker) BETWEEN 1 AND 12),
    seen_at  INTEGER NOT NULL,
    CHECK ((ticker IS NOT NULL) = (kind IN ('share', 'wrapped_share')))
) STRICT, WITHOUT ROWID;

-- The last block whose fills are all here, and the canonical blocks known up to it.
CREATE TABLE cursor (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL CHECK (number >= 0),
    hash   TEXT NOT NULL CHECK (length(hash) = 66 AND hash GLOB '0x*' AND substr(hash, 3) NOT GLOB '*[^0-9a-f]*')
) STRICT;

CREATE TABLE window (
    number INTEGER PRIMARY KEY CHECK (number >= 0),
    hash   TEXT NOT NULL CHECK (length(hash) = 66 AND hash GLOB '0x*' AND substr(hash, 3) NOT GLOB '*[^0-9a-f]*')
) STRICT;

-- A fill's content. Its name is the unique key; the transaction comes first in it, because `trace` and `replay`
-- ask by transaction.
CREATE TABLE fills (
    fill         INTEGER PRIMARY KEY,
    chain_id     INTEGER NOT NULL CHECK (chain_id > 0),
    block_hash   TEXT NOT NULL CHECK (length(block_hash) = 66 AND block_hash GLOB '0x*'
                                      AND substr(block_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    tx_hash      TEXT NOT NULL CHECK (length(tx_hash) = 66 AND tx_hash GLOB '0x*'
                                      AND substr(tx_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    log_index    INTEGER NOT NULL CHECK (log_index >= 0),
    side         TEXT NOT NULL CHECK (side IN ('BUY', 'SELL')),
    block_number INTEGER NOT NULL CHECK (block_number >= 0),
    block_time   INTEGER CHECK (block_time >= 0),
    orderbook    TEXT NOT NULL CHECK (length(orderbook) = 42 AND orderbook GLOB '0x*'
                                      AND substr(orderbook, 3) NOT GLOB '*[^0-9a-f]*'),
    owner        TEXT NOT NULL CHECK (length(owner) = 42 AND owner GLOB '0x*'
                                      AND substr(owner, 3) NOT GLOB '*[^0-9a-f]*'),
    symbol       TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 12),
    shares       TEXT NOT NULL CHECK (shares GLOB '[0-9]*' AND shares NOT GLOB '*[^0-9.]*' AND shares <> '0'),
    cash         TEXT NOT NULL CHECK (cash GLOB '[0-9]*' AND cash NOT GLOB '*[^0-9.]*'),
    price        TEXT CHECK (price GLOB '[0-9]*' AND price NOT GLOB '*[^0-9.]*' AND price <> '0'),
    UNIQUE (tx_hash, log_index, side, block_hash, chain_id)
) STRICT;
CREATE INDEX fills_by_block ON fills (block_number, log_index, side);

-- Seen (+1), reversed (-1), reinstated (+1) and so on: entry 0 is the first sight and the signs alternate.
CREATE TABLE fill_entries (
    fill   INTEGER NOT NULL REFERENCES fills (fill),
    n      INTEGER NOT NULL CHECK (n >= 0),
    sign   INTEGER NOT NULL CHECK (sign = CASE n % 2 WHEN 0 THEN 1 ELSE -1 END),
    source TEXT NOT NULL CHECK (source IN ('push', 'sweep', 'replay')),
    at     INTEGER NOT NULL,
    PRIMARY KEY (fill, n)
) STRICT, WITHOUT ROWID;

-- An entry that moves exposure.
CREATE TABLE fill_counts (
    fill INTEGER NOT NULL,
    n    INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    PRIMARY KEY (fill, n),
    FOREIGN KEY (fill, n) REFERENCES fill_entries (fill, n)
) STRICT, WITHOUT ROWID;

-- Trades of ours that move no exposure, and why.
CREATE TABLE skipped_fills (
    skipped      INTEGER PRIMARY KEY,
    chain_id     INTEGER NOT NULL CHECK (chain_id > 0),
    block_hash   TEXT NOT NULL CHECK (length(block_hash) = 66 AND block_hash GLOB '0x*'
                                      AND substr(block_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    tx_hash      TEXT NOT NULL CHECK (length(tx_hash) = 66 AND tx_hash GLOB '0x*'
                                      AND substr(tx_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    log_index    INTEGER NOT NULL CHECK (log_index >= 0),
    side         TEXT NOT NULL CHECK (side IN ('BUY', 'SELL')),
    block_number INTEGER NOT NULL CHECK (block_number >= 0),
    orderbook    TEXT NOT NULL CHECK (length(orderbook) = 42 AND orderbook GLOB '0x*'
                                      AND substr(orderbook, 3) NOT GLOB '*[^0-9a-f]*'),
    owner        TEXT NOT NULL CHECK (length(owner) = 42 AND owner GLOB '0x*'
                                      AND substr(owner, 3) NOT GLOB '*[^0-9a-f]*'),
    input_token  TEXT NOT NULL CHECK (length(input_token) = 42 AND input_token GLOB '0x*'
                                      AND substr(input_token, 3) NOT GLOB '*[^0-9a-f]*'),
    output_token TEXT NOT NULL CHECK (length(output_token) = 42 AND output_token GLOB '0x*'
                                      AND substr(output_token, 3) NOT GLOB '*[^0-9a-f]*'),
    symbol       TEXT CHECK (length(symbol) BETWEEN 1 AND 12),
    shares       TEXT NOT NULL CHECK (shares GLOB '[0-9]*' AND shares NOT GLOB '*[^0-9.]*'),
    reason       TEXT NOT NULL CHECK (reason IN ('zero_shares', 'foreign_pair', 'before_hedging', 'other_shard')),
    at           INTEGER NOT NULL,
    UNIQUE (tx_hash, log_index, side, block_hash, chain_id)
) STRICT;
CREATE INDEX skipped_fills_by_block ON skipped_fills (block_number, log_index, side);

-- Logs that could not be understood, raw, for a person.
CREATE TABLE dead_events (
    dead         INTEGER PRIMARY KEY,
    chain_id     INTEGER NOT NULL CHECK (chain_id > 0),
    block_hash   TEXT NOT NULL CHECK (length(block_hash) = 66 AND block_hash GLOB '0x*'
                                      AND substr(block_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    tx_hash      TEXT NOT NULL CHECK (length(tx_hash) = 66 AND tx_hash GLOB '0x*'
                                      AND substr(tx_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    log_index    INTEGER NOT NULL CHECK (log_index >= 0),
    block_number INTEGER NOT NULL CHECK (block_number >= 0),
    address      TEXT NOT NULL CHECK (length(address) = 42 AND address GLOB '0x*'
                                      AND substr(address, 3) NOT GLOB '*[^0-9a-f]*'),
    topics       TEXT NOT NULL CHECK (topics NOT GLOB '*[^0-9a-fx,]*'), -- comma-separated, in order
    data         TEXT NOT NULL CHECK (data GLOB '0x*' AND substr(data, 3) NOT GLOB '*[^0-9a-f]*'),
    reason       TEXT NOT NULL,
    at           INTEGER NOT NULL,
    UNIQUE (tx_hash, log_index, block_hash, chain_id)
) STRICT;

-- What we want of the broker: the state an intent is in now. `live` follows `state`; the index below it is what
-- allows one live intent of ours per ticker. How it came here is in intent_transitions.
CREATE TABLE intents (
    intent      INTEGER PRIMARY KEY, -- in order of birth
    id          TEXT NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 48),
    symbol      TEXT NOT NULL CHECK (length(symbol) BETWEEN 1 AND 12),
    side        TEXT NOT NULL CHECK (side IN ('BUY', 'SELL')),
    quantity    TEXT NOT NULL CHECK (quantity GLOB '[0-9]*' AND quantity NOT GLOB '*[^0-9.]*' AND quantity <> '0'),
    state       TEXT NOT NULL CHECK (state IN ('Planned', 'Withdrawn', 'Sent', 'Refused', 'Unknown', 'Working', 'Filled',
                                               'Canceled', 'Rejected', 'Expired', 'Absent', 'Stuck')),
    live        INTEGER CHECK (live = 1),
    transitions INTEGER NOT NULL CHECK (transitions >= 0),
    created_at  INTEGER NOT NULL,
    sent_at     INTEGER,
    changed_at  INTEGER NOT NULL,
    order_id    TEXT CHECK (length(order_id) BETWEEN 1 AND 64),
    executed    TEXT NOT NULL CHECK (executed NOT GLOB '*[^0-9.]*'),
    executions  INTEGER NOT NULL CHECK (executions >= 0),
    adopted     INTEGER NOT NULL CHECK (adopted IN (0, 1)),
    reference   TEXT CHECK (reference NOT GLOB '*[^0-9.]*'),
    reason      TEXT NOT NULL,
    CHECK ((live IS NOT NULL) = (state IN ('Planned', 'Sent', 'Unknown', 'Working', 'Stuck')))
) STRICT;
CREATE UNIQUE INDEX intents_one_live_per_ticker ON intents (symbol) WHERE live = 1 AND adopted = 0;
-- A broker's order belongs to one intent.
CREATE UNIQUE INDEX intents_by_order ON intents (order_id) WHERE order_id IS NOT NULL;

CREATE TABLE intent_transitions (
    intent     INTEGER NOT NULL REFERENCES intents (intent),
    n          INTEGER NOT NULL CHECK (n >= 0),
    from_state TEXT CHECK (from_state IN ('Planned', 'Withdrawn', 'Sent', 'Refused', 'Unknown', 'Working', 'Filled',
                                          'Canceled', 'Rejected', 'Expired', 'Absent', 'Stuck')),
    to_state   TEXT NOT NULL CHECK (to_state IN ('Planned', 'Withdrawn', 'Sent', 'Refused', 'Unknown', 'Working',
                                                 'Filled', 'Canceled', 'Rejected', 'Expired', 'Absent', 'Stuck')),
    quantity   TEXT NOT NULL CHECK (quantity GLOB '[0-9]*' AND quantity NOT GLOB '*[^0-9.]*' AND quantity <> '0'),
    order_id   TEXT CHECK (length(order_id) BETWEEN 1 AND 64),
    reason     TEXT NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (intent, n),
    CHECK ((from_state IS NULL) = (n = 0))
) STRICT, WITHOUT ROWID;

-- What the broker filled: row n is the change of the order's cumulative quantity; negative only when it took one back.
CREATE TABLE executions (
    order_id      TEXT NOT NULL CHECK (length(order_id) BETWEEN 1 AND 64),
    n             INTEGER NOT NULL CHECK (n >= 0),
    intent        INTEGER NOT NULL REFERENCES intents (intent),
    quantity      TEXT NOT NULL CHECK (quantity GLOB '[-0-9]*' AND substr(quantity, 2) NOT GLOB '*[^0-9.]*'
                                       AND quantity <> '0'),
    average_price TEXT CHECK (average_price NOT GLOB '*[^0-9.]*'),
    at            INTEGER NOT NULL,
    PRIMARY KEY (order_id, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_by_intent ON executions (intent);

-- What stops trading. The last row of a (ticker, kind) says whether it is in force; no ticker means all.
CREATE TABLE halts (
    halt   INTEGER PRIMARY KEY,
    symbol TEXT CHECK (length(symbol) BETWEEN 1 AND 12),
    kind   TEXT NOT NULL CHECK (kind IN ('operator', 'stuck', 'rejects', 'execution_changed', 'foreign_order')),
    raised INTEGER NOT NULL CHECK (raised IN (0, 1)),
    reason TEXT NOT NULL,
    who    TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

-- When the last batch was committed, and how many there have been. Every order that the broker had at `compared_at`
-- is in here: only a process that has compared the broker's book with this ledger moves it.
CREATE TABLE last_commit (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    at          INTEGER NOT NULL,
    commits     INTEGER NOT NULL CHECK (commits > 0),
    compared_at INTEGER,
    -- When it was compared for the first time: the broker's older orders are an earlier ledger's.
    first_compared_at INTEGER
) STRICT;

CREATE TRIGGER stamp_is_final BEFORE UPDATE OF one, chain_id, orderbooks, owners, broker, account, hedge_from_block,
    deployment_block, born_at ON stamp BEGIN SELECT RAISE(ABORT, 'the stamp never changes'); END;
CREATE TRIGGER stamp_stays BEFORE DELETE ON stamp BEGIN SELECT RAISE(ABORT, 'the stamp never changes'); END;

CREATE TRIGGER tokens_are_final BEFORE UPDATE ON tokens BEGIN SELECT RAISE(ABORT, 'tokens are append-only'); END;
CREATE TRIGGER tokens_stay BEFORE DELETE ON tokens BEGIN SELECT RAISE(ABORT, 'tokens are append-only'); END;
CREATE TRIGGER fills_are_final BEFORE UPDATE ON fills BEGIN SELECT RAISE(ABORT, 'fills are append-only'); END;
CREATE TRIGGER fills_stay BEFORE DELETE ON fills BEGIN SELECT RAISE(ABORT, 'fills are append-only'); END;
CREATE TRIGGER fill_entries_are_final BEFORE UPDATE ON fill_entries
    BEGIN SELECT RAISE(ABORT, 'fill_entries are append-only'); END;
CREATE TRIGGER fill_entries_stay BEFORE DELETE ON fill_entries
    BEGIN SELECT RAISE(ABORT, 'fill_entries are append-only'); END;
CREATE TRIGGER fill_counts_are_final BEFORE UPDATE ON fill_counts
    BEGIN SELECT RAISE(ABORT, 'fill_counts are append-only'); END;
CREATE TRIGGER fill_counts_stay BEFORE DELETE ON fill_counts
    BEGIN SELECT RAISE(ABORT, 'fill_counts are append-only'); END;
CREATE TRIGGER skipped_fills_are_final BEFORE UPDATE ON skipped_fills
    BEGIN SELECT RAISE(ABORT, 'skipped_fills are append-only'); END;
CREATE TRIGGER skipped_fills_stay BEFORE DELETE ON skipped_fills
    BEGIN SELECT RAISE(ABORT, 'skipped_fills are append-only'); END;
CREATE TRIGGER dead_events_are_final BEFORE UPDATE ON dead_events
    BEGIN SELECT RAISE(ABORT, 'dead_events are append-only'); END;
CREATE TRIGGER dead_events_stay BEFORE DELETE ON dead_events
    BEGIN SELECT RAISE(ABORT, 'dead_events are append-only'); END;
CREATE TRIGGER intents_stay BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'intents are never removed'); END;
CREATE TRIGGER intents_keep_their_names BEFORE UPDATE OF intent, id, symbol, side, created_at, adopted ON intents
    BEGIN SELECT RAISE(ABORT, 'an intent keeps its name, ticker and side'); END;
CREATE TRIGGER intent_transitions_are_final BEFORE UPDATE ON intent_transitions
    BEGIN SELECT RAISE(ABORT, 'intent_transitions are append-only'); END;
CREATE TRIGGER intent_transitions_stay BEFORE DELETE ON intent_transitions
    BEGIN SELECT RAISE(ABORT, 'intent_transitions are append-only'); END;
CREATE TRIGGER executions_are_final BEFORE UPDATE ON executions
    BEGIN SELECT RAISE(ABORT, 'executions are append-only'); END;
CREATE TRIGGER executions_stay BEFORE DELETE ON executions
    BEGIN SELECT RAISE(ABORT, 'executions are append-only'); END;
CREATE TRIGGER halts_are_final BEFORE UPDATE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
CREATE TRIGGER halts_stay BEFORE DELETE ON halts BEGIN SELECT RAISE(ABORT, 'halts are append-only'); END;
