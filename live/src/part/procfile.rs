//! Later.

use crate::suite::Part;

pub(crate) static PART: Part = Part { name: "procfile", about: "", needs: &[], scenarios: &[] };
