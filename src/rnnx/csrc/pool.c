/* A queue of runs, guarded by one lock. A run is on its caller's stack; whoever holds the lock takes its next part.
 * Callers never wait for a part that nobody has begun, so no number of workers, not even none, can block them. */
#include "pool.h"

#include <stddef.h>

#if defined(_WIN32)
#include <windows.h>
static SRWLOCK lock = SRWLOCK_INIT;
static CONDITION_VARIABLE work = CONDITION_VARIABLE_INIT, done = CONDITION_VARIABLE_INIT;
#define LOCK() AcquireSRWLockExclusive(&lock)
#define UNLOCK() ReleaseSRWLockExclusive(&lock)
#define WAIT(condition) SleepConditionVariableSRW(&condition, &lock, INFINITE, 0)
#define WAKE_ALL(condition) WakeAllConditionVariable(&condition)
#else
#include <pthread.h>
#include <signal.h>
#include <time.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
#define LOCK() pthread_mutex_lock(&lock)
#define UNLOCK() pthread_mutex_unlock(&lock)
#define WAIT(condition) pthread_cond_wait(&condition, &lock)
#define WAKE_ALL(condition) pthread_cond_broadcast(&condition)
#endif

typedef struct run {
    rx_task task;
    void *context;
    int parts, begun, finished;
    struct run *next;
#if !defined(_WIN32)
    pthread_t caller;
    double caller_done; /* when the caller found no part left to begin */
#endif
} run;

static run *queue;      /* runs that have parts left to begin, oldest first */
static int workers;     /* threads started */
static int computing;   /* callers and workers inside a call */
static rx_region lent;  /* what runs parts instead of workers */
#if !defined(_WIN32)
static double crowded_until; /* seconds of the clock below; until then workers run parts all the same */
#define CROWDED_FOR 1.0
#define PATIENCE 200e-6 /* what a team may keep its caller waiting beyond the time that the caller took for its parts */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#endif

/* Take the next part of a run off the queue and compute it. The lock is held before and after. */
static void compute_one(run *r) {
    const int part = r->begun++;
    if (r->begun == r->parts) {
        run **link = &queue;
        while (*link != r) link = &(*link)->next;
        *link = r->next;
    }
    UNLOCK();
    r->task(r->context, part);
    LOCK();
    if (++r->finished == r->parts) WAKE_ALL(done);
}

#if defined(_WIN32)
static DWORD WINAPI worker(void *unused)
#else
static void *worker(void *unused)
#endif
{
    (void)unused;
    LOCK();
    for (;;) {
        while (queue == NULL) WAIT(work);
        ++computing;
        compute_one(queue);
        --computing;
    }
    return 0;
}

#if defined(_WIN32)
static int start_worker(void) {
    HANDLE thread = CreateThread(NULL, 0, worker, NULL, 0, NULL);
    if (thread == NULL) return 0;
    CloseHandle(thread);
    return 1;
}
#else
/* The child of a fork has only the thread that forked: the pool begins anew. */
static void forget_workers(void) {
    lent = NULL;
    queue = NULL;
    workers = computing = 0;
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work, NULL);
    pthread_cond_init(&done, NULL);
}

static void watch_forks(void) {
    static int watching;
    if (!watching) watching = pthread_atfork(NULL, NULL, forget_workers) == 0;
}

/* Signals stay with the threads of the caller's program. */
static int start_worker(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed;
    watch_forks();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&thread, &attributes, worker, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

/* On every thread of a region, which may have any number of them: parts, as long as there are some. */
static void take_parts(void *data) {
    run *r = data;
    const int helps = !pthread_equal(pthread_self(), r->caller);
    LOCK();
    computing += helps;
    while (r->begun < r->parts) {
        const int part = r->begun++;
        UNLOCK();
        r->task(r->context, part);
        LOCK();
    }
    computing -= helps;
    UNLOCK();
    if (!helps) r->caller_done = now();
}

static void run_on_team(run *r, rx_region region) {
    const double begin = now();
    double end;
    r->caller = pthread_self();
    region(take_parts, r, 0, 0); /* a team of the size that the library's own regions have, so that it is kept */
    end = now();
    if (end - r->caller_done > r->caller_done - begin + PATIENCE) {
        LOCK();
        crowded_until = end + CROWDED_FOR;
        UNLOCK();
    }
}
#endif

void rx_pool_lend(rx_region region) {
#if defined(_WIN32)
    (void)region;
#else
    LOCK();
    watch_forks();
    lent = region;
    crowded_until = 0;
    UNLOCK();
#endif
}

int rx_pool_enter(int wanted) {
    int parts;
    LOCK();
    ++computing;
    parts = wanted - computing + 1;
    UNLOCK();
    return parts < 1 ? 1 : parts > RX_MAX_PARTS ? RX_MAX_PARTS : parts;
}

void rx_pool_leave(void) {
    LOCK();
    --computing;
    UNLOCK();
}

int rx_pool_busy(void) {
    int busy;
    LOCK();
    busy = computing;
    UNLOCK();
    return busy;
}

void rx_pool_run(rx_task task, void *context, int parts) {
    run r = {.task = task, .context = context, .parts = parts}, **link = &queue;
    if (parts <= 1) {
        if (parts == 1) task(context, 0);
        return;
    }
    LOCK();
#if !defined(_WIN32)
    if (lent != NULL && now() >= crowded_until) {
        const rx_region region = lent;
        UNLOCK();
        run_on_team(&r, region);
        return;
    }
#endif
    while (workers < parts - 1 && start_worker()) ++workers;
    while (*link != NULL) link = &(*link)->next;
    *link = &r;
    WAKE_ALL(work);
    while (r.begun < parts) compute_one(&r);
    while (r.finished < parts) WAIT(done);
    UNLOCK();
}
