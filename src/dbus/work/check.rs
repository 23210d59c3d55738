//! Jobs that look the store through.

use super::{At, bounded};
use crate::dbus::flags::{Checking, Reach};
use crate::dbus::jobs::Details;
use crate::error::{Error, Kind, Result};
use crate::logging::message_id;
use crate::operation::check;
use crate::status::report::{Found, StoreReport};

pub(super) fn check(at: &At<'_>, checking: Checking, reach: Reach) -> Result<Details> {
    let mut checked = match checking {
        Checking::Look => {
            at.stage("checking");
            check::check(&at.site.store, &at.asked())?
        }
        Checking::Repair => {
            at.stage("repairing");
            let checked = check::repair(&at.site.store, &at.asked())?;
            for finding in &checked.repaired {
                tracing::warn!(
                    message_id = message_id::STORE_REPAIRED,
                    operation = "check",
                    path = %finding.path.display(),
                    by = at.by(),
                    "repaired in the store: {}",
                    finding.what
                );
            }
            checked
        }
    };
    if reach == Reach::Layers {
        at.stage("looking at the layers");
        checked.add(check::layers(&at.site.store, &at.asked(), &mut || at.flow())?);
    }
    let report = StoreReport::new(&checked);
    let lines: Vec<String> = report.findings.iter().map(line).collect::<Result<_>>()?;
    let (findings, complete) = bounded(lines, true);
    Ok(Details {
        flags: vec![("sound", report.sound), ("complete", complete)],
        numbers: vec![
            ("repaired", report.repaired),
            ("faults", report.faults),
            ("repairable", report.repairable),
            ("notes", report.notes),
        ],
        private: vec![("findings", findings)],
        ..Details::default()
    })
}

/// One finding as it travels.
fn line(found: &Found) -> Result<String> {
    serde_json::to_string(found).map_err(|e| Error::new(Kind::Failed, format!("failed to write JSON: {e}")))
}
