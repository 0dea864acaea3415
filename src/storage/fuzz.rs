//! A block of a log that anybody may have written.

use super::format::{BLOCK, HEADER, Header, LogName, entries};
use crate::types::RingId;

const LOG: LogName = LogName { ring: RingId(3), digest: 77 };

/// Reads `data` as a block; then its first byte as the number of records of a block that checks, and
/// the rest as those.
pub(crate) fn fuzz(data: &[u8]) {
    read(data);
    let Some((&records, body)) = data.split_first() else { return };
    let length = (HEADER + body.len()).min(BLOCK);
    let mut block = vec![0; length];
    block[HEADER..].copy_from_slice(&body[..length - HEADER]);
    Header::new(LOG, 1, 2, 3).seal(&mut block, records.into());
    read(&block);
}

fn read(block: &[u8]) {
    let Ok(header) = Header::read(block, LOG) else { return };
    for entry in entries(&header, block).map_while(Result::ok) {
        let mut again = vec![0; entry.encoded_length()];
        assert_eq!(entry.encode(&mut again), again.len());
    }
}
