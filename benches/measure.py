"""What the benchmarks share: a folder that goes away, a topic of calls, and the cost of a process."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time

from confluent_kafka.admin import AdminClient, NewTopic

BROKER = os.environ["MEDALLION_TEST_KAFKA"]
TOPIC = "call_events"
PARTITIONS = 8

folder = tempfile.mkdtemp(prefix="medallion-bench.")
atexit.register(shutil.rmtree, folder, ignore_errors=True)
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


def make_topic(topic=TOPIC):
    # The client has to outlive the answer.
    admin = AdminClient({"bootstrap.servers": BROKER})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
