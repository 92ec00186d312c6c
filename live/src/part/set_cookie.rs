//! Later.

use crate::suite::Part;

pub(crate) static PART: Part = Part { name: "set_cookie", about: "", needs: &[], scenarios: &[] };
