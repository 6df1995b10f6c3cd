//! chat-writer with `--bug NAME`: the same program under another name, so that it never replaces the clean binary.

fn main() -> std::process::ExitCode {
    chat_writer::run()
}
