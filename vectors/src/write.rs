//! What a dialect writes for the session of a vector: compared with what the framework wrote, and read back.

use dewar::{
    Error,
    dialect::{Body, Contents, SessionId, Timestamp, Token},
    layout::{Kept, Layout},
    value::Value,
};

use crate::{
    ask::{Checked, contents, kept, token},
    entries,
    file::Vector,
    frameworks::{Framework, Setting},
};

/// What the same entries must become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Same {
    Bytes,
    /// The text before compression: another deflate gives other bytes.
    Text,
    /// Nothing is compared.
    Nothing,
}

/// Another deflate may make a text shorter, or not.
const APART: &str = "only one of both compresses it; the text is the same";

/// What was written: the cookies, by what stands behind the name, and the record.
struct Written {
    cookies: Vec<(&'static str, String)>,
    record: Option<Vec<u8>>,
}

/// What one vector is written with.
struct Writing<'a> {
    vector: &'a Vector<'a>,
    framework: &'a Framework,
    setting: &'a Setting,
    /// The id of the session, where a store keeps it.
    id: Option<SessionId>,
    now: Timestamp,
}

/// What cannot be read as values keeps every byte where nobody changes it.
pub(crate) fn keeps(vector: &Vector<'_>, framework: &Framework, setting: &Setting) -> Result<(), String> {
    let same = if vector.text("reencode") == "none" { Same::Nothing } else { Same::Bytes };
    Writing { vector, framework, setting, id: None, now: vector.time("read")? }.keep(same)
}

/// What the framework could not write is refused here.
pub(crate) fn refuses(
    vector: &Vector<'_>,
    framework: &Framework,
    setting: &Setting,
    id: Option<SessionId>,
) -> Result<(), String> {
    if setting.layout.is_some() && id.is_none() {
        return Err("there is no id to write".into());
    }
    let written = "session_written";
    let member = if vector.json[written].is_null() { "session" } else { written };
    Writing { vector, framework, setting, id, now: vector.time("read")? }.refused(member)
}

/// Writes a session that was read, as its `reencode` says, and reads back what was written.
pub(crate) fn check(
    vector: &Vector<'_>,
    framework: &Framework,
    setting: &Setting,
    id: Option<SessionId>,
    checked: &mut Checked,
) -> Result<(), String> {
    let exact = if vector.json["compressed"] == true { Same::Text } else { Same::Bytes };
    let (source, mut same) = match vector.text("reencode") {
        "exact" | "exact_given_random" => ("session", exact),
        "exact_from_written" => ("session_written", exact),
        "exact_zlib" => ("session", Same::Text),
        "none" => ("session", Same::Nothing),
        other => return Err(format!("reencode is {other:?}, which is not known here")),
    };
    if setting.layout.is_some() && id.is_none() {
        checked.unwritten.push("nothing was stored, so there is no id to write".into());
        return Ok(());
    }
    let name = &setting.cookie.name;
    if same == Same::Nothing && vector.request_cookies(name).is_empty() && vector.set_cookies(name).is_empty() {
        checked.unwritten.push("the framework wrote nothing".into());
        return Ok(());
    }
    let mut writing = Writing { vector, framework, setting, id, now: vector.time("written")? };
    if vector.text("reencode") == "exact_given_random" {
        match (framework.drawn)(vector.json) {
            Some(drawn) if framework.draws_id => writing.draw_id(&drawn)?,
            Some(_) => {}
            None => {
                checked.unwritten.push("the dialect cannot be given the random bytes".into());
                same = Same::Nothing;
            }
        }
    }
    writing.keep(same)?;
    writing.session(source, same, checked)?;
    // What the application stored, where it is something else than what is read, gives the same bytes.
    let stored = "session_written";
    if source != stored && same != Same::Nothing && !vector.json[stored].is_null() {
        if let Some(why) = (framework.differs)(&vector.json[stored], vector.config()?) {
            checked.unwritten.push(why.into());
            return Ok(());
        }
        writing.session(stored, same, checked)?;
    }
    Ok(())
}

