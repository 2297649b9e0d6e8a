use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_ENFORCE, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{
        bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
};
use ebpf_datapath::{Difference, Layer4Sum, Packet};

/// A socket buffer, reached through helpers: they follow whatever form its data have, and mend
/// sums as the device wants them.
pub struct Frame {
    skb: *mut __sk_buff,
}

impl Frame {
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }
}

// SAFETY of the calls below: the buffer is the one the program was called with, and the bytes are
// arrays of exactly the length that is told.
impl Packet for Frame {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let result = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        (result == 0).then(|| unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N], in_sum: bool) -> bool {
        let flags = if in_sum { u64::from(BPF_F_RECOMPUTE_CSUM) } else { 0 };
        let from = bytes.as_ptr().cast();
        unsafe { bpf_skb_store_bytes(self.skb, offset, from, N as u32, flags) == 0 }
    }

    #[inline(always)]
    fn mend_layer3(&mut self, offset: u32, difference: Difference) -> bool {
        let folded = u64::from(difference.folded());
        unsafe { bpf_l3_csum_replace(self.skb, offset, 0, folded, 0) == 0 }
    }

    #[inline(always)]
    fn mend_layer4(&mut self, offset: u32, difference: Difference, sum: Layer4Sum) -> bool {
        let mut flags = 0;
        if sum.pseudo_header {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        if sum.never_zero {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
            if !sum.zero_is_none {
                flags |= u64::from(BPF_F_MARK_ENFORCE);
            }
        }
        let folded = u64::from(difference.folded());
        unsafe { bpf_l4_csum_replace(self.skb, offset, 0, folded, flags) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> bool {
        unsafe { bpf_skb_change_tail(self.skb, length, 0) == 0 }
    }
}
