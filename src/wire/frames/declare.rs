//! What makes a frame of its declaration: the type, and how it is read and written.

/// Declares an object. A field is `name "nameOnTheWire": Type`, with `[MAX]` behind it where a text or a
/// list has a limit, and with `= DEFAULT` where it is left out if it is that. The fields are written in
/// this order.
macro_rules! object {
    ($a:lifetime; $(#[$meta:meta])* $vis:vis struct $object:ident $(<$b:lifetime>)? {
        $(
            $(#[$doc:meta])*
            $field:ident $name:literal: $type:ty $([$max:expr])? $(= $default:expr)?,
        )*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $object $(<$b>)? {
            $($(#[$doc])* $vis $field: $type,)*
        }

        impl<$a> Object<$a> for $object $(<$b>)? {
            fn take(fields: &Fields<$a>) -> Result<Self> {
                Ok(Self {
                    $($field: fields.take(
                        $name,
                        usize::MAX $(.min($max))?,
                        None $(.or(Some($default)))?,
                    )?,)*
                })
            }

            fn put(&self, out: &mut Writer) {
                $(out.put($name, &self.$field, None $(.or(Some($default)))?);)*
            }
        }
    };
}

/// Declares the frames of one direction: by what each is told from those after it (`ToldBy`) and with
/// which key, and then what is in it, an object or fields.
macro_rules! frames {
    ($a:lifetime; $(#[$meta:meta])* pub enum $frame:ident {
        $(
            $(#[$doc:meta])*
            $told:ident $key:literal => $variant:ident $(($inner:ident: $object:ty))? $({
                $(
                    $(#[$field_doc:meta])*
                    $field:ident $name:literal: $type:ty $([$max:expr])?,
                )*
            })?,
        )*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $frame<$a> {
            $($(#[$doc])* $variant $(($object))? $({ $($(#[$field_doc])* $field: $type,)* })?,)*
        }

        impl<$a> $frame<$a> {
            /// Reads a frame; none if it is one that is not known.
            ///
            /// # Errors
            /// [`FrameError`]; then the connection is to be closed.
            pub fn decode(text: &$a str) -> Result<Option<Self>> {
                let mut fields = Fields::of_frame(text)?;
                $(if fields.are_told(ToldBy::$told, $key)? {
                    return Ok(Some(Self::$variant $((<$object>::take(&fields)?))? $({
                        $($field: fields.take($name, usize::MAX $(.min($max))?, None)?,)*
                    })?));
                })*
                Ok(None)
            }

            /// The text of the frame. A body that is no JSON makes a text that is none.
            #[must_use]
            pub fn text(&self) -> String {
                let mut out = Writer::frame();
                match self {
                    $(Self::$variant $(($inner))? $({ $($field,)* })? => {
                        out.tell(ToldBy::$told, $key);
                        $($inner.put(&mut out);)?
                        $($(out.put($name, $field, None);)*)?
                    })*
                }
                out.text()
            }
        }
    };
}

pub(super) use {frames, object};
