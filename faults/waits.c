/* libfaketime moves the clock, and the waits of pthread_cond_timedwait with it, but not those of C11's cnd_timedwait, by
   which librdkafka waits: an hour ahead, each of its waits would take an hour. So these go the way of the others. */
#include <errno.h>
#include <pthread.h>
#include <threads.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    int error = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}
