#!/usr/bin/env bash
# SQLite in WAL mode, copied while somebody reads (a shell, a replicator).
#
# One would guess: `PRAGMA wal_checkpoint(PASSIVE)` beside a reader moves the log up to what that reader sees, so the
# database file alone is then an older, consistent state; and where it could not move all, it answers "busy".
#
# What happens: the answer is (0, pages in the log, pages that are done): not busy, no error. And the file alone is no state
# that ever was. For each page only its newest frame is looked at; a page that was written again after the reader's mark is
# skipped, also where the log holds an older frame of it below the mark. Table and index come apart: a copy of the file
# without its -wal is malformed, or silently lacks rows.
#
# Why it matters to someone who hedges: "stop the bot, copy bot.db" ended with 0 and gave a ledger that could not be put
# back. Look at the last two numbers of the answer, and copy file and log together.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check apsw==3.46.1.0
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import shutil, sys
import apsw

folder = sys.argv[1]
print("apsw", apsw.apsw_version(), "with SQLite", apsw.sqlite_lib_version())
file = f"{folder}/ledger.db"
writer = apsw.Connection(file)
ask = lambda connection, sql: connection.execute(sql).fetchall()
ask(writer, "pragma journal_mode = wal")
ask(writer, "pragma wal_autocheckpoint = 0")
ask(writer, "create table fills(id integer primary key, words text)")
ask(writer, "create index by_words on fills(words)")


def add(first, last):
    with writer:
        for n in range(first, last):
            # Scattered over the index, as hashes are.
            writer.execute("insert into fills values(?, ?)", (n, f"{n * 2654435761 % 2**32:010d}" * 30))


def alone(name):
    """What a copy of the file without its log is."""
    copy = f"{folder}/{name}.db"
    shutil.copy(file, copy)
    try:
        connection = apsw.Connection(copy)
        whole = ask(connection, "pragma integrity_check")[0][0].splitlines()[0]
        return whole, ask(connection, "select count(*) from fills")[0][0]
    except apsw.Error as error:
        return type(error).__name__, None


add(0, 200)
assert ask(writer, "pragma wal_checkpoint(passive)")[0][0] == 0
assert alone("whole") == ("ok", 200), alone("whole")
add(200, 400)
reader = apsw.Connection(file)
ask(reader, "begin")
seen = ask(reader, "select count(*) from fills")[0][0]
add(400, 600)
busy, pages, moved = ask(writer, "pragma wal_checkpoint(passive)")[0]
print(f"a reader that sees {seen} rows; the writer has 600: wal_checkpoint(passive) answers {(busy, pages, moved)}")
whole, rows = alone("beside")
print(f"the file alone: integrity_check says {whole!r}, and it has {rows} rows")
ask(reader, "commit")
reader.close()
busy_after, pages_after, moved_after = ask(writer, "pragma wal_checkpoint(passive)")[0]
print(f"without the reader: {(busy_after, pages_after, moved_after)}, and the file alone is {alone('after')}")
surprise = busy == 0 and moved < pages and (whole, rows) not in [("ok", 200), ("ok", seen), ("ok", 600)]
if not surprise or alone("again") != ("ok", 600):
    sys.exit("SQLite behaves otherwise now")
PYTHON
