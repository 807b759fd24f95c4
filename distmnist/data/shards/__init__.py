"""Prepared data sets: shards of records with random access, and their index.

Records are those of TFRecord files: a length, the data, and checksums (CRC32C) of both.
The data of a record are an example's features and target, as arrays have them. A
shard's last record is its seal: a digest of the others, and where they begin if they
are compressed. `prepared.json` names the shards with their seals, so that a shard of
other data is found when it is opened, and a damaged record when it is read.
"""
