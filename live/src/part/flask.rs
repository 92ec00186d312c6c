//! Later.

use crate::suite::Part;

pub(crate) static PART: Part = Part { name: "flask", about: "", needs: &[], scenarios: &[] };
