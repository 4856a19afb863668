-- Whether an intent's end without an execution counts against its ticker (protocol.md 3.7). Until now that was read from
-- the beginning of the reason, where a broker's own words may stand; here that is done for the last time.
ALTER TABLE intents ADD COLUMN counted INTEGER NOT NULL DEFAULT 1 CHECK (counted IN (0, 1));
UPDATE intents SET counted = 0
    WHERE state = 'Refused' AND (substr(reason, 1, 8) = 'not sent' OR substr(reason, 1, 5) = 'gate:');
