-- Pushed logs of ours, or that may be ours, which no answer of the node has shown or denied yet (protocol.md 1.1): what the
-- cursor must not pass. As cursor and window a state, not a history: a settled row is removed.
CREATE TABLE pushed_logs (
    block_number INTEGER NOT NULL CHECK (block_number >= 0),
    block_hash   TEXT NOT NULL CHECK (length(block_hash) = 66 AND block_hash GLOB '0x*'
                                      AND substr(block_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    tx_hash      TEXT NOT NULL CHECK (length(tx_hash) = 66 AND tx_hash GLOB '0x*'
                                      AND substr(tx_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    log_index    INTEGER NOT NULL CHECK (log_index >= 0),
    at           INTEGER NOT NULL,
    PRIMARY KEY (block_number, block_hash, tx_hash, log_index)
) STRICT, WITHOUT ROWID;

-- Trades of ours whose amount the node could not tell: the state of their block is not there any more, or not yet
-- (protocol.md 1.10). They wait here, by themselves, until they are told, or their block leaves the chain. A state too.
CREATE TABLE pending_fills (
    chain_id     INTEGER NOT NULL CHECK (chain_id > 0),
    block_hash   TEXT NOT NULL CHECK (length(block_hash) = 66 AND block_hash GLOB '0x*'
                                      AND substr(block_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    tx_hash      TEXT NOT NULL CHECK (length(tx_hash) = 66 AND tx_hash GLOB '0x*'
                                      AND substr(tx_hash, 3) NOT GLOB '*[^0-9a-f]*'),
    log_index    INTEGER NOT NULL CHECK (log_index >= 0),
    side         TEXT NOT NULL CHECK (side IN ('BUY', 'SELL')),
    block_number INTEGER NOT NULL CHECK (block_number >= 0),
    token        TEXT NOT NULL CHECK (length(token) = 42 AND token GLOB '0x*'
                                      AND substr(token, 3) NOT GLOB '*[^0-9a-f]*'),
    symbol       TEXT CHECK (length(symbol) BETWEEN 1 AND 12),
    reason       TEXT NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (tx_hash, log_index, side, block_hash, chain_id)
) STRICT, WITHOUT ROWID;
