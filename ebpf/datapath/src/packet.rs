use crate::Difference;

/// How the checksum of layer 4 follows a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer4Sum {
    /// The change is one of the pseudo header: where the sum is left to the device, only that
    /// part of it is in the packet.
    pub pseudo_header: bool,
    /// UDP over IPv4: zero means that there is no sum and stays so (RFC 768).
    pub zero_is_none: bool,
    /// UDP: a sum that comes to zero is written as ones (RFC 768, RFC 8200 §8.1).
    pub never_zero: bool,
}

/// A frame, from its Ethernet header on. Each write returns whether it was possible: the buffer
/// of a kernel can refuse.
pub trait Packet {
    /// `None` where the frame ends before.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// `in_sum`: the bytes count in the sum that a device has taken over the whole packet, and no
    /// header checksum makes up for the change (the addresses of IPv6).
    #[must_use]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N], in_sum: bool) -> bool;

    /// Mends the IPv4 header checksum at `offset`.
    #[must_use]
    fn mend_layer3(&mut self, offset: u32, difference: Difference) -> bool;

    /// Mends the TCP or UDP checksum at `offset`.
    #[must_use]
    fn mend_layer4(&mut self, offset: u32, difference: Difference, sum: Layer4Sum) -> bool;

    /// Cuts or lengthens the frame at its end.
    #[must_use]
    fn resize(&mut self, length: u32) -> bool;
}
