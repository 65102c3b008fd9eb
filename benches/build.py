"""The build beside DuckDB running the same SQL on the same files.

    build.py MEDALLION RECORDS

Called by benches/build, which starts the broker and names it in MEDALLION_TEST_KAFKA.
"""

import json
import os
import re
import subprocess
import sys
import time

import duckdb
from deltalake import DeltaTable
from measure import TOPIC, environment, folder, make_topic, timed

MEDALLION, RECORDS = sys.argv[1], int(sys.argv[2])
MODELS = ["silver_calls", "silver_customer_history", "dim_customers", "dim_towers", "fact_calls"]


def in_duckdb(sql):
    """The same query in DuckDB's spelling."""
    sql = re.sub(r"arrow_cast\((.+?),\s*'Timestamp[^']*'\)", r"cast(\1 as timestamptz)", sql)
    return sql.replace("left anti join", "anti join").replace("struct(", "row(")


def ingest():
    make_topic()
    timed(MEDALLION, "generate", "-q", "--topic", TOPIC, "--events", str(RECORDS), "--customers", "20000", "--crm", f"{folder}/crm")
    lake = f"{folder}/lake"
    timed(MEDALLION, "ingest", "-q", "--topics", TOPIC, "--until-caught-up", "--lake", lake)
    return lake


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
    print(f"\nthe whole command, which builds models at the same time: {plain[0]:.1f} s, {plain[1]:.1f} CPU-seconds, peak {plain[2]:,.0f} MB")
    print(f"the whole command over DuckDB's sum: {plain[0] / theirs:.2f}")


    return plain[0]


def one_percent_more(lake, full):
    """A hundredth of the calls again, of the day after, and what it costs to build them in."""
    more = ["--seed", "43", "--start", "2025-03-17T00:00:00Z", "--days", "1"]
    timed(MEDALLION, "generate", "-q", "--topic", TOPIC, "--events", str(RECORDS // 100), "--customers", "20000", *more)
    timed(MEDALLION, "ingest", "-q", "--topics", TOPIC, "--until-caught-up", "--lake", lake)
    wall, cpu, _ = timed(MEDALLION, "build", "-q", "--select", f"+{MODELS[-1]}", "--exclude", "resource_type:test", "--lake", lake, stderr=subprocess.DEVNULL)
    print(f"one percent more calls: {wall:.2f} s, {cpu:.2f} CPU-seconds; {wall / full:.1%} of the time of the build from nothing")


the_lake = ingest()
one_percent_more(the_lake, build(the_lake))
