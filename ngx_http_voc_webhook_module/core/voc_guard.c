/* A SIGBUS inside a guarded copy jumps back out of it. */

#include <signal.h>
#include <stdatomic.h>

#include "voc_guard.h"

/* Initial-exec: the handler may not allocate thread-local storage. */
static __thread sigjmp_buf *volatile voc_guard_env
    __attribute__((tls_model("initial-exec")));

static void
voc_guard_handler(int signo, siginfo_t *info, void *context)
{
    sigjmp_buf *env = voc_guard_env;

    (void)context;

    if (env != NULL && info->si_code > 0) {
        voc_guard_env = NULL;
        siglongjmp(*env, 1);
    }

    /* A fault happens again on return; a signal someone sent does not. */
    signal(signo, SIG_DFL);
    if (info->si_code <= 0) {
        raise(signo);
    }
}

int
voc_guard_install(void)
{
    struct sigaction action;

    /* Ours, unless someone has put another one in its place. */
    if (sigaction(SIGBUS, NULL, &action) == -1) {
        return -1;
    }
    if ((action.sa_flags & SA_SIGINFO) &&
        action.sa_sigaction == voc_guard_handler) {
        return 0;
    }

    memset(&action, 0, sizeof(action));
    action.sa_sigaction = voc_guard_handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);

    return sigaction(SIGBUS, &action, NULL);
}

/* SA_NODEFER: the signal mask is as it was, so the guard has none. */
int
voc_guard_set(voc_guard_t *guard)
{
    voc_guard_env = &guard->env;
    atomic_signal_fence(memory_order_seq_cst);

    return 0;
}

void
voc_guard_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    voc_guard_env = NULL;
}

int
voc_guard_copy(void *to, const void *from, size_t size)
{
    voc_guard_t guard;

    if (voc_guard_enter(&guard) == -1) {
        return -1;
    }

    memcpy(to, from, size);
    voc_guard_leave();

    return 0;
}