impl Writing<'_> {
    /// The id that the framework's random bytes give is the one that it drew.
    fn draw_id(&mut self, drawn: &[u8]) -> Result<(), String> {
        if self.id.is_none() {
            return Ok(());
        }
        let mut rest = drawn;
        let id = self.setting.dialect.new_id(&mut |bytes| fill(bytes, &mut rest));
        let read = self.id.replace(id).expect("there is an id");
        let new = self.id.as_ref().expect("there is an id");
        if new.reveal() == read.reveal() {
            return Ok(());
        }
        Err(format!("the random bytes give another id than {:?}", self.vector.text("sid")))
    }

    /// A session that the framework cannot write is refused.
    fn refused(&self, member: &str) -> Result<(), String> {
        let session = self.vector.session(member)?;
        self.write(&session)
            .map_or(Ok(()), |_| Err(format!("{member} was written, and {} does not", self.framework.name)))
    }

    /// A record that nobody changes keeps every byte.
    fn keep(&self, same: Same) -> Result<(), String> {
        let (Some(layout), Some((_, record))) = (&self.setting.layout, self.vector.record()?) else {
            return Ok(());
        };
        if same != Same::Bytes {
            return Ok(());
        }
        let Kept { data, extra, .. } =
            kept(self.setting, record.clone())?.map_err(|refusal| format!("the record is refused as {refusal}"))?;
        let mut contents = contents(self.setting, self.now);
        (contents.data, contents.extra) = (data, extra);
        let again = self.record(&**layout, &contents)?;
        let apart = self.compare_records(&again, &record, same);
        apart.map(drop).map_err(|why| format!("the unchanged record is written as {why}"))
    }

    /// Writes the session in this member, compares, and reads back.
    fn session(&self, member: &str, same: Same, checked: &mut Checked) -> Result<(), String> {
        let session = match self.vector.session(member) {
            Ok(session) => session,
            Err(why) => {
                checked.unwritten.push(format!("{member} has {why}, which is not known here"));
                return Ok(());
            }
        };
        let by_design = (self.framework.refuses)(&session, self.vector.config()?);
        let written = match (self.write(&session), by_design) {
            (Ok(written), None) => written,
            (Err(_), Some(why)) => {
                checked.unwritten.push(why.into());
                return Ok(());
            }
            (Ok(_), Some(why)) => return Err(format!("{member} was written, though {why}")),
            (Err(error), None) => return Err(format!("{member} is refused: {error}")),
        };
        match self.compare(&written, same) {
            Ok(Some(why)) => checked.unwritten.push(why),
            Ok(None) => checked.written |= same != Same::Nothing,
            Err(why) => return Err(format!("{member} is written as {why}")),
        }
        self.read_back(&written).map_err(|why| format!("{member}, read back: {why}"))?;
        checked.read_back = true;
        Ok(())
    }

    fn write(&self, session: &Value) -> Result<Written, String> {
        let dialect = &*self.setting.dialect;
        let mut contents = contents(self.setting, self.now);
        contents.data = entries::written(session, dialect.profile().encoding).map_err(|why| why.to_string())?;
        let drawn = (self.framework.drawn)(self.vector.json).unwrap_or_default();
        let mut rest = &drawn[..];
        let (body, record) = match (&self.setting.layout, &self.id) {
            (Some(layout), Some(id)) => (Body::Id(id), Some(self.record(&**layout, &contents)?)),
            _ => (Body::Data(&contents), None),
        };
        let cookies = dialect
            .write(body, &self.setting.cookie.name, self.now, &mut |bytes| fill(bytes, &mut rest))
            .map_err(|error: Error| error.to_string())?;
        Ok(Written { cookies: cookies.into_iter().map(|set| (set.suffix, set.value)).collect(), record })
    }

    fn record(&self, layout: &dyn Layout, contents: &Contents) -> Result<Vec<u8>, String> {
        let record = layout.write(contents, &self.setting.cookie).map_err(|error| error.to_string())?;
        Ok(record.body().to_vec())
    }

    /// `Some`: what was not compared, and why.
    fn compare(&self, ours: &Written, same: Same) -> Result<Option<String>, String> {
        if same == Same::Nothing {
            return Ok(None);
        }
        let name = &self.setting.cookie.name;
        let mut theirs = self.vector.set_cookies(name);
        if theirs.is_empty() {
            theirs = self.vector.request_cookies(name);
        }
        let mut apart = None;
        for (at, (suffix, value)) in theirs.iter().enumerate() {
            let (_, our) = ours.cookies.get(at).filter(|(other, _)| other == suffix).ok_or("fewer cookies")?;
            if value == our {
                continue;
            }
            let (our_text, text) = match ((self.framework.text)(our), (self.framework.text)(value)) {
                (Some(our_text), Some(text)) => (our_text, text),
                // What cannot be compared is still read back.
                _ if same == Same::Text => continue,
                _ => return Err(format!("{our:?}, not {value:?}")),
            };
            bytes(&our_text.bytes, &text.bytes)?;
            if same == Same::Text {
                continue;
            }
            if our_text.is_compressed == text.is_compressed {
                return Err(format!("{our:?}, not {value:?}"));
            }
            apart = Some(APART.to_owned());
        }
        if ours.cookies.len() > theirs.len() {
            return Err("more cookies".into());
        }
        if let (Some(our), Some((_, record))) = (&ours.record, self.vector.record()?) {
            match self.setting.unsaid {
                Some(why) => apart = Some(why.to_owned()),
                None => apart = self.compare_records(our, &record, same)?.or(apart),
            }
        }
        Ok(apart)
    }

    /// The same of records.
    fn compare_records(&self, ours: &[u8], theirs: &[u8], same: Same) -> Result<Option<String>, String> {
        let text = |record| (self.framework.text)(std::str::from_utf8(record).ok()?);
        match (text(ours), text(theirs)) {
            (Some(our_text), Some(text)) if ours != theirs => {
                bytes(&our_text.bytes, &text.bytes)?;
                match our_text.is_compressed == text.is_compressed {
                    true if same == Same::Text => Ok(None),
                    true => bytes(ours, theirs).map(|()| None),
                    false => Ok(Some(APART.to_owned())),
                }
            }
            _ => bytes(ours, theirs).map(|()| None),
        }
    }

    /// What was written holds what a reader must get.
    fn read_back(&self, written: &Written) -> Result<(), String> {
        let cookies: Vec<_> = written.cookies.iter().map(|(suffix, value)| (*suffix, value.as_str())).collect();
        let (token, explained) = token(self.setting, &cookies, self.now);
        explained?;
        let dialect = &*self.setting.dialect;
        let data = match (token, &self.id, &written.record) {
            (Err(refusal), ..) => return Err(format!("refused as {refusal}")),
            (Ok(Token::Data { contents, .. }), None, None) => contents.data,
            (Ok(Token::Id { id, .. }), Some(own), Some(record)) if id.reveal() == own.reveal() => {
                kept(self.setting, record.clone())?
                    .map_err(|refusal| format!("the record is refused as {refusal}"))?
                    .data
            }
            _ => return Err("another id".into()),
        };
        let found = entries::read(&data, dialect.profile().encoding)?;
        let expected = self.vector.session("session")?;
        entries::difference(&found, &expected).map_or(Ok(()), Err)
    }
}

/// The next random bytes; zeros where the framework drew no more.
fn fill(bytes: &mut [u8], rest: &mut &[u8]) {
    let (now, later) = rest.split_at(bytes.len().min(rest.len()));
    bytes.fill(0);
    bytes[..now.len()].copy_from_slice(now);
    *rest = later;
}

fn bytes(ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!("{}, not {}", shown(ours), shown(theirs)))
}

fn shown(bytes: &[u8]) -> String {
    entries::shortened(&format!("{:?}", String::from_utf8_lossy(bytes)))
}
