//! Superblocks and partition tables. The input is a list of sectors, each with its number before it: what is recognised
//! lies far apart on a device.
#![no_main]

use std::collections::HashMap;
use std::io;

use overlayd::sys::{gpt, superblock};

const SIZE: u64 = 32 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let sectors: HashMap<u64, &[u8]> = data
        .chunks(2 + 512)
        .filter(|chunk| chunk.len() > 2)
        .map(|chunk| (u64::from(u16::from_le_bytes([chunk[0], chunk[1]])), &chunk[2..]))
        .collect();
    let mut read = |at: u64, buffer: &mut [u8]| -> io::Result<()> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > SIZE) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        let end = at + buffer.len() as u64;
        for (number, sector) in &sectors {
            let (from, to) = (number * 512, number * 512 + sector.len() as u64);
            let (first, last) = (from.max(at), to.min(end));
            if first < last {
                let part = &sector[(first - from) as usize..(last - from) as usize];
                buffer[(first - at) as usize..(last - at) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    };
    let _ = superblock::identify(&mut read, SIZE);
    for sector in [512, 4096] {
        if let Ok(Some(table)) = gpt::read_table(&mut read, SIZE, sector) {
            let _ = (table.uuid_of(1), table.name_of(1), table.type_of(1));
        }
    }
});
