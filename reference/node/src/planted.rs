//! The node with planted bugs: the same program, built with the feature, under another name.

fn main() {
    chat_node::run()
}
