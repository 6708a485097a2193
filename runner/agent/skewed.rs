//! The code that goes into a vDSO: it asks the kernel for the time and adds the skew.
//!
//! It keeps to the rules of a C function, uses no memory but its parameters and a few words of stack, and calls
//! nothing outside of itself, so it runs wherever it is copied. Asking the kernel costs some hundred nanoseconds more
//! than the vDSO does.

/// What the code is told, at its beginning; all of it in nanoseconds of the clock itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Added to clocks of the first kind (the time of day).
    pub real: Skew,
    /// Added to clocks of the second kind (time since boot).
    pub monotonic: Skew,
    /// Clocks of the first kind, a bit each by the kernel's number.
    pub real_clocks: u64,
    /// Clocks of the second kind.
    pub monotonic_clocks: u64,
    /// Whose it is, for whoever takes it back.
    pub owner: u64,
}

/// What is added to a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// At once.
    pub offset_ns: i64,
    /// Since when it drifts, by that clock.
    pub since_ns: i64,
    /// By how much, in parts of 2³².
    pub drift: i64,
}

/// Words of parameters.
const WORDS: usize = 9;

impl Parameters {
    fn words(&self) -> [i64; WORDS] {
        [
            self.real.offset_ns,
            self.real.since_ns,
            self.real.drift,
            self.monotonic.offset_ns,
            self.monotonic.since_ns,
            self.monotonic.drift,
            self.real_clocks.cast_signed(),
            self.monotonic_clocks.cast_signed(),
            self.owner.cast_signed(),
        ]
    }

