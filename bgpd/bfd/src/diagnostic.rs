use std::fmt;

macro_rules! diagnostics {
    ($($code:literal => $name:ident, $text:literal;)*) => {
        /// Why a session left its last state (RFC 5880 §4.1). Codes without a name survive a round
        /// trip in [`Self::Unknown`]; there are five bits of them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Diagnostic {
            #[default]
            $(#[doc = $text] $name,)*
            Unknown(u8),
        }

        impl Diagnostic {
            /// Only the lower five bits are looked at.
            pub const fn from_code(code: u8) -> Self {
                match code & 0x1f {
                    $($code => Self::$name,)*
                    code => Self::Unknown(code),
                }
            }

            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code & 0x1f,
                }
            }
        }

        impl fmt::Display for Diagnostic {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.pad($text),)*
                    Self::Unknown(code) => write!(f, "unknown diagnostic {code}"),
                }
            }
        }
    };
}

diagnostics! {
    0 => NoDiagnostic, "no diagnostic";
    1 => ControlDetectionTimeExpired, "control detection time expired";
    2 => EchoFunctionFailed, "echo function failed";
    3 => NeighborSignaledSessionDown, "neighbor signaled session down";
    4 => ForwardingPlaneReset, "forwarding plane reset";
    5 => PathDown, "path down";
    6 => ConcatenatedPathDown, "concatenated path down";
    7 => AdministrativelyDown, "administratively down";
    8 => ReverseConcatenatedPathDown, "reverse concatenated path down";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives() {
        for code in 0..32 {
            assert_eq!(Diagnostic::from_code(code).code(), code);
        }
        assert_eq!(Diagnostic::from_code(0xe1), Diagnostic::ControlDetectionTimeExpired);
    }
}
