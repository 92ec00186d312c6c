//! `[ "." ] base64url( text, or with the dot zlib( text ) )`, as Flask and Django write it: compressed where that is shorter, inflated within a bound.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{encoding::base64, error::Refusal};

/// What a compressed text begins with.
const COMPRESSED: char = '.';

/// How a text is written into a cookie and read from it.
#[derive(Clone, Copy, Debug)]
pub(in crate::dialect) struct Deflate {
    /// Whether it is compressed where that makes it shorter.
    pub(in crate::dialect) enabled: bool,
    /// The most bytes that it may inflate to.
    pub(in crate::dialect) largest: usize,
}

impl Deflate {
    pub(in crate::dialect) fn push(&self, text: &[u8], token: &mut String) {
        // What we would not inflate again is not compressed: it does not fit, and the commit says what is so large.
        let compress = self.enabled && text.len() <= self.largest;
        match if compress { deflate_if_shorter(text) } else { None } {
            Some(compressed) => {
                token.push(COMPRESSED);
                base64::push_url(&compressed, token);
            }
            None => base64::push_url(text, token),
        }
    }

    pub(in crate::dialect) fn read(&self, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        let decode = |payload| base64::decode_url(payload).ok_or(Refusal::Malformed);
        match payload.strip_prefix(&[COMPRESSED as u8]) {
            None => decode(payload),
            Some(compressed) => inflate(&decode(compressed)?, self.largest).map_err(|error| match error {
                InflateError::Oversize => Refusal::Oversize,
                InflateError::Malformed => Refusal::Malformed,
            }),
        }
    }

    /// What a person is told of it.
    pub(in crate::dialect) fn describe(payload: &[u8], read: Result<impl AsRef<[u8]>, Refusal>) -> String {
        let compressed = if payload.starts_with(&[COMPRESSED as u8]) { ", compressed" } else { "" };
        match read {
            Ok(text) => format!("{} bytes of JSON{compressed}", text.as_ref().len()),
            Err(refusal) => refusal.to_string(),
        }
    }
}

/// Why compressed data was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is longer than the bound when inflated.
    Oversize,
    /// It is not one whole zlib stream.
    Malformed,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InflateError::Oversize => "too long when inflated",
            InflateError::Malformed => "not a zlib stream",
        })
    }
}

impl std::error::Error for InflateError {}

/// Inflates a zlib stream to at most so many bytes. Stops as soon as it is longer.
///
/// # Errors
///
/// Where it would be longer, or the data is not exactly one stream.
pub fn inflate(data: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Decompress::new(true);
    let mut out = Vec::with_capacity(data.len().saturating_mul(4).clamp(64, limit.max(64)));
    loop {
        let read = inflater.total_in() as usize;
        let status = inflater.decompress_vec(&data[read..], &mut out, FlushDecompress::None);
        if out.len() > limit {
            return Err(InflateError::Oversize);
        }
        match status.map_err(|_| InflateError::Malformed)? {
            Status::StreamEnd if inflater.total_in() as usize == data.len() => return Ok(out),
            Status::Ok | Status::BufError if out.len() == out.capacity() => {
                let room = limit.saturating_add(1).saturating_sub(out.len()).min(out.capacity());
                if room == 0 {
                    return Err(InflateError::Oversize);
                }
                out.reserve_exact(room);
            }
            Status::Ok if (inflater.total_in() as usize) < data.len() => {}
            _ => return Err(InflateError::Malformed),
        }
    }
}

/// The zlib stream (level 6) of the data, where it is shorter by more than the byte that marks it.
pub fn deflate_if_shorter(data: &[u8]) -> Option<Vec<u8>> {
    // No stream is shorter than this: two bytes of head, one block, four of checksum.
    let room = data.len().checked_sub(2).filter(|room| *room >= 8)?;
    let mut out = Vec::with_capacity(room);
    let mut deflater = Compress::new(Compression::new(6), true);
    // What does not fit does not pay.
    match deflater.compress_vec(data, &mut out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(out),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        let data = b"lorem ipsum ".repeat(100);
        let compressed = deflate_if_shorter(&data).unwrap();
        assert!(compressed.len() < data.len() - 1);
        assert_eq!(&compressed[..2], [0x78, 0x9c]);
        assert_eq!(inflate(&compressed, data.len()).unwrap(), data);
    }

    #[test]
    fn what_would_not_be_shorter_stays() {
        assert_eq!(deflate_if_shorter(b""), None);
        assert_eq!(deflate_if_shorter(b"{\"a\":1}"), None);
    }

    #[test]
    fn a_bomb_is_refused_at_the_bound() {
        let data = vec![0; 1 << 20];
        let compressed = deflate_if_shorter(&data).unwrap();
        assert_eq!(inflate(&compressed, (1 << 20) - 1), Err(InflateError::Oversize));
        assert_eq!(inflate(&compressed, 1000), Err(InflateError::Oversize));
        assert!(inflate(&compressed, 1 << 20).is_ok());
    }

    #[test]
    fn what_is_cut_or_followed_is_refused() {
        let compressed = deflate_if_shorter(&[7; 100]).unwrap();
        for cut in 0..compressed.len() {
            assert_eq!(inflate(&compressed[..cut], 1000), Err(InflateError::Malformed), "{cut}");
        }
        assert_eq!(inflate(&[&compressed[..], b"x"].concat(), 1000), Err(InflateError::Malformed));
        assert_eq!(inflate(b"garbage", 1000), Err(InflateError::Malformed));
    }
}
