//! Base64 (RFC 4648 section 4).

/// `bytes` in base64, filled up with `=`.
#[must_use]
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_u32 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or_default();
            let digit = DIGITS.get(digit).copied().unwrap_or(b'=');
            text.push(if place as usize > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}
