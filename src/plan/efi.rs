//! What systemd's EFI variables about a factory reset say. Pure.
//!
//! `FactoryResetRequest` (systemd 258 and later) is JSON in UTF-16, written by `systemd-factory-reset request`: which
//! system asked, and in which boot. `FactoryReset` (257 and earlier) is a boolean in UTF-16.

/// A variable's text: after four bytes of attributes (efivarfs), UTF-16 in little endian, perhaps with a NUL at its end.
pub fn text(content: &[u8]) -> Option<String> {
    let (units, rest) = content.get(4..)?.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16(&units).ok().map(|text| text.trim_end_matches('\0').to_owned())
}

/// What a request in `FactoryResetRequest` is to this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// For us, and for this boot; it was written in the boot of this id.
    Ours(String),
    /// For another system on this machine.
    Others,
    /// For the boot after this one.
    Next,
}

/// The system that is booted: `ID` and `IMAGE_ID` of os-release(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// `ID`.
    pub id: Option<String>,
    /// `IMAGE_ID`.
    pub image_id: Option<String>,
}

/// Reads `FactoryResetRequest` as systemd does: id and image id must be the same, and the boot another one.
pub fn request(text: &str, system: &System, this_boot: &str) -> Result<Request, String> {
    let pairs = strings_of(text).ok_or("not a JSON object")?;
    let value = |name: &str| pairs.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let id = value("osReleaseId").ok_or("osReleaseId is missing")?;
    let boot = value("bootId").map(|id| id.replace('-', "").to_ascii_lowercase());
    let is_id = |boot: &String| boot.len() == 32 && boot.bytes().all(|b| b.is_ascii_hexdigit());
    let boot = boot.filter(is_id).ok_or("bootId is missing, or is none")?;
    Ok(match (System { id: Some(id), image_id: value("osReleaseImageId") }) == *system {
        false => Request::Others,
        true if boot == this_boot.replace('-', "") => Request::Next,
        true => Request::Ours(boot),
    })
}

/// The members of a JSON object that are strings; others are passed over. None, if it is not one.
fn strings_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut json = Json { rest: text };
    let mut pairs = Vec::new();
    json.expect('{')?;
    if json.expect('}').is_some() {
        return json.at_end().then_some(pairs);
    }
    loop {
        let name = json.string()?;
        json.expect(':')?;
        match json.string() {
            Some(value) => pairs.push((name, value)),
            None => json.pass_over()?,
        }
        if json.expect(',').is_none() {
            json.expect('}')?;
            return json.at_end().then_some(pairs);
        }
    }
}

/// What is left to be read.
struct Json<'a> {
    rest: &'a str,
}

impl Json<'_> {
    /// Takes `c`, with the white space in front of it, if it comes next.
    fn expect(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(c)?;
        Some(())
    }

    fn at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }

    /// Takes a string, if one comes next and is well formed.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.trim_start().strip_prefix('"')?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(escaped(&mut chars)?),
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }

    /// Takes a value that is no string: up to the `,` or `}` that belongs to it.
    fn pass_over(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next()? {
                '"' => drop(self.string()?),
                ',' | '}' if depth == 0 => return Some(()),
                c => {
                    depth += i32::from(matches!(c, '{' | '[')) - i32::from(matches!(c, '}' | ']'));
                    self.expect(c)?;
                }
            }
        }
    }
}

/// What follows a backslash. Half of a surrogate pair stands for nothing that is compared here.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            let code = u32::from_str_radix(chars.as_str().get(..4)?, 16).ok()?;
            *chars = chars.as_str()[4..].chars();
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        c @ ('"' | '\\' | '/') => c,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str =
        r#"{"osReleaseId":"debian","osReleaseVersionId":"14","bootId":"0123456789abcdef0123456789abcdef"}"#;

    fn debian(image_id: Option<&str>) -> System {
        System { id: Some("debian".into()), image_id: image_id.map(str::to_owned) }
    }

    #[test]
    fn a_request_is_ours_if_the_system_is_and_the_boot_is_another() {
        let boot = "0123456789abcdef0123456789abcdef".to_owned();
        let of = |text: &str, system: &System| request(text, system, "ffffffff-89ab-cdef-0123-456789abcdef");
        assert_eq!(of(WRITTEN, &debian(None)), Ok(Request::Ours(boot.clone())));
        assert_eq!(
            request(WRITTEN, &debian(None), "01234567-89ab-cdef-0123-456789abcdef"),
            Ok(Request::Next)
        );
        assert_eq!(of(WRITTEN, &debian(Some("box"))), Ok(Request::Others));
        assert_eq!(of(WRITTEN, &System { id: Some("fedora".into()), image_id: None }), Ok(Request::Others));
        let more =
            WRITTEN.replace("{", r#"{ "x": [1, {"a": "}"}, null], "osReleaseImageId" : "b\u006fx" , "#);
        assert_eq!(of(&more, &debian(Some("box"))), Ok(Request::Ours(boot)), "{more}");
    }

    #[test]
    fn what_is_none_is_told() {
        let cut = &WRITTEN[..WRITTEN.len() - 1];
        let doubled = format!("{WRITTEN}{WRITTEN}");
        for bad in
            ["", "1", "{}", "{", cut, &doubled, r#"{"osReleaseId":"debian","bootId":"x"}"#, r#"{"a":}"#]
        {
            assert!(request(bad, &debian(None), "").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_variable_is_utf_16_behind_its_attributes() {
        assert_eq!(text(b"\x07\0\0\x001\0").as_deref(), Some("1"));
        assert_eq!(text(b"\x07\0\0\0y\0\0\0").as_deref(), Some("y"));
        assert_eq!(text(b"\x07\0\0\0").as_deref(), Some(""));
        assert_eq!((text(b"\x07\0\0"), text(b"\x07\0\0\0y"), text(b"\x07\0\0\0\0\xd8")), (None, None, None));
    }
}
