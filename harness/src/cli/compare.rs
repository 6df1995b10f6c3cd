//! `squall compare RUN_A RUN_B`: two earlier runs side by side. Shown, never judged.

use std::path::Path;

use super::{errors, errors::CliError};
use crate::{
    exit::Exit,
    report::comparison,
    run::{folder::RunFolder, judge},
};

pub(super) fn compare(a: &Path, b: &Path) -> Result<Exit, CliError> {
    let [a, b] = [judge::judge(&RunFolder::open(a)?)?, judge::judge(&RunFolder::open(b)?)?];
    errors::print(&comparison::table(a.report(), b.report()));
    Ok(Exit::Holds)
}
