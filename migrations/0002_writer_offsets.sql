-- How far the writers have got, moved in the same transaction as the rows it speaks of.
--
-- Kafka keeps committed offsets as well, but those move a little later, in another system; after a crash the two
-- disagree and this one is right. A writer that is given a partition starts at `next_offset`; with no
-- line here, at the beginning of the log, as a database restored from a backup has neither the line nor the rows.
create table writer_offsets (
    topic       text   not null,
    partition   int    not null,
    next_offset bigint not null,  -- the first record not yet dealt with: stored, or sent to the dead-letter topic
    primary key (topic, partition)
);

-- The line only ever moves forward (writers say `greatest(old, new)`). A writer that was frozen, lost its partitions
-- and woke up again may repeat an old batch: its rows are there already and its offset is behind, so nothing changes.
