-- Start reading here: these two tables are all that PostgreSQL knows about the chat.
--
-- The Kafka log is the truth: a message that was acked is in the log. This table is a copy of the log that people can
-- page through and search. chat-writer fills it, and nobody else writes to it. Each migration is applied by whichever
-- writer comes first (they take an advisory lock), so starting ten writers at once is safe.

-- One row for each message.
create table messages (
    room         text        not null,
    id           text        not null,  -- chosen by the client, so that a send repeated after a lost ack is one message
    partition    int         not null,
    kafka_offset bigint      not null,  -- the order of messages in a room is the order of their offsets
    sender       text        not null,
    body         text        not null,
    sent_at_ms   bigint      not null,  -- wall clock of the node that took it; for people, never for order
    stored_at    timestamptz not null default now(),

    -- A message sent twice has two records in the log and one row here: the first one wins.
    primary key (room, id),

    -- A record read twice (a writer died after its insert and before it moved its offset) has one row too. This holds
    -- for the life of one Kafka topic: who deletes and recreates the topic must empty these tables with it, because
    -- offsets begin again at zero and new messages would look like old ones.
    unique (partition, kafka_offset)
);

-- `history` pages backwards through one room: where room = … and kafka_offset < … order by kafka_offset desc limit ….
create index messages_history on messages (room, kafka_offset desc);
