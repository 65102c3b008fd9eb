//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    medallion::cli::main()
}
