//! One macro for the closed unions of the wire: a name, and one struct a name.
//!
//! The list of names is the list of features, so every union is declared in one place and gets the
//! same things: `name()`, `NAMES`, `schemas()`, `decode_body()` and `encode_body()`.

/// Declares a union whose variants are `"name" => Variant(Struct)`.
macro_rules! tagged {
    (
        $(#[$meta:meta])*
        pub enum $union:ident {
            $( $(#[$vmeta:meta])* $name:literal => $variant:ident($body:ty), )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $union {
            $( $(#[$vmeta])* $variant($body), )+
        }

        impl $union {
            /// Every name of this union, in declaration order.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name that goes on the wire.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $( Self::$variant(_) => $name, )+ }
            }

            /// The JSON Schema of each body, by name.
            #[must_use]
            pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$( ($name, schemars::schema_for!($body)) ),+]
            }

            /// Reads the body of `name`; `Ok(None)` when the name is not known here.
            pub(crate) fn decode_body(
                name: &str,
                body: &str,
            ) -> Result<Option<Self>, serde_json::Error> {
                Ok(Some(match name {
                    $( $name => Self::$variant(serde_json::from_str::<$body>(body)?), )+
                    _ => return Ok(None),
                }))
            }

            /// Appends the body as one JSON object.
            pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
                let written = match self {
                    $( Self::$variant(body) => serde_json::to_writer(out, body), )+
                };
                written.expect("wire types have string keys and write to memory");
            }
        }

        $(
            impl From<$body> for $union {
                fn from(body: $body) -> Self { Self::$variant(body) }
            }
        )+
    };
}

pub(crate) use tagged;
