//! trial
#![allow(missing_docs, clippy::all)]
use futures_util::stream::{FuturesUnordered, StreamExt};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (brokers, prefix, count, rate, poison) = (
        &a[1],
        &a[2],
        a[3].parse::<usize>().unwrap(),
        a[4].parse::<u64>().unwrap(),
        a.get(5).map(|x| x.parse::<usize>().unwrap()),
    );
    let rt = tokio::runtime::Runtime::new().unwrap();
    rt.block_on(async {
        let p: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .unwrap();
        let mut fs = FuturesUnordered::new();
        let start = tokio::time::Instant::now();
        for i in 0..count {
            if rate > 0 && i % 10 == 0 {
                tokio::time::sleep_until(
                    start + std::time::Duration::from_micros(i as u64 * 1_000_000 / rate),
                )
                .await;
            }
            let room = format!("room-{}", i % 50);
            let body = if poison == Some(i) {
                "bad\\u0000".to_string()
            } else {
                format!("hello {} {}", i, "x".repeat(100))
            };
            let v = if poison == Some(i + 1) {
                "{not json".to_string()
            } else {
                format!(
                    r#"{{"id":"{prefix}-{i}","room":"{room}","sender":"u","body":"{body}","sent_at_ms":{i}}}"#
                )
            };
            let part = chat_protocol::position::partition_of(&room, 12);
            fs.push(
                p.send_result(FutureRecord::to("chat.messages").key(&room).payload(&v).partition(part))
                    .map_err(|(e, _)| e)
                    .unwrap(),
            );
        }
        let mut ok = 0;
        while let Some(r) = fs.next().await {
            r.unwrap().unwrap();
            ok += 1;
        }
        println!("acked {ok} in {:?}", start.elapsed());
    });
}
