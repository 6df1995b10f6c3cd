//! The node. Everything is in the library.

fn main() {
    chat_node::run()
}
