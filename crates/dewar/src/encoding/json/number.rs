//! Numbers as Python, JavaScript, Ruby, PHP and msgspec print them: the shortest digits that read back, in fixed notation within a range.

use super::flavour::Numbers;

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
pub(super) const SAFE: u64 = (1 << 53) - 1;

/// Appends a float.
pub(super) fn write_float(float: f64, numbers: Numbers, out: &mut Vec<u8>) {
    if float.is_finite() {
        write_digits(zmij::Buffer::new().format_finite(float), numbers, out);
        return;
    }
    // All spell them so; as a value, JavaScript's and Ruby's JSON know none of them.
    let word = match float {
        _ if float.is_nan() => "NaN",
        _ if float > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    out.extend_from_slice(word.as_bytes());
}

/// Appends a float of 32 bits, with the digits that tell it from other such floats.
pub(super) fn write_short_float(float: f32, numbers: Numbers, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    if float.is_finite() {
        let short = buffer.format_finite(float);
        // Whoever reads it rounds to 64 bits first, which once in millions makes it the neighbour.
        if short.parse().is_ok_and(|double: f64| double as f32 == float) {
            return write_digits(short, numbers, out);
        }
    }
    write_float(float.into(), numbers, out);
}

/// Appends a decimal number, in any notation, in the one wanted.
fn write_digits(text: &str, numbers: Numbers, out: &mut Vec<u8>) {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => ("-", text),
        None => ("", text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0; 40];
    let mut len = 0;
    for (slot, digit) in digits.iter_mut().zip(whole.bytes().chain(fraction.bytes())) {
        *slot = digit;
        len += 1;
    }
    let zeros = digits[..len].iter().take_while(|digit| **digit == b'0').count();
    let last = digits[..len].iter().rposition(|digit| *digit != b'0').map_or(zeros, |last| last + 1);
    let exponent =
        exponent.parse::<i32>().expect("a float's exponent is a short integer") + whole.len() as i32 - 1 - zeros as i32;
    let digits = &digits[zeros.min(last)..last];

    if digits.is_empty() {
        match numbers {
            Numbers::Python | Numbers::Ruby | Numbers::Msgspec => out.extend([sign, "0.0"].concat().into_bytes()),
            Numbers::JavaScript => out.push(b'0'),
            Numbers::Php => out.extend([sign, "0"].concat().into_bytes()),
        }
        return;
    }
    out.extend_from_slice(sign.as_bytes());
    let fixed = match numbers {
        Numbers::Python => -4..16,
        Numbers::JavaScript => -6..21,
        Numbers::Ruby => -4..15,
        Numbers::Php => -4..17,
        Numbers::Msgspec => -5..16,
    };
    // Ruby pads nothing beyond there, and still prints a fraction.
    let has_fraction =
        numbers == Numbers::Ruby && usize::try_from(exponent + 1).is_ok_and(|before| before < digits.len());
    if fixed.contains(&exponent) || has_fraction {
        write_fixed(digits, exponent, numbers, out);
    } else {
        write_exponent(digits, exponent, numbers, out);
    }
}

fn write_fixed(digits: &[u8], exponent: i32, numbers: Numbers, out: &mut Vec<u8>) {
    let Ok(before) = usize::try_from(exponent + 1) else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(digits);
        return;
    };
    match digits.split_at_checked(before) {
        Some((_, [])) | None => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', before - digits.len()));
            if matches!(numbers, Numbers::Python | Numbers::Ruby | Numbers::Msgspec) {
                out.extend_from_slice(b".0");
            }
        }
        Some((whole, fraction)) => {
            out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

fn write_exponent(digits: &[u8], exponent: i32, numbers: Numbers, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    } else if matches!(numbers, Numbers::Ruby | Numbers::Php) {
        out.extend_from_slice(b".0");
    }
    out.extend_from_slice(match numbers {
        _ if exponent < 0 => b"e-",
        Numbers::Msgspec => b"e",
        _ => b"e+",
    });
    let exponent = exponent.unsigned_abs();
    if matches!(numbers, Numbers::Python | Numbers::Ruby) && exponent < 10 {
        out.push(b'0');
    }
    write_integer(exponent, out);
}

/// Appends an integer in decimal.
pub(super) fn write_integer(integer: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}
