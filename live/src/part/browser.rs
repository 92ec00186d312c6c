//! Later.

use crate::suite::Part;

pub(crate) static PART: Part = Part { name: "browser", about: "", needs: &[], scenarios: &[] };
