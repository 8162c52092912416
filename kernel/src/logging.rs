use core::fmt::Write;
struct L;
impl log::Log for L {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, r: &log::Record<'_>) {
        let _ = writeln!(crate::console::Writer, "[{:?}] {}", r.level(), r.args());
    }
    fn flush(&self) {}
}
pub fn init() {
    let _ = log::set_logger(&L);
    log::set_max_level(log::LevelFilter::Info);
}
pub fn set_level(l: log::LevelFilter) {
    log::set_max_level(l)
}
