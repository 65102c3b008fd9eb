"""A Kafka client that is not ours: makes topics, sends records, and deletes both.

    kafka.py BROKERS create TOPIC PARTITIONS
    kafka.py BROKERS delete TOPIC
    kafka.py BROKERS delete-records TOPIC PARTITION BEFORE
    kafka.py BROKERS end TOPIC PARTITION
    kafka.py BROKERS produce TOPIC       records as lines of JSON on standard input, as they come
    kafka.py BROKERS numbers TOPIC FROM TO [BROKEN]   {"n": FROM} to {"n": TO - 1}, every BROKEN-th cut short
    kafka.py BROKERS transactions TOPIC  lines {"commit": true | false, "records": [...]}, one transaction each

A record is {"key": text or null, "value": text or null, "partition": number, "headers": [[name, text or null], ...]},
partition and headers only if they matter. The text of a value or a header stands for bytes, a character each (Latin-1),
so that records which are no text can be sent too. For each record that the broker acknowledged `produce` answers with a line: which record (from 0), its partition, its offset.
"""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE = 60


def send(producer, topic, record, on_delivery=None):
    def as_bytes(text):
        return None if text is None else text.encode("latin-1")

    arguments = {"key": record.get("key"), "value": as_bytes(record.get("value"))}
    if "headers" in record:
        arguments["headers"] = [(name, as_bytes(text)) for name, text in record["headers"]]
    if "partition" in record:
        arguments["partition"] = record["partition"]
    while True:
        try:
            producer.produce(topic, on_delivery=on_delivery, **arguments)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


def flush(producer):
    if producer.flush(PATIENCE) > 0:
        sys.exit("the broker did not acknowledge every record")


def produce(brokers, topic):
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 5})

    def acknowledged(number):
        def tell(error, message):
            if error is not None:
                sys.exit(f"record {number}: {error}")
            print(number, message.partition(), message.offset(), flush=True)

        return tell

    for number, line in enumerate(sys.stdin):
        send(producer, topic, json.loads(line), acknowledged(number))
    flush(producer)


def numbers(brokers, topic, first, end, broken="0"):
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 5})

    def tell(error, _):
        if error is not None:
            sys.exit(f"{error}")

    for n in range(int(first), int(end)):
        cut = int(broken) > 0 and n % int(broken) == 0
        send(producer, topic, {"value": f'{{"n": {n}' if cut else f'{{"n": {n}}}'}, tell)
    flush(producer)


def transactions(brokers, topic):
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": f"{topic}-producer"})
    producer.init_transactions(PATIENCE)
    for line in sys.stdin:
        transaction = json.loads(line)
        producer.begin_transaction()
        for record in transaction["records"]:
            send(producer, topic, record)
        # Aborting right away would purge what was not sent yet, and there would be nothing to pass over.
        flush(producer)
        if transaction["commit"]:
            producer.commit_transaction(PATIENCE)
        else:
            producer.abort_transaction(PATIENCE)


def exists(admin, topic):
    return topic in admin.list_topics(timeout=PATIENCE).topics


def wait_until(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            sys.exit("the broker did not do as it was told")
        time.sleep(0.1)


def create(brokers, topic, partitions):
    admin = AdminClient({"bootstrap.servers": brokers})
    until = time.monotonic() + PATIENCE
    while True:
        try:
            admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(PATIENCE)
            break
        # A topic that was just deleted may linger.
        except KafkaException:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
    wait_until(lambda: exists(admin, topic) and len(admin.list_topics(topic).topics[topic].partitions) == int(partitions))


def delete(brokers, topic):
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.delete_topics([topic])[topic].result(PATIENCE)
    wait_until(lambda: not exists(admin, topic))


def delete_records(brokers, topic, partition, before):
    place = TopicPartition(topic, int(partition), int(before))
    # The answer is lost with the client, so it must not be a temporary.
    admin = AdminClient({"bootstrap.servers": brokers})
    for deleted in admin.delete_records([place]).values():
        deleted.result(PATIENCE)


def end(brokers, topic, partition):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "asks-only"})
    print(consumer.get_watermark_offsets(TopicPartition(topic, int(partition)), timeout=PATIENCE)[1])
    consumer.close()


if __name__ == "__main__":
    does = {f.__name__.replace("_", "-"): f for f in (create, delete, delete_records, end, numbers, produce, transactions)}
    does[sys.argv[2]](sys.argv[1], *sys.argv[3:])
