//! The chat-writer binary; see the library for what it promises.

fn main() -> std::process::ExitCode {
    chat_writer::run()
}
