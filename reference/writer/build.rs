//! Rebuilds the writer when a migration is added: `sqlx::migrate!` embeds them, and cargo cannot see that by itself.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
