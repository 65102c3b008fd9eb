"""Ingest beside a raw consumer, and the build beside DuckDB running the same SQL on the same files.

    bench.py MEDALLION RAW_CONSUMER RECORDS

Called by benches/run, which starts the broker and names it in MEDALLION_TEST_KAFKA.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import duckdb
from confluent_kafka.admin import AdminClient, NewTopic
from deltalake import DeltaTable

MEDALLION, RAW, RECORDS = sys.argv[1], sys.argv[2], int(sys.argv[3])
BROKER = os.environ["MEDALLION_TEST_KAFKA"]
ROUNDS = 3
TOPIC = "call_events"
MODELS = ["silver_calls", "silver_customer_history", "dim_customers", "dim_towers", "fact_calls"]

folder = tempfile.mkdtemp(prefix="medallion-bench.")
environment = dict(
    os.environ,
    MEDALLION_KAFKA__BROKERS=BROKER,
    MEDALLION_PII_KEY="bench-key-bench-key-bench-key-00",
    MEDALLION_INGEST__METRICS_ADDRESS="127.0.0.1:0",
)


def timed(*command, **options):
    """Wall seconds, CPU seconds and peak resident megabytes of one finished process."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status != 0:
        sys.exit(f"{' '.join(command)} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def middle(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def in_duckdb(sql):
    """The same query in DuckDB's spelling."""
    sql = re.sub(r"arrow_cast\((.+?),\s*'Timestamp[^']*'\)", r"cast(\1 as timestamptz)", sql)
    return sql.replace("left anti join", "anti join").replace("struct(", "row(")


def ingest():
    # The client has to outlive the answer.
    admin = AdminClient({"bootstrap.servers": BROKER})
    admin.create_topics([NewTopic(TOPIC, 8, 1)])[TOPIC].result()
    timed(MEDALLION, "generate", "--topic", TOPIC, "--events", str(RECORDS), "--customers", "20000", "--crm", f"{folder}/crm")
    raws, ours = [], []
    for number in range(ROUNDS):
        raws.append(timed(RAW, BROKER, TOPIC))
        environment["MEDALLION_KAFKA__GROUP"] = f"bench-{number}"
        lake = f"{folder}/lake-{number}"
        ours.append(timed(MEDALLION, "ingest", "-q", "--topics", TOPIC, "--until-caught-up", "--lake", lake))
    print(f"\ningest of {RECORDS:,} calls, 8 partitions, median of {ROUNDS} rounds\n")
    print("| | records/s | CPU-seconds per million | peak MB |\n|---|---|---|---|")
    for name, rounds in (("raw consumer", raws), ("medallion ingest", ours)):
        wall, cpu, peak = (middle(r[i] for r in rounds) for i in range(3))
        print(f"| {name} | {RECORDS / wall:,.0f} | {cpu * 1e6 / RECORDS:.2f} | {peak:,.0f} |")
    print(f"\nwall time, ingest over raw consumer: {middle(o[0] / r[0] for o, r in zip(ours, raws)):.2f}")
    return f"{folder}/lake-0"


def build(lake):
    timed(MEDALLION, "load", "crm_customers", "--from", f"{folder}/crm", "--lake", lake)
    select = [f"+{MODELS[-1]}"]
    plain = timed(MEDALLION, "build", "-q", "--select", *select, "--exclude", "resource_type:test", "--lake", lake, stderr=subprocess.DEVNULL)
    with open("dbt_like_models/target/run_results.json") as artifact:
        results = {r["unique_id"].split(".")[-1]: r for r in json.load(artifact)["results"]}

    duck = duckdb.connect()
    duck.execute(f"set threads to {os.cpu_count()}")
    # The functions that medallion adds to SQL, as near as DuckDB has them.
    duck.execute("create macro surrogate_key(a, b := null) as hash(a, b) >> 1")
    duck.execute("create macro hmac_sha256(text) as sha256('bench-key' || text)")
    duck.execute("create macro pii_key_id() as 'bench'")
    for schema in ("bronze", "silver", "gold"):
        duck.execute(f"create schema {schema}")
    for table in ("bronze/call_events", "bronze/crm_customers", "silver/towers"):
        files = DeltaTable(f"{lake}/{table}").file_uris()
        name = table.replace("/", ".")
        duck.execute(f"create view {name} as select * from read_parquet({files!r}, hive_partitioning = true)")
    ours, theirs = 0.0, 0.0
    print(f"\nbuild of {RECORDS:,} calls, seconds\n\n| model | medallion | DuckDB |\n|---|---|---|")
    for model in MODELS:
        schema = "silver" if model.startswith("silver") else "gold"
        began = time.monotonic()
        sql = in_duckdb(results[model]["compiled_code"])
        target = f"{folder}/{model}.parquet"
        duck.execute(f"copy ({sql}) to '{target}' (format parquet, compression zstd, compression_level 1)")
        seconds = time.monotonic() - began
        duck.execute(f"create view {schema}.{model} as select * from read_parquet('{target}')")
        ours += results[model]["execution_time"]
        theirs += seconds
        print(f"| {model} | {results[model]['execution_time']:.2f} | {seconds:.2f} |")
        same = duck.execute(f"select count(*) from {schema}.{model}").fetchone()[0]
        rows = results[model]["adapter_response"]["rows_affected"]
        if same != rows:
            sys.exit(f"{model}: medallion wrote {rows} rows, DuckDB {same}")
    print(f"| sum | {ours:.2f} | {theirs:.2f} |")
    print(f"\nmedallion over DuckDB: {ours / theirs:.2f}")
    print(f"the whole command: {plain[0]:.1f} s, {plain[1]:.1f} CPU-seconds, peak {plain[2]:,.0f} MB")


try:
    build(ingest())
finally:
    shutil.rmtree(folder)
