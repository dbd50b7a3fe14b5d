//! Parse, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match csv_ingestor::cli::parse().and_then(csv_ingestor::cli::Cli::execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            csv_ingestor::log::failure(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    };
    csv_ingestor::log::finish();
    code
}
