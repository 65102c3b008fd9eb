"""Ingest beside a raw consumer and a plain pipeline, and how fresh a table is while records keep coming.

    ingest.py MEDALLION RAW_CONSUMER PLAIN_PIPELINE RECORDS

Called by benches/ingest, which starts the broker and names it in MEDALLION_TEST_KAFKA.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import unquote

import duckdb
from measure import BROKER, PARTITIONS, TOPIC, environment, folder, make_topic, middle, timed

MEDALLION, RAW, PLAIN, RECORDS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
ROUNDS = 3
# Freshness: so many records a second, for so long.
RATE = 20_000
SECONDS = 60
CONTRACT = "sql/bronze/call_events.sql"

def throughput():
    make_topic()
    # The plain pipeline ends at the first record that is not as it should be.
    events = str(RECORDS)
    timed(MEDALLION, "generate", "-q", "--topic", TOPIC, "--events", events, "--dirty", "0", "--duplicates", "0")
    rounds = {"raw consumer": [], "plain pipeline": [], "medallion ingest": []}
    for number in range(ROUNDS):
        rounds["raw consumer"].append(timed(RAW, BROKER, TOPIC))
        files = f"{folder}/plain-{number}"
        os.mkdir(files)
        rounds["plain pipeline"].append(timed(PLAIN, BROKER, TOPIC, CONTRACT, files))
        environment["MEDALLION_KAFKA__GROUP"] = f"bench-{number}"
        lake = f"{folder}/lake-{number}"
        arguments = ("ingest", "-q", "--topics", TOPIC, "--until-caught-up", "--lake", lake)
        rounds["medallion ingest"].append(timed(MEDALLION, *arguments))
    print(f"{RECORDS:,} calls in {PARTITIONS} partitions, median of {ROUNDS} rounds in turn\n")
    print("| | records/s | CPU-seconds per million | peak MB |\n|---|---|---|---|")
    for name, times in rounds.items():
        wall, cpu, peak = (middle(r[i] for r in times) for i in range(3))
        print(f"| {name} | {RECORDS / wall:,.0f} | {cpu * 1e6 / RECORDS:.2f} | {peak:,.0f} |")
    raw, plain, ours = (times for times in rounds.values())
    for name, others in (("raw consumer", raw), ("plain pipeline", plain)):
        ratio = middle(o[0] / r[0] for o, r in zip(ours, others))
        print(f"\nwall time of ingest over the {name}: {ratio:.2f}")

def freshness():
    """Of each row: from the time that Kafka has of it to the moment that its commit is in the log."""
    topic, lake = "sms_events", f"{folder}/fresh"
    make_topic(topic)
    environment["MEDALLION_KAFKA__GROUP"] = "bench-fresh"
    command = (MEDALLION, "ingest", "-q", "--topics", topic, "--lake", lake)
    daemon = subprocess.Popen(command, env=environment)
    log = f"{lake}/bronze/{topic}/_delta_log"
    while not os.path.isdir(log):
        time.sleep(0.1)
    events = str(RATE * SECONDS)
    timed(MEDALLION, "generate", "-q", "--topic", topic, "--events", events, "--rate", str(RATE))
    time.sleep(3)
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()

    ages, files = duckdb.connect(), []
    ages.execute("create table ages (age double)")
    for entry in glob.glob(f"{log}/*.json"):
        with open(entry) as lines:
            adds = [a["add"] for a in map(json.loads, lines) if a.get("add", {}).get("dataChange")]
        readable = os.stat(entry).st_mtime
        for add in adds:
            file = f"{lake}/bronze/{topic}/{unquote(add['path'])}"
            ages.execute("insert into ages select ? - epoch(_kafka_timestamp) from read_parquet(?)", [readable, file])
            files.append(readable)
    quantiles = "select count(*), quantile_cont(age, 0.5), quantile_cont(age, 0.99), max(age) from ages"
    count, p50, p99, most = ages.execute(quantiles).fetchone()
    print(f"\n{count:,} records at {RATE:,} a second, from Kafka's timestamp to readable:")
    print(f"p50 {p50:.2f} s, p99 {p99:.2f} s, longest {most:.2f} s; ", end="")
    print(f"{len(files) / (max(files) - min(files)):.2f} data files a second")

throughput()
freshness()
