//! Decisions from random bytes. When the bytes run out every decision is the first and simplest, so
//! that generators end and failing cases shrink.

/// The bytes that are left.
pub struct Entropy<'b>(&'b [u8]);

impl<'b> Entropy<'b> {
    /// Decides by `bytes`.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Up to `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head.to_vec()
    }

    /// A number below `bound`, which is at most 65,536.
    pub fn below(&mut self, bound: usize) -> usize {
        let high = if bound > 256 { usize::from(self.byte()) } else { 0 };
        (high << 8 | usize::from(self.byte())) % bound
    }

    /// True once in `n` times, and never without bytes.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of `choices`.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// An integer: small, of any width, or at an end.
    pub fn integer(&mut self) -> i64 {
        match self.below(4) {
            0 => self.byte() as i8 as i64,
            1 => self.pick(&[i64::MAX, i64::MIN, i64::from(i32::MAX), i64::from(i32::MIN), -1]),
            _ => {
                let width = self.below(8) + 1;
                let bytes = self.bytes(width);
                bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
            }
        }
    }

    /// Text of a few characters: of all widths, invisible, turning the direction, controls.
    pub fn text(&mut self) -> String {
        const ODD: [char; 12] = [
            '\0', '\n', '"', '\\', '\u{7f}', '\u{200b}', '\u{202e}', '\u{feff}', 'ß', '№', '字',
            '😀',
        ];
        let len = self.below(12);
        (0..len)
            .map(|_| match self.byte() {
                byte @ 0..=191 => char::from(b' ' + byte % 95),
                byte => ODD[usize::from(byte) % ODD.len()],
            })
            .collect()
    }
}
