"""An independent client: produces requests and reads outcomes with other implementations of Kafka's
protocol settings and of Avro than the product uses (confluent-kafka and fastavro).

  client.py produce  --bootstrap B --registry R   requests as JSON lines on standard input
  client.py read     --bootstrap B --registry R --topic T...   records as JSON lines until the end
  client.py follow   --bootstrap B --registry R --topic T...   the same, and what comes later, until
                                                  standard input ends
"""

import argparse
import datetime
import io
import json
import struct
import sys
import threading
import time
import urllib.error
import urllib.request

import confluent_kafka
import fastavro

# Critical: lost connections are waited out, and brokers are stopped on purpose.
LOG_LEVEL = 2
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


class Registry:
    def __init__(self, base):
        self.base = base
        self.by_id = {}

    def latest(self, topic):
        found = get(f"{self.base}/subjects/{topic}-value/versions/latest")
        return found["id"], fastavro.parse_schema(json.loads(found["schema"]))

    def schema(self, number):
        if number not in self.by_id:
            found = get(f"{self.base}/schemas/ids/{number}")
            self.by_id[number] = fastavro.parse_schema(json.loads(found["schema"]))
        return self.by_id[number]


def moment(millis):
    return EPOCH + datetime.timedelta(milliseconds=millis)


def produce(options):
    """Each line: {topic, partitioner, raw_key?, raw_value_hex?, headers?, and the request's fields}.
    Lines are produced as they come; the input's end flushes."""
    registry = Registry(options.registry)
    producers = {}
    schemas = {}
    if options.schema_file is not None:
        with open(options.schema_file, encoding="utf-8") as file:
            given = fastavro.parse_schema(json.load(file))
    failures = []

    def report(error, message):
        if error is not None:
            failures.append(str(error))

    count = 0
    for line in sys.stdin:
        record = json.loads(line)
        topic = record.pop("topic")
        partitioner = record.pop("partitioner", "murmur2_random")
        headers = [(k, v.encode()) for k, v in record.pop("headers", {}).items()]
        raw = record.pop("raw_value_hex", None)
        key = record.pop("raw_key", record.get("tenant"))
        if partitioner not in producers:
            producers[partitioner] = confluent_kafka.Producer(
                {"bootstrap.servers": options.bootstrap, "acks": "all", "linger.ms": 5,
                 "partitioner": partitioner, "log_level": LOG_LEVEL}
            )
        producer = producers[partitioner]
        if raw is not None:
            value = bytes.fromhex(raw)
        else:
            if options.schema_file is not None:
                schemas[topic] = (options.schema_id, given)
            if topic not in schemas:
                schemas[topic] = registry.latest(topic)
            number, schema = schemas[topic]
            for name in ("created_at", "deadline", "changed_at"):
                if record.get(name) is not None:
                    record[name] = moment(record[name])
            body = io.BytesIO()
            body.write(struct.pack(">bI", 0, number))
            fastavro.schemaless_writer(body, schema, record)
            value = body.getvalue()
        while True:
            try:
                producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        count += 1
    for producer in producers.values():
        if producer.flush(60) > 0:
            failures.append("not everything was acknowledged")
    if failures:
        sys.exit("\n".join(failures[:5]))
    print(json.dumps({"produced": count}))


def plain(value):
    if isinstance(value, datetime.datetime):
        return int((value - EPOCH).total_seconds() * 1000)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def consumer_of(options):
    """A consumer of all partitions of the topics, and where each partition's reading starts."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": options.bootstrap, "group.id": "python-client",
         "isolation.level": "read_committed", "enable.auto.commit": False,
         "auto.offset.reset": "earliest", "enable.partition.eof": True, "log_level": LOG_LEVEL}
    )
    begin = json.loads(options.begin)
    starts = {}
    for topic in options.topic:
        metadata = consumer.list_topics(topic, timeout=20)
        for partition in sorted(metadata.topics[topic].partitions):
            offsets = begin.get(topic)
            starts[topic, partition] = (
                offsets[partition] if offsets else confluent_kafka.OFFSET_BEGINNING
            )
    consumer.assign([confluent_kafka.TopicPartition(*place, offset)
                     for place, offset in starts.items()])
    return consumer, starts


def row_of(message, registry):
    value = message.value()
    magic, number = struct.unpack(">bI", value[:5])
    if magic != 0:
        sys.exit(f"no schema framing at {message.topic()}/{message.partition()}/{message.offset()}")
    body = io.BytesIO(value[5:])
    record = fastavro.schemaless_reader(body, registry.schema(number))
    if body.read(1):
        sys.exit("bytes follow the record")
    headers = {k: (v or b"").decode() for k, v in message.headers() or []}
    return {"topic": message.topic(), "partition": message.partition(),
            "offset": message.offset(), "key": message.key().decode(), "headers": headers,
            "value": record}


def read(options):
    registry = Registry(options.registry)
    consumer, starts = consumer_of(options)
    open_partitions = set(starts)
    while open_partitions:
        message = consumer.poll(30)
        if message is None:
            sys.exit(f"no end of {options.topic} within 30 s")
        if message.error():
            if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                open_partitions.discard((message.topic(), message.partition()))
                continue
            sys.exit(str(message.error()))
        print(json.dumps(row_of(message, registry), default=plain))
    consumer.close()


def follow(options):
    """Errors are waited out: the brokers and the registry may come back."""
    registry = Registry(options.registry)
    consumer, _ = consumer_of(options)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        message = consumer.poll(0.2)
        if message is None or message.error():
            sys.stdout.flush()
            continue
        while not ended.is_set():
            try:
                print(json.dumps(row_of(message, registry), default=plain))
                break
            except urllib.error.URLError:
                time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, body in (("produce", produce), ("read", read), ("follow", follow)):
        command = commands.add_parser(name)
        command.add_argument("--bootstrap", required=True)
        command.add_argument("--registry", required=True)
        if name == "produce":
            command.add_argument("--schema-file", help="encode all with it instead of asking")
            command.add_argument("--schema-id", type=int)
        else:
            command.add_argument("--topic", required=True, action="append")
            command.add_argument("--begin", default="{}", help="JSON: topic to offset by partition")
        command.set_defaults(body=body)
    options = parser.parse_args()
    options.body(options)


main()
