// Burns CPU time, 60 % in a(), 30 % in b(), 10 % in c(). Goes on until killed.
use std::hint::black_box;

#[inline(never)]
fn burn(turns: u32) {
    let mut sum = 0u32;
    for i in 0..turns {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
    }
}

mod inner {
    #[inline(never)]
    pub fn a<T: Into<u32>>(turns: T) {
        super::burn(turns.into());
        std::hint::black_box(());
    }
}

trait Burning {
    fn b(&self, turns: u32);
}

impl Burning for String {
    #[inline(never)]
    fn b(&self, turns: u32) {
        burn(turns);
        black_box(());
    }
}

mod größe {
    #[inline(never)]
    pub fn c(turns: u32) {
        super::burn(turns);
        std::hint::black_box(());
    }
}

fn main() {
    let name = std::env::args().nth(1).unwrap();
    std::fs::write("/proc/self/comm", name).unwrap();
    println!("burning");
    loop {
        inner::a(6_000_000u32);
        String::new().b(3_000_000);
        größe::c(1_000_000);
    }
}
