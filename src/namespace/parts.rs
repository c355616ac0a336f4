//! [`KeyParts`]: the types that a name can be created from.

use std::fmt::Display;

/// The parts of a name after the tenant: a string, a tuple of one to six `Display` values, or a list of them.
///
/// ```
/// # fn names(ctx: &tenancy::TenantContext, id: uuid::Uuid, path: &str) -> tenancy::Result<()> {
/// ctx.key("settings")?;
/// ctx.key(("order", id))?;
/// ctx.object_path(path.split('/').collect::<Vec<_>>())?;
/// # Ok(()) }
/// ```
///
/// Implement it for a type of your own by passing on its parts:
///
/// ```
/// use std::fmt::Display;
/// use tenancy::namespace::KeyParts;
///
/// struct OrderId(i64);
///
/// impl KeyParts for OrderId {
///     fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
///         ("order", self.0).each(part);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a name cannot be created from `{Self}`",
    label = "expected a string, a tuple or a list",
    note = "for a single value that is not a string, pass a tuple that names its kind: `ctx.key((\"order\", id))`"
)]
pub trait KeyParts {
    /// Calls `part` with each part, in order.
    fn each(&self, part: &mut dyn FnMut(&dyn Display));
}

impl KeyParts for str {
    fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
        part(&self);
    }
}

impl KeyParts for String {
    fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
        part(self);
    }
}

impl<T: Display> KeyParts for [T] {
    fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
        for text in self {
            part(text);
        }
    }
}

impl<T: Display> KeyParts for Vec<T> {
    fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
        self.as_slice().each(part);
    }
}

impl<P: KeyParts + ?Sized> KeyParts for &P {
    fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
        (**self).each(part);
    }
}

macro_rules! tuple {
    ($($name:ident)+) => {
        impl<$($name: Display),+> KeyParts for ($($name,)+) {
            fn each(&self, part: &mut dyn FnMut(&dyn Display)) {
                #[expect(non_snake_case, reason = "the names of the types serve as those of the values")]
                let ($($name,)+) = self;
                $(part($name);)+
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
