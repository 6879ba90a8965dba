// Stand-ins of libcudart and libnccl over the host's memory. A stream is a thread with a queue, stream 0 the caller itself, whose
// work is done when it returns. Ranks, threads or processes, meet in a file in /dev/shm, and wait for one another for ever
// unless aborted, as on a GPU. What NCCL forbids ends the process with a line.
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char* why) { fprintf(stderr, "stand-in: %s\n", why); fflush(stderr); abort(); }

// ---- CUDA

typedef struct Op { struct Op* next; void (*run)(struct Op*); void *to, *from; size_t count; struct Stream* stream; long place; } Op;
typedef struct Stream { pthread_t thread; Op *first, *last; long queued, done; int closing, ordered; } Stream;
typedef struct { Stream* stream; long place; } Event;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static atomic_int alive;

static void* work(void* argument)
{
    Stream* s = argument;
    pthread_mutex_lock(&lock);
    while (1)
    {
        while (s->first == NULL && !s->closing)
            pthread_cond_wait(&changed, &lock);
        Op* op = s->first;
        if (op == NULL)
            break;
        s->first = op->next;
        pthread_mutex_unlock(&lock);
        usleep(200); // late, so that who does not wait for it reads what was there before
        op->run(op);
        free(op);
        pthread_mutex_lock(&lock);
        s->done++;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void enqueue(Stream* s, Op op)
{
    Op* copy = malloc(sizeof op);
    *copy = op;
    copy->next = NULL;
    if (s->first == NULL) s->first = copy; else s->last->next = copy;
    s->last = copy;
    s->queued++;
    pthread_cond_broadcast(&changed);
}

static void await(Stream* s, long place) { while (s != NULL && s->done < place) pthread_cond_wait(&changed, &lock); }
static void run_wait(Op* op) { pthread_mutex_lock(&lock); await(op->stream, op->place); pthread_mutex_unlock(&lock); }
static void run_copy(Op* op) { memcpy(op->to, op->from, op->count); }

int cudaSetDevice(int index) { return index < 0 ? 101 : 0; }
int cudaMemGetInfo(size_t* available, size_t* total) { *available = *total = (size_t)1 << 33; return 0; }
int cudaHostRegister(void* memory, size_t bytes, unsigned flags) { alive++; return 0; }
int cudaHostUnregister(void* memory) { alive--; return 0; }
int cudaGetLastError(void) { return 0; }
const char* cudaGetErrorString(int error) { return "an error of the stand-in"; }

int cudaStreamCreateWithFlags(Stream** made, unsigned flags)
{
    alive++;
    *made = calloc(1, sizeof(Stream));
    return pthread_create(&(*made)->thread, NULL, work, *made);
}

int cudaStreamDestroy(Stream* s)
{
    pthread_mutex_lock(&lock);
    s->closing = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(s->thread, NULL);
    alive--;
    return 0; // not freed: events may know it
}

int cudaEventCreateWithFlags(Event** made, unsigned flags) { alive++; *made = calloc(1, sizeof(Event)); return 0; }
int cudaEventDestroy(Event* e) { alive--; free(e); return 0; }

int cudaEventRecord(Event* e, Stream* s)
{
    pthread_mutex_lock(&lock);
    e->stream = s;
    e->place = s == NULL ? 0 : s->queued;
    pthread_mutex_unlock(&lock);
    return 0;
}

int cudaStreamWaitEvent(Stream* s, Event* e, unsigned flags)
{
    pthread_mutex_lock(&lock);
    if (s == NULL)
        await(e->stream, e->place);
    else if (e->stream == NULL)
        s->ordered = 1;
    else
        enqueue(s, (Op){ .run = run_wait, .stream = e->stream, .place = e->place });
    pthread_mutex_unlock(&lock);
    return 0;
}

int cudaEventQuery(Event* e)
{
    pthread_mutex_lock(&lock);
    int result = e->stream == NULL || e->stream->done >= e->place ? 0 : 600;
    pthread_mutex_unlock(&lock);
    return result;
}

int cudaEventSynchronize(Event* e)
{
    pthread_mutex_lock(&lock);
    await(e->stream, e->place);
    pthread_mutex_unlock(&lock);
    return 0;
}

int cudaMemcpyAsync(void* to, void* from, size_t bytes, int kind, Stream* s)
{
    pthread_mutex_lock(&lock);
    enqueue(s, (Op){ .run = run_copy, .to = to, .from = from, .count = bytes });
    pthread_mutex_unlock(&lock);
    return 0;
}

// ---- NCCL

enum { CHUNK = 4096, MOST = 16, OK = 0, INVALID = 4, REMOTE = 6, PROGRESS = 7 };

typedef struct { char bytes[128]; } Id;
typedef struct { size_t size; unsigned magic, version; int blocking, cga, least, most; char* net; int split; } Config;
typedef struct { atomic_int arrived, connected, leaving, met, phase; float slots[MOST][CHUNK]; } Shared;
typedef struct { int magic, rank, count, calls, leaves; atomic_int busy, aborted, error, inflight; Shared* shared; char path[128]; } Comm;

static atomic_int fail_rank = -1, fail_after, exchanges[3];

// Test's: a rank's exchanges fail after some, with an error that NCCL finds out by itself.
void standin_fail(int rank, int after) { fail_rank = rank; fail_after = after; }
int standin_alive(void) { return alive; }
int standin_exchanges(int kind) { return exchanges[kind]; }

static Comm* enter(Comm* c)
{
    if (c == NULL || c->magic != 0x600d)
        die("a call with a communicator that is gone");
    if (atomic_exchange(&c->busy, 1))
        die("two calls with a communicator at once");
    return c;
}

static int leave(Comm* c, int result) { c->busy = 0; return result; }

static int state(Comm* c)
{
    if (c->error) return c->error;
    return c->shared->arrived < c->count || (c->calls > 0 && c->shared->connected < c->count) || (c->leaves && c->shared->leaving < c->count) ? PROGRESS : OK;
}

static int meet(Comm* c)
{
    Shared* s = c->shared;
    int phase = s->phase;
    if (atomic_fetch_add(&s->met, 1) == c->count - 1)
    {
        s->met = 0;
        s->phase++;
        return 1;
    }
    while (s->phase == phase)
    {
        if (c->aborted)
            return 0;
        usleep(20);
    }
    return 1;
}

enum { SUM, SCATTER, GATHER };

// A stretch of all ranks, in the slots of memory that they share. What a scatter leaves of the other ranks' parts is nobody's: NaN.
static int exchange(Comm* c, int kind, float* values, size_t at, size_t n, size_t part)
{
    while (c->error && !c->aborted)
        usleep(100);
    memcpy(c->shared->slots[c->rank], values + at + (kind == GATHER ? c->rank * part : 0), n * sizeof(float));
    if (!meet(c))
        return 0;
    for (int r = 0; kind == GATHER && r < c->count; r++)
        memcpy(values + r * part + at, c->shared->slots[r], n * sizeof(float));
    for (size_t i = 0; kind != GATHER && i < n; i++)
    {
        float sum = c->shared->slots[0][i];
        for (int r = 1; r < c->count; r++)
            sum += c->shared->slots[r][i];
        values[at + i] = kind == SUM || (at + i) / part == (size_t)c->rank ? sum : NAN;
    }
    return meet(c);
}

static void run_exchange(Op* op)
{
    Comm* c = op->from;
    int kind = (int)op->place;
    size_t all = kind == SCATTER ? op->count * c->count : op->count;
    for (size_t at = 0; at < all && !c->aborted; at += CHUNK)
        if (!exchange(c, kind, op->to, at, all - at < CHUNK ? all - at : CHUNK, op->count))
            break;
    c->inflight--;
}

int ncclGetVersion(int* version) { *version = 22105; return OK; }
const char* ncclGetErrorString(int result) { return result == REMOTE ? "remote process exited or there was a network error" : "an error of the stand-in"; }
const char* ncclGetLastError(Comm* c) { return ""; }

int ncclGetUniqueId(Id* id)
{
    static atomic_int made;
    memset(id, 0, sizeof *id);
    snprintf(id->bytes, sizeof id->bytes, "/dev/shm/mldist-nccl-%d-%d", getpid(), made++);
    int file = open(id->bytes, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, sizeof(Shared)) != 0)
        return 2;
    close(file);
    return OK;
}

int ncclCommInitRankConfig(Comm** made, int count, Id id, int rank, Config* config)
{
    if (config->size != 48 || config->magic != 0xcafebeef || config->blocking != 0 || config->cga != -2147483647 - 1 || config->net != NULL || count > MOST || id.bytes[127] != 0)
        return INVALID;
    int file = open(id.bytes, O_RDWR);
    if (file < 0)
        return INVALID;
    Comm* c = calloc(1, sizeof(Comm));
    c->magic = 0x600d; c->rank = rank; c->count = count;
    memcpy(c->path, id.bytes, sizeof c->path);
    c->shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (atomic_fetch_add(&c->shared->arrived, 1) == count - 1)
        unlink(c->path);
    alive++;
    *made = c;
    return PROGRESS;
}

int ncclCommGetAsyncError(Comm* c, int* error) { enter(c); *error = state(c); return leave(c, OK); }

static int begin(Comm* c, int kind, void* values, size_t count, Stream* s)
{
    pthread_mutex_lock(&lock);
    if (!s->ordered)
        die("an exchange that does not wait for what is computed");
    s->ordered = 0;
    if (c->rank == fail_rank && c->calls >= fail_after)
        c->error = REMOTE;
    if (c->calls++ == 0)
        c->shared->connected++;
    c->inflight++;
    exchanges[kind]++;
    enqueue(s, (Op){ .run = run_exchange, .to = values, .from = c, .count = count, .place = kind });
    pthread_mutex_unlock(&lock);
    return leave(c, c->calls == 1 ? PROGRESS : OK);
}

static Comm* ready(Comm* c)
{
    enter(c);
    if (state(c) == PROGRESS)
        die("a call before the one before it was done");
    return c;
}

int ncclAllReduce(void* from, void* to, size_t count, int type, int operation, Comm* c, Stream* s)
{
    ready(c);
    return from != to || type != 7 || operation != 0 ? leave(c, INVALID) : begin(c, SUM, to, count, s);
}

// In place: a rank's part is where the whole has it.
int ncclReduceScatter(void* from, void* to, size_t count, int type, int operation, Comm* c, Stream* s)
{
    ready(c);
    return (float*)to != (float*)from + c->rank * count || type != 7 || operation != 0 ? leave(c, INVALID) : begin(c, SCATTER, from, count, s);
}

int ncclAllGather(void* from, void* to, size_t count, int type, Comm* c, Stream* s)
{
    ready(c);
    return (float*)from != (float*)to + c->rank * count || type != 7 ? leave(c, INVALID) : begin(c, GATHER, to, count, s);
}

int ncclCommFinalize(Comm* c)
{
    enter(c);
    if (c->inflight)
        die("a communicator is left with work of its own");
    c->leaves = 1;
    c->shared->leaving++;
    return leave(c, PROGRESS);
}

static int destroy(Comm* c)
{
    while (c->inflight)
        usleep(50);
    unlink(c->path);
    munmap(c->shared, sizeof(Shared));
    c->magic = 0; // not freed, so that later calls are seen
    alive--;
    return leave(c, OK);
}

int ncclCommDestroy(Comm* c) { enter(c); return destroy(c); }
int ncclCommAbort(Comm* c) { enter(c); c->aborted = 1; return destroy(c); }
