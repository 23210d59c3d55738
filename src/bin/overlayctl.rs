//! The administrator's tool.

fn main() -> std::process::ExitCode {
    overlayd::cli::main()
}
