//! Object paths: how an overlay or a job is called on the bus, and back.

use zbus::OwnedObjectPath;

use super::ROOT;

/// `/org/overlayd1`.
pub(super) fn manager() -> OwnedObjectPath {
    path(ROOT.to_owned())
}

/// `/org/overlayd1/overlay/<name escaped>`.
pub(super) fn overlay(name: &str) -> OwnedObjectPath {
    path(format!("{ROOT}/overlay/{}", escape(name)))
}

/// `/org/overlayd1/overlay/<name escaped>/snapshot/<id>`.
pub(super) fn snapshot(name: &str, id: u64) -> OwnedObjectPath {
    path(format!("{}/snapshot/{id}", overlay(name)))
}

/// `/org/overlayd1/job/<id>`.
pub(super) fn job(id: u64) -> OwnedObjectPath {
    path(format!("{ROOT}/job/{id}"))
}

/// The overlay and the number of the snapshot at this path, if it is the path of one.
pub(super) fn snapshot_at(path: &str) -> Option<(String, u64)> {
    let rest = path.strip_prefix(ROOT)?.strip_prefix("/overlay/")?;
    let (name, id) = rest.split_once("/snapshot/")?;
    Some((unescape(name)?, id.parse().ok()?))
}

/// `/`: no object.
pub(super) fn none() -> OwnedObjectPath {
    path("/".to_owned())
}

fn path(text: String) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text).expect("made of escaped labels")
}

/// Escapes a label as systemd does (`sd_bus_path_encode`): what is not a letter or a digit becomes `_xx`,
/// and so does a digit in front.
fn escape(label: &str) -> String {
    if label.is_empty() {
        return "_".to_owned();
    }
    let plain = |at: usize, b: u8| b.is_ascii_alphabetic() || (b.is_ascii_digit() && at > 0);
    label
        .bytes()
        .enumerate()
        .map(|(at, b)| if plain(at, b) { char::from(b).to_string() } else { format!("_{b:02x}") })
        .collect()
}

/// The label that [`escape`] wrote like this.
fn unescape(label: &str) -> Option<String> {
    let mut parts = label.split('_');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        plain.push(char::from(u8::from_str_radix(code, 16).ok()?));
        plain.push_str(rest);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_systemd_does() {
        assert_eq!(overlay("root").as_str(), "/org/overlayd1/overlay/root");
        assert_eq!(overlay("var-lib").as_str(), "/org/overlayd1/overlay/var_2dlib");
        assert_eq!(overlay("0a1").as_str(), "/org/overlayd1/overlay/_30a1");
        assert_eq!(escape(""), "_");
    }

    #[test]
    fn jobs_and_snapshots_have_their_number() {
        assert_eq!(snapshot("var-lib", 3).as_str(), "/org/overlayd1/overlay/var_2dlib/snapshot/3");
        assert_eq!(job(7).as_str(), "/org/overlayd1/job/7");
        for (name, id) in [("root", 1), ("var-lib", 3), ("0a1", 12)] {
            assert_eq!(snapshot_at(snapshot(name, id).as_str()), Some((name.to_owned(), id)));
        }
        assert_eq!(snapshot_at("/org/overlayd1/overlay/root"), None);
        assert_eq!(snapshot_at("/org/overlayd1/overlay/a_2/snapshot/1"), None);
        assert_eq!(none().as_str(), "/");
    }
}
