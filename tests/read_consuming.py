"""Runs the recipes of docs/consuming.md while files come and they are killed: each row is in their tables once.

    read_consuming.py DIR PROGRAM SEED NAMES...    with the Python that has what the recipes import; DIR must not exist

NAMES are duckdb, delta and postgresql; for the last, libpq's environment leads to a server that is there for this.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

FILES, ROWS, KILLS = 24, 40, 12
SECONDS_MAX = 90
# When it is killed: as a part of the time that it takes on this machine.
PARTS = (0.2, 0.95)


def recipes():
    """By name, the program; and the statements that come before PostgreSQL's."""
    page = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "consuming.md")
    with open(page, encoding="utf-8") as file:
        section = file.read().split("## Recipes\n")[1].split("\n## ")[0]
    duckdb, postgresql, delta = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    [statements] = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return {"duckdb": duckdb, "postgresql": postgresql, "delta": delta}, statements


def replaced(text, **constants):
    """The recipe with other places, of which each must be in it."""
    for name, (before, after) in constants.items():
        if before not in text:
            sys.exit(f"read_consuming: {name}: {before} is not in the recipe")
        text = text.replace(before, after)
    return text


class Site:
    def __init__(self, top, program, seed):
        self.top, self.program, self.random, self.next = top, program, random.Random(seed), 0
        os.makedirs(f"{top}/staging")

    def ingest(self, count):
        for number in range(self.next, self.next + count):
            with open(f"{self.top}/staging/{number}.csv", "w", encoding="utf-8") as file:
                file.write("id,value\n" + "".join(f"{number * ROWS + row},{row}\n" for row in range(ROWS)))
        self.next += count
        places = [f"--{place}={self.top}/{name}" for place, name in
                  [("input", "staging"), ("warehouse", "wh"), ("manifests", "man"), ("state-path", "state")]]
        subprocess.run([self.program, "run", "--once", "--stability-seconds", "0", *places], check=True,
                       stderr=subprocess.DEVNULL)

    def consume(self, command, environment):
        """Runs it again and again, kills it at some moment, lets files come, and lets it end at last. Returns how often it was
        killed before it had ended by itself. The first run, and the last, are not killed."""
        began, per_round, killed, took = time.monotonic(), FILES // KILLS, 0, None
        for round_number in range(KILLS + 1):
            if self.next < FILES:
                self.ingest(per_round)
            begun = time.monotonic()
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
            try:
                pause = None if took is None or round_number == KILLS else took * self.random.uniform(*PARTS)
                _, errors = process.communicate(timeout=pause)
                if process.returncode != 0:
                    sys.exit(f"read_consuming: {command}: {errors.decode()[-2000:]}")
                took = time.monotonic() - begun
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                killed += 1
            if time.monotonic() - began > SECONDS_MAX and round_number < KILLS - 1:
                self.ingest(FILES - self.next)
                break
        subprocess.run(command, env=environment, check=True)
        return killed


def check(what, ids, killed):
    if killed == 0:
        sys.exit(f"read_consuming: {what}: it was never killed before it had ended")
    expected = list(range(FILES * ROWS))
    if sorted(ids) != expected:
        twice = len(ids) - len(set(ids))
        sys.exit(f"read_consuming: {what}: {len(set(expected) - set(ids))} rows are missing, {twice} are there twice")
    print(f"{what}: {len(ids)} rows, each once, though it was killed {killed} times")


def postgresql_rows():
    import psycopg2

    with psycopg2.connect("dbname=orders") as db, db.cursor() as sql:
        sql.execute("SELECT id FROM orders")
        return [row[0] for row in sql.fetchall()]


def make_database(statements):
    import psycopg2

    db = psycopg2.connect("dbname=postgres")
    db.autocommit = True
    db.cursor().execute("CREATE DATABASE orders")
    with psycopg2.connect("dbname=orders") as db, db.cursor() as sql:
        sql.execute(statements)


def duckdb_rows(top):
    import duckdb

    return [row[0] for row in duckdb.connect(f"{top}/orders.duckdb").execute("SELECT id FROM orders").fetchall()]


def delta_rows(top):
    import deltalake

    return deltalake.DeltaTable(f"{top}/table").to_pyarrow_table().column("id").to_pylist()


def main():
    top, program, seed, *names = sys.argv[1:]
    environment = dict(os.environ, PATH=f"{os.path.dirname(program)}:{os.environ['PATH']}")
    programs, statements = recipes()
    for name in names:
        site = Site(f"{top}/{name}", program, f"{seed} {name}")
        script = f"{site.top}/recipe.py"
        take = [sys.executable, script]
        manifests = ("/srv/csv-ingestor/orders/manifests", f"{site.top}/man")
        if name == "duckdb":
            text = replaced(programs[name], manifests=manifests, database=("orders.duckdb", f"{site.top}/orders.duckdb"))
        elif name == "postgresql":
            text = replaced(programs[name], manifests=manifests)
            make_database(statements)
        else:
            text = replaced(programs[name], table=("/srv/delta/orders", f"{site.top}/table"))
            take = [program, "follow", "--once", "--manifests", f"{site.top}/man", "--consumer", "delta", "--batch", "3",
                    "--exec", "--", *take]
        with open(script, "w", encoding="utf-8") as file:
            file.write(text)
        killed = site.consume(take, environment)
        rows = {"duckdb": lambda: duckdb_rows(site.top), "delta": lambda: delta_rows(site.top), "postgresql": postgresql_rows}
        check(name, rows[name](), killed)
    # Threads of the libraries may abort a Python that ends in order.
    sys.stdout.flush()
    os._exit(0)


main()
