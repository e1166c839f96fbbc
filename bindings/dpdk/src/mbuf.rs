//! One buffer with a frame in it.

use std::ptr::NonNull;

use dpdk_sys as sys;

use crate::Checked;

/// Bytes before the frame in a fresh buffer.
pub const HEADROOM: u16 = sys::USHER_MBUF_HEADROOM as u16;

/// A buffer, which goes back to its pool when it is dropped. It has one owner: it is not `Clone`, and nothing raises
/// DPDK's own reference count.
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// A burst is an array of pointers to DPDK and of mbufs to us.
const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<*mut sys::rte_mbuf>());

// SAFETY: a buffer has one owner, and giving it back is allowed from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes a buffer over.
    ///
    /// # Safety
    /// It must be a live buffer that nobody else has, neither a driver nor another `Mbuf`.
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Self {
        Self(raw)
    }

    /// Gives the buffer up without giving it back.
    pub(crate) fn into_raw(self) -> *mut sys::rte_mbuf {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }

    /// The frame, or its beginning when [`Self::is_whole`] says no.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let len = usize::from(self.read::<u16>(sys::USHER_MBUF_DATA_LEN));
        // SAFETY: DPDK keeps data_off + data_len within the buffer, whose memory EAL has zeroed once, and the borrow
        // keeps the owner from writing.
        unsafe { std::slice::from_raw_parts(self.data(), len) }
    }

    /// Everything from the frame's beginning to the buffer's end.
    #[inline]
    #[must_use]
    pub fn room(&mut self) -> &mut [u8] {
        let end = self.read::<u16>(sys::USHER_MBUF_BUF_LEN);
        let room = usize::from(end.saturating_sub(self.read(sys::USHER_MBUF_DATA_OFF)));
        // SAFETY: the range ends where the buffer ends; EAL has zeroed it once; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data(), room) }
    }

    /// Sets the frame's length, at most to that of [`Self::room`]; the frame then lies in this buffer alone.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        let len = u16::try_from(len.min(self.room().len())).unwrap_or(u16::MAX);
        debug_assert!(self.is_whole(), "only a frame in one buffer may be resized");
        self.write(sys::USHER_MBUF_DATA_LEN, len);
        self.write(sys::USHER_MBUF_PKT_LEN, u32::from(len));
    }

    /// Whether the frame lies in this one buffer.
    #[inline]
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.read::<u16>(sys::USHER_MBUF_NB_SEGS) == 1
    }

    /// Length of the frame in all its buffers.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.read::<u32>(sys::USHER_MBUF_PKT_LEN) as usize
    }

    /// Appends another frame to this one, in the buffers that it has.
    ///
    /// # Errors
    /// Gives it back when that would be more buffers than DPDK counts.
    pub fn append(&mut self, tail: Self) -> Result<(), Self> {
        let raw = tail.into_raw();
        // SAFETY: we own both, and whoever owns a buffer owns what is chained to it.
        let result = unsafe { sys::usher_mbuf_chain(self.0.as_ptr(), raw) };
        // SAFETY: it was not taken, so that it is still ours alone; a buffer is never null.
        if result == 0 { Ok(()) } else { Err(unsafe { Self(NonNull::new_unchecked(raw)) }) }
    }

    /// Brings the whole frame into its first buffer, if that has room; says whether it is whole then.
    #[must_use]
    pub fn linearise(&mut self) -> bool {
        // SAFETY: we own the buffer with all of its chain.
        self.is_whole() || unsafe { sys::usher_mbuf_linearize(self.0.as_ptr()) } == 0
    }

    /// Copies the frame of another buffer's chain here, with what the device said of it. False if there is no room.
    pub(crate) fn copy_from(&mut self, other: &Self) -> bool {
        let len = other.frame_len();
        let Some(room) = self.room().get_mut(..len) else { return false };
        let into = room.as_mut_ptr().cast();
        // SAFETY: `other` has `len` bytes in its chain, and `into` room for them.
        let read = unsafe { sys::usher_mbuf_read(other.0.as_ptr(), 0, len as u32, into) };
        if read.is_null() {
            return false;
        }
        if !std::ptr::eq(read, into.cast_const()) {
            // It lies in one buffer, and was not copied.
            let Some(bytes) = other.bytes().get(..len) else { return false };
            self.room()[..len].copy_from_slice(bytes);
        }
        self.set_len(len);
        self.write(sys::USHER_MBUF_OL_FLAGS, other.flags());
        self.write(sys::USHER_MBUF_HASH_RSS, other.read::<u32>(sys::USHER_MBUF_HASH_RSS));
        true
    }

    /// The device's word on the IPv4 header's checksum.
    #[inline]
    #[must_use]
    pub fn ip_checksum(&self) -> Checked {
        Checked::ip(self.flags())
    }

    /// The device's word on TCP's checksum.
    #[inline]
    #[must_use]
    pub fn l4_checksum(&self) -> Checked {
        Checked::l4(self.flags())
    }

    /// The device's hash of the flow, if it made one.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        let present = self.flags() & sys::USHER_RX_RSS_HASH != 0;
        present.then(|| self.read(sys::USHER_MBUF_HASH_RSS))
    }

    /// Asks the device to complete checksums when it sends: of the IPv4 header behind `l2` bytes, of TCP behind `l3`
    /// more. What was known of the received frame is forgotten.
    #[inline]
    pub fn request_checksums(
        &mut self,
        ipv4_header: bool,
        tcp: bool,
        l2: usize,
        l3: usize,
        v4: bool,
    ) {
        let mut flags = if v4 { sys::USHER_TX_IPV4 } else { sys::USHER_TX_IPV6 };
        if ipv4_header && v4 {
            flags |= sys::USHER_TX_IP_CKSUM;
        }
        if tcp {
            flags |= sys::USHER_TX_TCP_CKSUM;
        }
        // 127 and 511 bytes are what the fields hold; a header of ours is far shorter.
        let lengths = (l2 as u64 & 0x7f) | (l3 as u64 & 0x1ff) << sys::USHER_TX_L3_LEN_SHIFT;
        self.write(sys::USHER_MBUF_OL_FLAGS, flags);
        self.write(sys::USHER_MBUF_TX_OFFLOAD, lengths);
    }

    /// Forgets what was said of the received frame, so that it is not taken for a request when it is sent.
    #[inline]
    pub fn clear_flags(&mut self) {
        self.write(sys::USHER_MBUF_OL_FLAGS, 0_u64);
    }

    fn flags(&self) -> u64 {
        self.read(sys::USHER_MBUF_OL_FLAGS)
    }

    #[inline]
    fn data(&self) -> *mut u8 {
        let start: *mut u8 = self.read(sys::USHER_MBUF_BUF_ADDR);
        // SAFETY: DPDK keeps data_off within the buffer.
        unsafe { start.add(usize::from(self.read::<u16>(sys::USHER_MBUF_DATA_OFF))) }
    }

    /// Reads a field at an offset that the shim names; `T` is the field's type.
    #[inline]
    fn read<T: Field>(&self, offset: sys::usher_mbuf_offset) -> T {
        // SAFETY: the offset is offsetof a field of the struct, so it stays inside and is aligned.
        let field = unsafe { self.0.as_ptr().cast::<u8>().add(offset as usize) };
        // SAFETY: we own the buffer, so nobody writes the field meanwhile, and any bits are a `T`.
        unsafe { field.cast::<T>().read() }
    }

    /// Writes a field at an offset that the shim names; `T` is the field's type.
    #[inline]
    fn write<T: Field>(&mut self, offset: sys::usher_mbuf_offset, value: T) {
        // SAFETY: as in `read`.
        let field = unsafe { self.0.as_ptr().cast::<u8>().add(offset as usize) };
        // SAFETY: we own the buffer exclusively.
        unsafe { field.cast::<T>().write(value) };
    }
}

/// The types that mbuf fields have.
trait Field: Copy {}
impl Field for u16 {}
impl Field for u32 {}
impl Field for u64 {}
impl Field for *mut u8 {}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own the buffer, with all of its chain, and do not use it afterwards.
        unsafe { sys::usher_mbuf_free(self.0.as_ptr()) };
    }
}