    /// The code with these parameters in it; empty where there is none for this processor.
    pub fn written(&self) -> Vec<u8> {
        let Ok(Code { bytes, .. }) = code() else { return Vec::new() };
        let mut bytes = bytes.to_vec();
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.words()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The parameters at the beginning of code that was written.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut words =
            bytes.chunks_exact(8).map(|word| i64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut next = || words.next();
        Some(Self {
            real: Skew { offset_ns: next()?, since_ns: next()?, drift: next()? },
            monotonic: Skew { offset_ns: next()?, since_ns: next()?, drift: next()? },
            real_clocks: next()?.cast_unsigned(),
            monotonic_clocks: next()?.cast_unsigned(),
            owner: next()?.cast_unsigned(),
        })
    }
}

/// The code, and where in it the functions begin that stand in for those of the vDSO.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Parameters first, all zero.
    pub bytes: &'static [u8],
    /// The vDSO's name of a function, and where ours begins.
    pub functions: [(&'static str, usize); 3],
}

/// The code for this processor.
///
/// # Errors
/// There is none, for people.
#[cfg(target_arch = "x86_64")]
pub fn code() -> Result<Code, String> {
    let address = |symbol: &u8| std::ptr::from_ref(symbol).addr();
    // SAFETY: the symbols are bytes of one read-only object that the assembly below defines, from `start` up to, not
    // including, `end`. Nothing runs them here.
    unsafe {
        let (start, end) = (&raw const chaos_skew_start, &raw const chaos_skew_end);
        let bytes = std::slice::from_raw_parts(start, end.addr() - start.addr());
        let within = |symbol: &u8| address(symbol) - start.addr();
        Ok(Code {
            bytes,
            functions: [
                ("__vdso_clock_gettime", within(&chaos_skew_clock_gettime)),
                ("__vdso_gettimeofday", within(&chaos_skew_gettimeofday)),
                ("__vdso_time", within(&chaos_skew_time)),
            ],
        })
    }
}

/// The code for this processor.
///
/// # Errors
/// There is none.
#[cfg(not(target_arch = "x86_64"))]
pub fn code() -> Result<Code, String> {
    Err("clocks can be skewed on x86-64 only, and this is another processor".into())
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    static chaos_skew_start: u8;
    static chaos_skew_clock_gettime: u8;
    static chaos_skew_gettimeofday: u8;
    static chaos_skew_time: u8;
    static chaos_skew_end: u8;
}

// Numbers of system calls: 228 clock_gettime, 96 gettimeofday. A system call keeps every register but rax, rcx and r11;
// a function may use rdx, rsi, rdi and r8 to r10 besides.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    r#"
    .pushsection .rodata.chaos_skew, "a", @progbits
    .balign 16
    .hidden chaos_skew_start, chaos_skew_clock_gettime, chaos_skew_gettimeofday, chaos_skew_time, chaos_skew_end
    .globl chaos_skew_start, chaos_skew_clock_gettime, chaos_skew_gettimeofday, chaos_skew_time, chaos_skew_end
chaos_skew_start:
.Lskew_real:
    .quad 0, 0, 0
.Lskew_monotonic:
    .quad 0, 0, 0
.Lskew_real_clocks:
    .quad 0
.Lskew_monotonic_clocks:
    .quad 0
    .quad 0

    # rax: nanoseconds of a clock, skewed by what r10 points to. No call: it would leave addresses of ours on stacks.
    .macro CHAOS_SKEW_ADD
    mov r8, rax
    sub rax, [r10 + 8]
    imul qword ptr [r10 + 16]
    shrd rax, rdx, 32
    add rax, r8
    add rax, [r10]
    .endm

    .balign 8
chaos_skew_clock_gettime:
    endbr64
    mov eax, 228
    syscall
    test eax, eax
    jne 9f
    cmp edi, 31
    ja 9f
    mov edx, edi
    lea r10, [rip + .Lskew_real]
    mov rcx, [rip + .Lskew_real_clocks]
    bt rcx, rdx
    jc 2f
    lea r10, [rip + .Lskew_monotonic]
    mov rcx, [rip + .Lskew_monotonic_clocks]
    bt rcx, rdx
    jc 2f
    ret
2:
    mov rax, [rsi]
    imul rax, rax, 1000000000
    add rax, [rsi + 8]
    CHAOS_SKEW_ADD
    cqo
    mov ecx, 1000000000
    idiv rcx
    mov [rsi], rax
    mov [rsi + 8], rdx
    xor eax, eax
9:
    ret

    .balign 8
chaos_skew_gettimeofday:
    endbr64
    mov eax, 96
    syscall
    test eax, eax
    jne 9f
    test rdi, rdi
    je 9f
    lea r10, [rip + .Lskew_real]
    mov rax, [rdi]
    imul rax, rax, 1000000
    add rax, [rdi + 8]
    imul rax, rax, 1000
    CHAOS_SKEW_ADD
    cqo
    mov ecx, 1000
    idiv rcx
    cqo
    mov ecx, 1000000
    idiv rcx
    mov [rdi], rax
    mov [rdi + 8], rdx
    xor eax, eax
9:
    ret

    .balign 8
chaos_skew_time:
    endbr64
    mov r9, rdi
    sub rsp, 24
    xor edi, edi
    mov rsi, rsp
    mov eax, 228
    syscall
    mov rax, [rsp]
    imul rax, rax, 1000000000
    add rax, [rsp + 8]
    add rsp, 24
    lea r10, [rip + .Lskew_real]
    CHAOS_SKEW_ADD
    cqo
    mov ecx, 1000000000
    idiv rcx
    test r9, r9
    je 9f
    mov [r9], rax
9:
    ret
    .balign 8
chaos_skew_end:
    .purgem CHAOS_SKEW_ADD
    .popsection
"#
);

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_were_written() {
        let parameters = Parameters {
            real: Skew { offset_ns: -5, since_ns: 6, drift: 7 },
            monotonic: Skew { offset_ns: 8, since_ns: 9, drift: -10 },
            real_clocks: 0b10_0001,
            monotonic_clocks: 0b101_0010,
            owner: u64::MAX,
        };
        assert_eq!(Parameters::read(&parameters.written()), Some(parameters));
        assert_eq!(code().unwrap().bytes[..WORDS * 8], [0; WORDS * 8]);
        assert_eq!(parameters.written().len() % 8, 0);
    }
}
