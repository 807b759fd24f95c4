"""Throughput of prepared data, beside other input pipelines on the same files."""
