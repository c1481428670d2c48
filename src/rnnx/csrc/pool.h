/* Worker threads that share the parts of a call. */
#ifndef RNNX_POOL_H
#define RNNX_POOL_H

#define RX_MAX_PARTS 64

/* For programs that look at the libraries of a process, as threadpoolctl does. */
#if defined(_WIN32)
#define RX_PUBLIC __declspec(dllexport)
#else
#define RX_PUBLIC __attribute__((visibility("default")))
#endif

typedef void (*rx_task)(void *context, int part);

/* How many parts to cut a call into that may use `wanted` threads: fewer when other calls are computing, so that
 * all of them together use `wanted` threads at most. Every call of this is paired with one of rx_pool_leave. */
int rx_pool_enter(int wanted);
void rx_pool_leave(void);

/* Threads that are computing now, callers and workers. */
RX_PUBLIC int rx_pool_busy(void);

/* A parallel region of OpenMP as GCC calls it (`GOMP_parallel`): body(data) on the calling thread and on those of its
 * team, as many as OpenMP is set to where `threads` is 0; returns when all have. */
typedef void (*rx_region)(void (*body)(void *), void *data, unsigned threads, unsigned flags);

/* From now on parts are run by the threads of such a region, and no workers are started; NULL: by workers again. The
 * threads of a library that shares the process wait for its next region busily, for milliseconds: workers beside them
 * would get half a processor each. But a region waits for all threads of its team, also for those that a crowded machine
 * does not let run: after that has happened, workers do the work for a second. The child of a fork, which OpenMP cannot
 * serve, has workers of its own. */
void rx_pool_lend(rx_region region);

/* task(context, p) for every p < parts, on the calling thread and on workers; returns when all are done. Workers are
 * started when first needed. After a fork the child starts its own. Where no thread can be started, the caller does
 * all the work. */
void rx_pool_run(rx_task task, void *context, int parts);

#endif
