//! Tags and sizes of objects.

use super::*;

#[test]
fn sizes_are_uniform_in_their_logarithm() {
    let mut random = Random::new(1);
    let sizes: Vec<u32> = (0..100_000).map(|_| mixed_size(&mut random)).collect();
    assert!(sizes.iter().all(|&size| (16..=2048).contains(&size) && size.is_multiple_of(8)));
    for power in 4..11 {
        let within = sizes.iter().filter(|&&size| (1 << power < size) && (size <= 2 << power)).count();
        // A seventh each, but for the steps of 8 B at the small end.
        assert!(power < 6 || (13_500..15_200).contains(&within), "2^{power}: {within}");
    }
    let mean = sizes.iter().map(|&size| f64::from(size)).sum::<f64>() / sizes.len() as f64;
    assert!((418.0..428.0).contains(&mean), "{mean}");
}
