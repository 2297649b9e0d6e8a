use ebpf_abi::Address;

/// By how much a change of words moves an internet checksum (RFC 1624): the ones' complement sum
/// of what comes, less what goes. The order of bytes does not matter so long as all words are
/// taken in the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u64);

impl Difference {
    #[inline(always)]
    pub fn word16(self, old: u16, new: u16) -> Self {
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    #[inline(always)]
    pub fn word32(self, old: u32, new: u32) -> Self {
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    /// The address as it stands in a header of its family.
    #[inline(always)]
    pub fn address(self, old: Address, new: Address) -> Self {
        let [old0, old1, old2, old3] = old.words_be;
        let [new0, new1, new2, new3] = new.words_be;
        // The upper words of two mapped addresses are equal and cancel out.
        self.word32(old0, new0).word32(old1, new1).word32(old2, new2).word32(old3, new3)
    }

    /// As the kernel's `__wsum`: 32 bits, carries folded in.
    #[inline(always)]
    pub fn folded(self) -> u32 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }

    /// The checksum after the change (RFC 1624 §3, equation 3).
    #[inline(always)]
    pub fn apply(self, checksum: u16) -> u16 {
        let folded = self.folded();
        !fold16(u32::from(!checksum) + (folded & 0xffff) + (folded >> 16))
    }
}

#[inline(always)]
fn fold16(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A sum built from nothing: for the packets that we write ourselves. All lengths are even.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u32);

impl Sum {
    #[inline(always)]
    pub(crate) fn bytes<const N: usize>(mut self, bytes: &[u8; N]) -> Self {
        let mut index = 0;
        while index + 1 < N {
            self.0 += u32::from(u16::from_be_bytes([bytes[index], bytes[index + 1]]));
            index += 2;
        }
        self
    }

    #[inline(always)]
    pub(crate) fn word(self, word: u16) -> Self {
        Self(self.0 + u32::from(word))
    }

    #[inline(always)]
    pub(crate) fn checksum(self) -> u16 {
        !fold16(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mending_equals_summing_again() {
        let old = [0x45_u8, 0, 0, 60, 0x1c, 0x46, 0x40, 0, 64, 6, 10, 0, 0, 1, 192, 168, 7, 9];
        let mut new = old;
        new[10..14].copy_from_slice(&[203, 0, 113, 255]);
        new[16..18].copy_from_slice(&[0xff, 0xff]);
        let difference = Difference::default()
            .word32(u32::from_be_bytes([10, 0, 0, 1]), u32::from_be_bytes([203, 0, 113, 255]))
            .word16(u16::from_be_bytes([7, 9]), 0xffff);
        let before = Sum::default().bytes(&old).checksum();
        assert_eq!(difference.apply(before), Sum::default().bytes(&new).checksum());
    }

    #[test]
    fn no_change_keeps_the_sum() {
        let difference = Difference::default().word32(7, 7).word16(0xabcd, 0xabcd);
        assert_eq!(difference.apply(0x1234), 0x1234);
    }
}
