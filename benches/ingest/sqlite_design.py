#!/usr/bin/env python3
"""The obvious design without an own journal: a pool of threads, and a SQLite table of states.

The table is in WAL mode with synchronous=FULL, and each of a file's transitions is a transaction of its own. A file is
renamed, then both directories are synced; its manifest line is appended, then the manifest is synced.

usage: sqlite_design.py STAGING WAREHOUSE MANIFESTS DATABASE

Prints the seconds that it took, without the start of the interpreter, which is not part of the design.
"""

import hashlib
import json
import os
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

THREADS = 4
READ_BYTES = 1 << 20

SCHEMA = """
CREATE TABLE files (
    device INTEGER, inode INTEGER, sha256 TEXT, size INTEGER, mtime INTEGER, source_path TEXT, warehouse_path TEXT,
    state TEXT, created_at INTEGER, updated_at INTEGER, PRIMARY KEY (device, inode));
CREATE UNIQUE INDEX files_sha256 ON files (sha256);
"""
DISCOVERED = """
INSERT INTO files (device, inode, size, mtime, source_path, state, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, 'DISCOVERED', ?, ?)
"""
KNOWN = "SELECT 1 FROM files WHERE sha256 = ?"
HASHED = "UPDATE files SET sha256 = ?, state = 'HASHED' WHERE device = ? AND inode = ?"
DUPLICATE = "UPDATE files SET state = 'SKIPPED_DUPLICATE' WHERE device = ? AND inode = ?"
MOVED = "UPDATE files SET warehouse_path = ?, state = 'MOVED' WHERE device = ? AND inode = ?"
MANIFESTED = "UPDATE files SET state = 'MANIFESTED' WHERE device = ? AND inode = ?"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sync_directory(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Ingestor:
    def __init__(self, staging, warehouse, manifests, database):
        self.staging, self.warehouse, self.manifests = staging, warehouse, manifests
        # Autocommit: each statement is a transaction.
        self.database = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.executescript(SCHEMA)
        self.database_lock, self.manifest_lock = threading.Lock(), threading.Lock()

    def transition(self, statement, values):
        with self.database_lock:
            self.database.execute(statement, values)

    def hashed(self, key, digest):
        """Stores the hash; returns whether it is new."""
        with self.database_lock:
            is_known = self.database.execute(KNOWN, (digest,)).fetchone() is not None
            if is_known:
                self.database.execute(DUPLICATE, key)
            else:
                self.database.execute(HASHED, (digest, *key))
        return not is_known

    def append(self, hour, line):
        directory = f"{self.manifests}/{hour}"
        os.makedirs(directory, exist_ok=True)
        with self.manifest_lock, open(f"{directory}/manifest.jsonl", "a") as manifest:
            manifest.write(json.dumps(line) + "\n")
            manifest.flush()
            os.fsync(manifest.fileno())

    def ingest(self, source):
        status, now = os.stat(source), time.time()
        key, seconds = (status.st_dev, status.st_ino), int(now)
        size_and_time = (status.st_size, int(status.st_mtime))
        self.transition(DISCOVERED, (*key, *size_and_time, source, seconds, seconds))
        digest = sha256(source)
        if not self.hashed(key, digest):
            return
        date = time.gmtime(now)
        partition = f"{self.warehouse}/ingest_date={time.strftime('%Y-%m-%d', date)}"
        os.makedirs(partition, exist_ok=True)
        target = f"{partition}/{os.path.basename(source)}"
        os.rename(source, target)
        sync_directory(partition)
        sync_directory(self.staging)
        self.transition(MOVED, (target, *key))
        names = ("path", "sha256", "device", "inode", "size", "mtime")
        line = dict(zip(names, (target, digest, *key, *size_and_time)))
        self.append(time.strftime("%Y/%m/%d/%H", date), line)
        self.transition(MANIFESTED, key)

    def run(self):
        with os.scandir(self.staging) as entries:
            sources = [entry.path for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        with ThreadPoolExecutor(THREADS) as pool:
            # An exception of a thread is raised here.
            for _ in pool.map(self.ingest, sources):
                pass


def main():
    begun = time.perf_counter()
    Ingestor(*sys.argv[1:]).run()
    print(time.perf_counter() - begun)


main()
