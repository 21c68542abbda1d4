//! CRC-32C (Castagnoli), as of RFC 3720, eight bytes at a time.

/// The polynomial, its bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;

type Table = [u32; 256];

/// What a byte makes of the checksum if `n` more bytes follow it, for `n` from 0 to 7.
const TABLES: [Table; 8] = tables();

#[expect(clippy::indexing_slicing, reason = "it is run by the compiler, which would say so")]
const fn tables() -> [Table; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

fn at(table: &Table, byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The checksum of what `before` is the checksum of (0 for nothing), and then `bytes`.
pub(super) fn crc32c(before: u32, bytes: &[u8]) -> u32 {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
    let mut crc = !before;
    let (eights, rest) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in eights {
        let [w, x, y, z] = crc.to_le_bytes();
        crc = at(t7, a ^ w)
            ^ at(t6, b ^ x)
            ^ at(t5, c ^ y)
            ^ at(t4, d ^ z)
            ^ at(t3, *e)
            ^ at(t2, *f)
            ^ at(t1, *g)
            ^ at(t0, *h);
    }
    for byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ at(t0, low ^ byte);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, and the check value of the catalogue of CRCs.
    #[test]
    fn known_checksums() {
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(0, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(0, &ascending), 0x46dd_794e);
    }

    #[test]
    fn in_pieces_it_is_the_same() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for cut in [0, 1, 7, 8, 9, 500, 999, 1000] {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(crc32c(crc32c(0, a), b), crc32c(0, &bytes));
        }
    }
}
