"""Reads a lake as programs do that know nothing of medallion: with the Python packages deltalake, duckdb and pyarrow.

    lake.py count LAKE           a line a table: schema.table, the rows that deltalake reads, the rows that DuckDB counts
    lake.py types LAKE           holds the columns of every file against the schema in the log
    lake.py statistics LAKE      holds the statistics of every file in the log against what is in the file
    lake.py table ADDRESS MARK   one table: its version, the rows that deltalake reads, a transaction's mark
    lake.py numbers ADDRESS      of a table with a column n: its rows, how many places in Kafka they have, and how many were
                                 rejected; how many numbers there are, which is the least and which the greatest
    lake.py rows ADDRESS READER COLUMN...   the rows of a local table by its first column, as JSON, read by deltalake or duckdb

LAKE is a folder or s3://bucket/prefix. DuckDB is given the files that deltalake names, from a bucket as copies: its own
extensions for Delta and S3 would have to be downloaded at run time.
"""

import json
import os
import sys
import tempfile
from datetime import date, datetime, timezone
from decimal import Decimal
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow import fs

STORE = {"AWS_ENDPOINT_URL": os.environ.get("MEDALLION_TEST_S3_ENDPOINT", ""), "AWS_ALLOW_HTTP": "true"}

# The types that every reader of Delta tables knows, and no encoding of ours such as dictionaries.
PLAIN = {
    "string": pa.string(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def plain(delta_type):
    if delta_type.startswith("decimal("):
        precision, scale = delta_type.removeprefix("decimal(").removesuffix(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return PLAIN[delta_type]


class Table:
    """A folder with a Delta log."""

    def __init__(self, address):
        scheme, _, host = STORE["AWS_ENDPOINT_URL"].partition("://")
        self.address = address
        if address.startswith("s3://"):
            self.system = fs.S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1")
            self.path = address.removeprefix("s3://")
        else:
            self.system, self.path = fs.LocalFileSystem(), address

    def delta(self):
        return DeltaTable(self.address, storage_options=STORE if self.address.startswith("s3://") else None)

    def children(self):
        for child in self.system.get_file_info(fs.FileSelector(self.path)):
            if child.type == fs.FileType.Directory:
                yield child.base_name, Table(f"{self.address}/{child.base_name}")

    def has_log(self):
        return self.system.get_file_info(f"{self.path}/_delta_log").type == fs.FileType.Directory

    def files(self):
        """The paths of the data files of the newest version, as the log writes them."""
        return pa.table(self.delta().get_add_actions()).column("path").to_pylist()

    def parquet(self, file):
        return pq.ParquetFile(self.system.open_input_file(f"{self.path}/{unquote(file)}"))

    def statistics(self):
        """What the entries of the log say of each file."""
        found = {}
        for entry in self.system.get_file_info(fs.FileSelector(f"{self.path}/_delta_log")):
            if entry.extension == "json":
                for line in self.system.open_input_file(entry.path).read().splitlines():
                    add = json.loads(line).get("add")
                    if add is not None:
                        found[add["path"]] = json.loads(add["stats"], parse_float=Decimal)
        return found


def tables(lake):
    for schema, folder in Table(lake).children():
        for name, table in folder.children():
            if table.has_log():
                yield f"{schema}.{name}", table


def count(lake):
    for name, table in tables(lake):
        by_deltalake = table.delta().to_pyarrow_table().num_rows
        with tempfile.TemporaryDirectory() as folder:
            copies = [f"{folder}/{number}.parquet" for number, _ in enumerate(table.files())]
            for file, copy in zip(table.files(), copies):
                fs.copy_files(
                    f"{table.path}/{unquote(file)}", copy,
                    source_filesystem=table.system, destination_filesystem=fs.LocalFileSystem(),
                )
            by_duckdb = 0
            if copies:
                by_duckdb = duckdb.execute("select count(*) from read_parquet(?)", [copies]).fetchone()[0]
        print(name, by_deltalake, by_duckdb)


def types(lake):
    checked = 0
    for name, table in tables(lake):
        delta = table.delta()
        partitions = delta.metadata().partition_columns
        declared = {f["name"]: plain(f["type"]) for f in json.loads(delta.schema().to_json())["fields"]}
        for file in table.files():
            stored = {f.name: f.type for f in table.parquet(file).schema_arrow}
            expected = {column: t for column, t in declared.items() if column not in partitions}
            if stored != expected:
                sys.exit(f"{name}: {file} has the columns {stored}, the log says {expected}")
            checked += len(stored)
    print(checked)


def as_stored(value, data_type):
    if pa.types.is_timestamp(data_type):
        return datetime.fromisoformat(value)
    if pa.types.is_date(data_type):
        return date.fromisoformat(value)
    if pa.types.is_floating(data_type):
        return float(value)
    if pa.types.is_decimal(data_type):
        return Decimal(value)
    return value


def statistics(lake):
    checked = 0
    for name, table in tables(lake):
        logged = table.statistics()
        for file in table.files():
            said, rows = logged[file], table.parquet(file).read()

            def ensure(holds, what):
                if not holds:
                    sys.exit(f"{name}: {file}: the log is wrong about {what}: {said}")

            ensure(said["numRecords"] == rows.num_rows, "numRecords")
            for field in rows.schema:
                column = rows.column(field.name)
                ensure(said["nullCount"][field.name] == column.null_count, f"nullCount of {field.name}")
                values = [value for value in column.to_pylist() if value is not None]
                # Bytes have no order in the log. Any other column that has values has bounds: files are skipped by them.
                # Nor has NaN: a column that has one has no bounds.
                if any(value != value for value in values):
                    ensure(field.name not in said["minValues"], f"minValues of {field.name}, which has NaN")
                elif values and not pa.types.is_binary(field.type):
                    low = as_stored(said["minValues"][field.name], field.type)
                    high = as_stored(said["maxValues"][field.name], field.type)
                    ensure(low <= min(values), f"minValues of {field.name}, which begins at {min(values)}")
                    ensure(max(values) <= high, f"maxValues of {field.name}, which ends at {max(values)}")
                    checked += 1
    print(checked)


def table(address, mark):
    delta = Table(address).delta()
    print(delta.version(), delta.to_pyarrow_table().num_rows, delta.transaction_version(mark))


def numbers(address):
    rows = Table(address).delta().to_pyarrow_table(columns=["n", "_partition", "_offset", "_error"])
    query = """select count(*), count(distinct (_partition, _offset)), count(_error),
        count(distinct n), min(n), max(n) from rows"""
    print(*duckdb.execute(query).fetchone())


def plain_value(value):
    """JSON of a value, the same from either reader."""
    if isinstance(value, dict):
        return {key: plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        # A map is a list of pairs in Arrow.
        if value and all(isinstance(pair, tuple) for pair in value):
            return {key: plain_value(inner) for key, inner in value}
        return [plain_value(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return str(value) if isinstance(value, Decimal) else value


def rows(address, reader, *columns):
    table = Table(address)
    if reader == "deltalake":
        found = table.delta().to_pyarrow_table(columns=list(columns))
    else:
        files = [f"{address}/{unquote(file)}" for file in table.files()]
        names = ", ".join(f'"{column}"' for column in columns)
        query = f"select {names} from read_parquet({files!r}, union_by_name = true)"
        found = duckdb.sql(query).to_arrow_table()
    read = [{key: plain_value(value) for key, value in row.items()} for row in found.to_pylist()]
    print(json.dumps(sorted(read, key=lambda row: (row[columns[0]] is None, row[columns[0]]))))


if __name__ == "__main__":
    does = {f.__name__: f for f in (count, types, statistics, table, numbers, rows)}
    does[sys.argv[1]](*sys.argv[2:])
    # Not an exit: the thread pools of these packages now and then abort a process that ends while they still start.
    sys.stdout.flush()
    os._exit(0)
