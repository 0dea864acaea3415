//! Receive buffers: who has each of them. Those that hold frames are counted, and come back with
//! their last frame; the one that was free last is filled first, so that it is still in a cache.

/// A pool of equal buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Empty while a buffer is lent.
    buffers: Box<[Box<[u8]>]>,
    /// Frames out of each buffer; 0: free, or lent.
    frames: Box<[u32]>,
    free: Vec<u16>,
}

impl Buffers {
    /// `count` buffers of `bytes` each.
    pub(super) fn new(count: u16, bytes: usize) -> Self {
        // Not a multiple of the page: the fronts of the buffers then fall into different cache sets.
        let bytes = bytes.next_multiple_of(128) | 64;
        Self {
            buffers: (0..count).map(|_| vec![0; bytes].into()).collect(),
            frames: vec![0; count.into()].into(),
            free: (0..count).rev().collect(),
        }
    }

    /// How many are free.
    pub(super) const fn free(&self) -> usize {
        self.free.len()
    }

    /// Lends a free buffer.
    pub(super) fn lend(&mut self) -> Option<(u16, Box<[u8]>)> {
        let buffer = self.free.pop()?;
        Some((buffer, std::mem::take(&mut self.buffers[usize::from(buffer)])))
    }

    /// Takes a buffer back of which `frames` frames are out now.
    pub(super) fn take_back(&mut self, buffer: u16, bytes: Box<[u8]>, frames: u32) {
        debug_assert_eq!(self.frames[usize::from(buffer)], 0, "it was lent");
        self.buffers[usize::from(buffer)] = bytes;
        self.frames[usize::from(buffer)] = frames;
        if frames == 0 {
            self.free.push(buffer);
        }
    }

    /// Notes that one frame of `buffer` is no longer needed.
    ///
    /// # Panics
    /// If none is out.
    #[inline]
    pub(super) fn release(&mut self, buffer: u32) {
        let frames = &mut self.frames[buffer as usize];
        *frames = frames.checked_sub(1).expect("a frame is released once");
        if *frames == 0 {
            self.free.push(u16::try_from(buffer).expect("an index of frames"));
        }
    }

    /// Bytes of a buffer that has frames out.
    ///
    /// # Panics
    /// If it has none, or the bytes are not within it.
    #[inline]
    pub(super) fn bytes(&self, buffer: u32, offset: u32, length: u32) -> &[u8] {
        assert!(self.frames[buffer as usize] > 0, "a frame that is out");
        &self.buffers[buffer as usize][offset as usize..][..length as usize]
    }

    /// Whether under a quarter of the buffers is free.
    #[inline]
    pub(super) const fn is_scarce(&self) -> bool {
        self.free.len() * 4 < self.frames.len()
    }
}
