//! The elements of a unique key, in the form in which two keys are compared.

/// Splits a key into its elements, sorted, in lower case, without spaces, quotes, parentheses and casts: PostgreSQL
/// prints `lower((email)::text)` for `lower(email)`.
pub(crate) fn key_elements(key: &str) -> Vec<String> {
    let (mut elements, mut depth, mut cast) = (vec![String::new()], 0_usize, false);
    let mut chars = key.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                cast = true;
                continue;
            }
            _ if cast && (c.is_alphanumeric() || c == '_') => continue,
            _ => {}
        }
        cast = false;
        match elements.last_mut() {
            _ if c == ',' && depth == 0 => elements.push(String::new()),
            Some(last) if !c.is_whitespace() && !"()\"`".contains(c) => last.push(c.to_ascii_lowercase()),
            _ => {}
        }
    }
    elements.sort_unstable();
    elements
}
