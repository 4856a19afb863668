//! Settings that are one word out of a few.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every word.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What the word means, if it is one of them.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words!(
    /// Where the orders go.
    BrokerKind {
        /// The built-in broker: its own book, no money.
        Paper = "paper",
        /// Alpaca, its paper trading or the real one.
        Alpaca = "alpaca",
        /// Charles Schwab: money.
        Schwab = "schwab",
    }
);

words!(
    /// Which of Alpaca's two worlds.
    TradingMode {
        /// Its own paper trading.
        Paper = "paper",
        /// Money.
        Live = "live",
    }
);

words!(
    /// Whose quotes Alpaca gives.
    QuoteFeed {
        /// One exchange's.
        Iex = "iex",
        /// All exchanges'.
        Sip = "sip",
        /// All exchanges', a quarter of an hour late.
        DelayedSip = "delayed_sip",
    }
);

words!(
    /// Whose word opens a session.
    MarketHours {
        /// The broker's and the built-in calendar's.
        Agreed = "agreed",
        /// The broker's alone.
        Broker = "broker",
    }
);

words!(
    /// When the paper broker is open.
    PaperSessions {
        /// Around the clock.
        Always = "always",
        /// In the hours of the exchange.
        Nyse = "nyse",
    }
);

words!(
    /// How a line of the log looks.
    LogFormat {
        /// Text, coloured on a terminal.
        Auto = "auto",
        /// Text.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
);
