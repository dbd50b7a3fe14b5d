"""Runs the recipes of docs/consuming.md while files come and they are killed: each row is in their tables once.

    read_consuming.py DIR PROGRAM SEED    with the Python that has duckdb, deltalake and pyarrow; DIR must not exist
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


def recipes():
    page = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "consuming.md")
    with open(page, encoding="utf-8") as file:
        section = file.read().split("## Recipes\n")[1].split("\n## ")[0]
    duckdb_recipe, delta_recipe = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return duckdb_recipe, delta_recipe


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
        """Runs it again and again, kills it at some moment, lets files come, and lets it end at last."""
        began, per_round = time.monotonic(), FILES // KILLS
        for round_number in range(KILLS + 1):
            if self.next < FILES:
                self.ingest(per_round)
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
            try:
                pause = None if round_number == KILLS else self.random.uniform(0.3, 1.6)
                _, errors = process.communicate(timeout=pause)
                if process.returncode != 0:
                    sys.exit(f"read_consuming: {command}: {errors.decode()[-2000:]}")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            if time.monotonic() - began > SECONDS_MAX and round_number < KILLS - 1:
                self.ingest(FILES - self.next)
                break
        subprocess.run(command, env=environment, check=True)


def check(what, ids):
    expected = list(range(FILES * ROWS))
    if sorted(ids) != expected:
        twice = len(ids) - len(set(ids))
        sys.exit(f"read_consuming: {what}: {len(set(expected) - set(ids))} rows are missing, {twice} are there twice")
    print(f"{what}: {len(ids)} rows, each once")


def main():
    import deltalake
    import duckdb

    top, program, seed = sys.argv[1:]
    environment = dict(os.environ, PATH=f"{os.path.dirname(program)}:{os.environ['PATH']}")
    into_duckdb, into_delta = recipes()
    for name, recipe in [("duckdb", into_duckdb), ("delta", into_delta)]:
        site = Site(f"{top}/{name}", program, f"{seed} {name}")
        script = f"{site.top}/recipe.py"
        manifests = ("/srv/csv-ingestor/orders/manifests", f"{site.top}/man")
        if name == "duckdb":
            text = replaced(recipe, manifests=manifests, database=("orders.duckdb", f"{site.top}/orders.duckdb"))
        else:
            text = replaced(recipe, table=("/srv/delta/orders", f"{site.top}/table"))
        with open(script, "w", encoding="utf-8") as file:
            file.write(text)
        take = [sys.executable, script]
        if name == "duckdb":
            site.consume(take, environment)
            ids = [row[0] for row in duckdb.connect(f"{site.top}/orders.duckdb").execute("SELECT id FROM orders").fetchall()]
        else:
            follow = [program, "follow", "--once", "--manifests", f"{site.top}/man", "--consumer", "delta", "--batch", "3",
                      "--exec", "--", *take]
            site.consume(follow, environment)
            ids = deltalake.DeltaTable(f"{site.top}/table").to_pyarrow_table().column("id").to_pylist()
        check(name, ids)


main()
