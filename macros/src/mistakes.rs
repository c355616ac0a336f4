//! [`Mistakes`]: every mistake of an input, reported together.

use quote::ToTokens;

/// Collects every mistake of an input, so that they are reported together.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    pub(crate) fn add(&mut self, at: &impl ToTokens, text: &str) {
        self.take(Err(syn::Error::new_spanned(at, text)));
    }

    pub(crate) fn take(&mut self, result: syn::Result<()>) {
        if let Err(error) = result {
            match &mut self.0 {
                Some(all) => all.combine(error),
                None => self.0 = Some(error),
            }
        }
    }

    pub(crate) fn none(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
