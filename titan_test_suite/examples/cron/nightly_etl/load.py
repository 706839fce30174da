"""Loads totals.csv into a database. Should the day be there already, it is replaced: a second try does no harm."""

import csv
import os
import sqlite3
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    database = sqlite3.connect(SHARED / "warehouse.db")
    with database, open(SHARED / "totals.csv", newline="") as file:
        database.execute("CREATE TABLE IF NOT EXISTS totals (day, town, amount, PRIMARY KEY (day, town))")
        database.executemany("INSERT OR REPLACE INTO totals VALUES (?, ?, ?)", csv.reader(file))
        for day, amount in database.execute("SELECT day, sum(amount) FROM totals GROUP BY day"):
            print(f"{day}: {amount}, for the fire of {os.environ.get('TITAN_SCHEDULED_FOR', 'nobody')}")
    database.close()


if __name__ == "__main__":
    main()
