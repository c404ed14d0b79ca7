#include "base/bug.h"
#include "store/store_in.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* Signals are for the loops. */
void store_thread_start(pthread_t *thread_out, const char *name, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread_out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == EAGAIN)
        out_of_memory();
    if (error != 0)
        bug("pthread_create: %s", strerror(error));
    pthread_setname_np(*thread_out, name);
}
