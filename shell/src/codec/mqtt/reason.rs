//! Reason codes of MQTT 5 (§2.4), which also name what is wrong inside this codec.

/// Why a packet, or the connection, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Malformed = 0x81,
    Protocol = 0x82,
    Implementation = 0x83,
    ClientId = 0x85,
    BadCredentials = 0x86,
    NotAuthorized = 0x87,
    Busy = 0x89,
    ShuttingDown = 0x8b,
    BadAuthentication = 0x8c,
    KeepAlive = 0x8d,
    TopicName = 0x90,
    TopicAlias = 0x94,
    TooLarge = 0x95,
    Quota = 0x97,
    Retain = 0x9a,
    QualityOfService = 0x9b,
}

impl Code {
    /// Whether the client broke a rule, and not just met a limit.
    pub(super) const fn is_violation(self) -> bool {
        !matches!(
            self,
            Self::Implementation
                | Self::NotAuthorized
                | Self::Busy
                | Self::ShuttingDown
                | Self::Quota
        )
    }
}
