//! Every limit of a node, with its unit, its reason, and what happens beyond it.

use std::time::Duration;

use chat_protocol::limits::CLIENT_MESSAGE_BYTES;

/// Verbs of one socket that wait for their turn. Beyond it the verb is answered `busy`.
pub const VERBS_PER_SOCKET: usize = 256;

/// Acks of one socket that wait for room in its buffer. A client that asks on and does not read loses the rest, and is
/// disconnected.
pub const ACKS_WAITING: usize = 256;

/// How long a client may save up what it is allowed to send (`--sends-per-s`, `--send-bytes-per-s`): one that was offline has
/// something to say when it is back. Beyond it a `send` is answered `rate_limited`.
pub const RATE_BURST: Duration = Duration::from_secs(2);

/// Messages that wait for Kafka's confirmation, over all sockets. At 16 KiB each this is at most 128 MiB.
/// Beyond it a `send` is answered `busy`.
pub const SENDS_IN_FLIGHT: usize = 8_192;

/// `history` queries at once. PostgreSQL may be away, and each then holds its memory for a second.
/// Beyond it the verb is answered `busy`.
pub const HISTORY_IN_FLIGHT: usize = 64;

/// Frames that wait for the Redis publisher. Beyond it frames are dropped: peers see the gap and read Kafka.
pub const BUS_QUEUE: usize = 8_192;

/// Publishes that wait for Redis's answer. More would only hide that Redis is slow.
pub const BUS_IN_FLIGHT: usize = 256;

/// Frames buffered between the Redis connection and the node: three seconds of 2,500 messages/s. Beyond it fred drops
/// the oldest: a gap, see above. The buffer is allocated whole with every new connection, so a generous one is paid for
/// again at each attempt while Redis is away.
pub const BUS_INBOUND: usize = 8_192;

/// Messages per partition that arrived before one of their predecessors. Beyond it newcomers are dropped and read
/// from Kafka when their turn comes.
pub const REORDER_MESSAGES: usize = 4_096;

/// Recent messages per partition kept in memory to serve `resume`. Older ones are read from Kafka.
pub const RING_MESSAGES: usize = 4_096;

/// Bytes of recent messages per partition; the same purpose.
pub const RING_BYTES: usize = 8 * 1024 * 1024;

/// Recent messages whose identity is remembered per partition, to recognise a client's retry, and another message under a
/// used id. Must outlast the ack time-out.
pub const RECENT_IDS: usize = 16_384;

/// Records before the wanted one that are read along, so that a retry of an earlier message is recognised. Must outlast the
/// ack time-out (5 s), after which a client retries: this is ten seconds of 200 messages/s in one partition.
pub const LOOK_BACK_RECORDS: i64 = 2_048;

/// Records of the log read into memory when a node starts, per partition: rolling restarts then need no Kafka reads, and a
/// retry of what was said before is recognised, as above.
pub const WARM_UP_RECORDS: i64 = 2_048;

/// Messages a member's catch-up takes from memory or Kafka at a time.
pub const CATCH_UP_BATCH: usize = 128;

/// How long a gap in the offsets may last before Kafka is read. Longer than nodes' messages overtake each other on
/// the bus, shorter than people notice.
pub const GAP_PATIENCE: Duration = Duration::from_millis(40);

/// What is added to [`GAP_PATIENCE`] when only the end of the log tells of a message: its node may not have had Kafka's
/// confirmation yet.
pub const ORPHAN_PATIENCE: Duration = Duration::from_millis(250);

/// How often a node publishes its beat.
pub const BEAT_EVERY: Duration = Duration::from_millis(250);

/// How long a node may not hear its own beat before it judges its Redis subscription dead and tails Kafka.
pub const SUBSCRIPTION_DEAD_AFTER: Duration = Duration::from_millis(1_000);

/// How long a silent subscription is kept before it is given up for a new connection.
pub const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(2_000);

/// How long a node goes on tailing a partition after its live path is whole again: a few beats, so that it does not
/// change back and forth.
pub const TAIL_OVERLAP: Duration = Duration::from_millis(1_000);

/// How often the end of the log is asked for. It finds messages whose node died between Kafka and Redis.
pub const LOG_END_EVERY: Duration = Duration::from_millis(500);

/// Longest wait for the answer of Kafka to a question about the log.
pub const LOG_QUERY: Duration = Duration::from_millis(1_500);

/// Longest read of one piece of the log for a member's catch-up.
pub const LOG_READ: Duration = Duration::from_secs(5);

/// Requests that wait for the log reader. Beyond it a `resume` is answered `busy`, and a running catch-up tries again.
pub const LOG_READS_QUEUED: usize = 1_024;

/// Bytes of the largest record that a node writes, and of the largest batch of them: what a client may send at most, and what
/// Kafka writes around it. A topic that takes less is of no use; far below Kafka's default of 1 MB.
pub const RECORD_BYTES: usize = CLIENT_MESSAGE_BYTES + 1024;

/// How often it is asked whether the topic takes records so large.
pub const TOPIC_EVERY: Duration = Duration::from_secs(2);

/// How long librdkafka keeps trying to write a message. Longer than the ack time-out: an outage of half a minute loses
/// nothing that was accepted.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client that does not read may keep its place. Then it is disconnected with `too_slow`.
pub const SLOW_CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a TCP write may make no progress. socketioxide cannot end a connection whose peer does not read, so the
/// connection ends itself.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a full socket is tried again.
pub const FULL_SOCKET_RETRY: Duration = Duration::from_millis(10);

/// Packets buffered per socket: engine.io's own default, said here because slow clients are judged by it.
pub const PACKETS_PER_SOCKET: usize = 128;

/// Bytes read from a WebSocket at a time, held by every connection. Most messages fit; longer ones take more reads.
pub const READ_BUFFER_BYTES: usize = 1_024;

/// Bytes the kernel may hold for a client that does not read (it takes twice as much for its own books). Left to itself
/// it grows to megabytes on a fast link, so that a thousand slow clients would cost gigabytes that no buffer of ours
/// shows, and would count as slow only minutes later.
pub const UNSENT_BYTES_PER_SOCKET: u32 = 64 * 1024;

/// Members of a room up to which presence and typing events are sent: their number grows with the square.
pub const SMALL_ROOM: usize = 100;

/// How often a node tells the others who is in its rooms.
pub const PRESENCE_EVERY: Duration = Duration::from_secs(30);

/// How long a user of another node is believed to be in a room without news.
pub const PRESENCE_BELIEVED: Duration = Duration::from_secs(75);

/// Users in rooms of other nodes that are remembered. Beyond it newcomers are not shown.
pub const PRESENCE_ENTRIES: usize = 100_000;

/// Longest wait for a PostgreSQL connection or a page of history.
pub const HISTORY_WAIT: Duration = Duration::from_millis(1_000);

/// PostgreSQL connections of one node. `history` is rare, and writers need the connections more.
pub const POSTGRES_CONNECTIONS: u32 = 4;

/// How often readiness is looked at.
pub const READINESS_EVERY: Duration = Duration::from_millis(100);
