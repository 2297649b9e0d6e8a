use ebpf_abi::Counter;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None of ours: the stack has it as it came.
    Pass,
    /// Translated, and routed by the stack under the service mark.
    Deliver,
    /// Translated, one hop spent, and routed by the program past the stack, which would take a
    /// packet from one of its own addresses for a spoofed one (RFC 1812 §5.3.8). The caller's tuple
    /// is the translated one.
    Forward,
    /// Turned into a refusal, which goes back by the way it came.
    Return,
    Drop(Counter),
}
