use std::fmt::Display;

/// What a name is made of, beside its tenant: a text, a tuple of up to six things that have one, or a list.
///
/// ```
/// # fn names(ctx: &tenancy::TenantContext, id: uuid::Uuid, path: &str) -> tenancy::Result<()> {
/// ctx.key("settings")?;
/// ctx.key(("order", id))?;
/// ctx.object_path(path.split('/').collect::<Vec<_>>())?;
/// # Ok(()) }
/// ```
///
/// For a type of your own, hand on each of its parts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a name is made of",
    label = "needs a text, a tuple or a list",
    note = "of a single value that is no text, write a tuple that says what it is: `ctx.key((\"order\", id))`"
)]
pub trait KeyParts {
    /// Hands each part on, in order.
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
