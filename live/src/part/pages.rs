//! Later.

use crate::suite::Part;

pub(crate) static PART: Part = Part { name: "pages", about: "", needs: &[], scenarios: &[] };
