use std::fmt;

pub(crate) const OPTIONAL: u8 = 0x80;
pub(crate) const TRANSITIVE: u8 = 0x40;
pub(crate) const PARTIAL: u8 = 0x20;
pub(crate) const EXTENDED_LENGTH: u8 = 0x10;

const WELL_KNOWN: u8 = TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;
const OPTIONAL_NON_TRANSITIVE: u8 = OPTIONAL;

/// The type code of a path attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeType(pub u8);

macro_rules! attribute_types {
    ($($code:literal $constant:ident $flags:ident;)*) => {
        impl AttributeType {
            $(pub const $constant: Self = Self($code);)*

            /// The optional and transitive bits an attribute we know must have.
            pub(crate) const fn flags(self) -> Option<u8> {
                match self.0 {
                    $($code => Some($flags),)*
                    _ => None,
                }
            }

            /// The RFC's name.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($constant)),)*
                    _ => None,
                }
            }
        }
    };
}

// RFC 4271 §5; RFC 1997 (8); RFC 4456 §8 (9, 10); RFC 4760 §3, §4 (14, 15); RFC 4360 §2 (16);
// RFC 6793 §3 (17, 18); RFC 8092 §3 (32); RFC 9234 §5 (35).
attribute_types! {
    1 ORIGIN WELL_KNOWN;
    2 AS_PATH WELL_KNOWN;
    3 NEXT_HOP WELL_KNOWN;
    4 MULTI_EXIT_DISC OPTIONAL_NON_TRANSITIVE;
    5 LOCAL_PREF WELL_KNOWN;
    6 ATOMIC_AGGREGATE WELL_KNOWN;
    7 AGGREGATOR OPTIONAL_TRANSITIVE;
    8 COMMUNITIES OPTIONAL_TRANSITIVE;
    9 ORIGINATOR_ID OPTIONAL_NON_TRANSITIVE;
    10 CLUSTER_LIST OPTIONAL_NON_TRANSITIVE;
    14 MP_REACH_NLRI OPTIONAL_NON_TRANSITIVE;
    15 MP_UNREACH_NLRI OPTIONAL_NON_TRANSITIVE;
    16 EXTENDED_COMMUNITIES OPTIONAL_TRANSITIVE;
    17 AS4_PATH OPTIONAL_TRANSITIVE;
    18 AS4_AGGREGATOR OPTIONAL_TRANSITIVE;
    32 LARGE_COMMUNITY OPTIONAL_TRANSITIVE;
    35 ONLY_TO_CUSTOMER OPTIONAL_TRANSITIVE;
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "attribute {}", self.0),
        }
    }
}
