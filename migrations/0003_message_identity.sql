-- An id belongs to its sender: what a message is known by is room, sender and id. Before this, the second of two people
-- who used one id in one room had an ack and no row.
--
-- A record with all three of an earlier one is that message, sent again, and gets no row; nor does another message of the
-- same sender under a used id: the first one stands, and writers count the other.
--
-- Writers of the version before cannot write any more once this is applied: they pause, and lose nothing, until they are
-- replaced.
alter table messages
    drop constraint messages_pkey,
    add primary key (room, sender, id);
