//! trial
#![allow(missing_docs, clippy::all)]
use sqlx::Connection;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: usize = a[2].parse().unwrap();
    let rt = tokio::runtime::Runtime::new().unwrap();
    rt.block_on(async {
        let mut c = sqlx::PgConnection::connect(&a[1]).await.unwrap();
        let start = std::time::Instant::now();
        for b in 0..n / 500 {
            let rooms: Vec<String> = (0..500).map(|i| format!("room-{}", i % 50)).collect();
            let ids: Vec<String> = (0..500).map(|i| format!("{}-{}", a[3], b * 500 + i)).collect();
            let parts: Vec<i32> = (0..500).map(|i| 1000 + i % 12).collect();
            let offs: Vec<i64> = (0..500).map(|i| (b * 500 + i) as i64).collect();
            let senders: Vec<String> = (0..500).map(|_| "u".to_string()).collect();
            let bodies: Vec<String> = (0..500).map(|i| format!("hello {} {}", i, "x".repeat(100))).collect();
            let at: Vec<i64> = (0..500).map(|i| i as i64).collect();
            sqlx::query("insert into messages (room, id, partition, kafka_offset, sender, body, sent_at_ms) select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[], $7::bigint[]) on conflict do nothing")
                .bind(rooms).bind(ids).bind(parts).bind(offs).bind(senders).bind(bodies).bind(at).execute(&mut c).await.unwrap();
        }
        println!("raw {} rows in {:?}: {:.0}/s", n, start.elapsed(), n as f64 / start.elapsed().as_secs_f64());
    });
}
