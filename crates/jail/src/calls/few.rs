//! The calls a fence makes once it is set up.
//!
//! It talks over sockets and descriptors it has or is handed, maps memory, waits, and starts threads.
//! It opens no file, binds no address, starts no program and signals nobody else.

use super::{Rules, argument, argument_is};

/// Calls allowed whatever their arguments.
const ALWAYS: &[i64] = &[
    // Messages and bytes over descriptors it has.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_pipe2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_restart_syscall,
    // Memory, none of it executable (see below).
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    // Threads and signals of its own.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // What it is.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// `prctl` commands that name a thread or a piece of memory.
const PRCTL: &[i32] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// `ioctl` commands that ask a descriptor what it is, or that it should not block.
const IOCTL: &[u64] =
    &[0x5401 /* TCGETS */, 0x5413 /* TIOCGWINSZ */, 0x5421 /* FIONBIO */];

pub(super) fn rules() -> Result<Rules, String> {
    let mut rules: Rules = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![argument(2, executable, 0)?]);
    }
    let unix = u64::from(libc::AF_UNIX.unsigned_abs());
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(call, vec![argument_is(0, unix)?]);
    }
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, vec![argument(0, thread, thread)?]);
    // A signal to itself: how a program that finds itself broken ends.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![argument_is(0, own)?]);
    // Placing the thread that asks, which it does by the id 0.
    rules.insert(libc::SYS_sched_setaffinity, vec![argument_is(0, 0)?]);
    // Asking about a limit, not setting it: the new one is a null pointer.
    rules.insert(libc::SYS_prlimit64, vec![argument_is(2, 0)?]);
    let of_prctl = PRCTL.iter().map(|command| argument_is(0, u64::from(command.unsigned_abs())));
    rules.insert(libc::SYS_prctl, of_prctl.collect::<Result<_, _>>()?);
    let of_ioctl = IOCTL.iter().map(|command| argument_is(1, *command));
    rules.insert(libc::SYS_ioctl, of_ioctl.collect::<Result<_, _>>()?);
    Ok(rules)
}
