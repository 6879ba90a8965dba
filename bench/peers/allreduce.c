/* All-reduce of two processes in plain C: microseconds, mean and median, and those of a memcpy.
 *     cc -O3 -march=native -o allreduce allreduce.c && ./allreduce BYTES SECONDS [copied|memcpy]
 * The values of both lie in memory that both map; each sums its half and writes it back to both. Spinning barrier.
 * Copied: the values lie elsewhere. In pieces that stay in the caches, each copies in the half that the other sums, sums
 * its own, and copies the rest out.
 * Every contender writes its values anew before each operation: as gradients, they are in the cache of whoever made them. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 2, BLOCK = 2048, PIECE = 1 << 18 };

struct barrier { _Alignas(128) atomic_int arrived; _Alignas(128) atomic_int phase; _Alignas(128) atomic_int stop; };

static void wait_all(struct barrier *b) {
    int phase = atomic_load(&b->phase);
    if (atomic_fetch_add(&b->arrived, 1) == RANKS - 1) {
        atomic_store(&b->arrived, 0);
        atomic_store(&b->phase, phase + 1);
    } else {
        while (atomic_load_explicit(&b->phase, memory_order_acquire) == phase) __builtin_ia32_pause();
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(double *times, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += times[i];
    qsort(times, count, sizeof *times, by_value);
    printf("%.3f %.3f\n", sum / count * 1e6, times[count / 2] * 1e6);
}

static void *shared(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) { perror("mmap"); exit(1); }
    memset(memory, 0, bytes);
    return memory;
}

static void sum_copied(float *restrict own, const float *restrict theirs, float *restrict result, size_t count) {
    for (size_t i = 0; i < count; i++) own[i] += theirs[i];
    memcpy(result, own, count * sizeof(float));
}

int main(int argc, char **argv) {
    if (argc < 3) { fprintf(stderr, "allreduce BYTES SECONDS [copied|memcpy]\n"); return 2; }
    size_t count = strtoull(argv[1], NULL, 10) / sizeof(float);
    double seconds = atof(argv[2]);
    enum { MOST = 1000000 };
    double *times = malloc(MOST * sizeof *times);
    float *values[RANKS];
    for (int r = 0; r < RANKS; r++) values[r] = shared(count * sizeof(float));
    int n = 0;
    int copied = argc > 3 && strcmp(argv[3], "copied") == 0;
    if (argc > 3 && !copied) {
        double end = now() + seconds;
        for (double t = now(); t < end && n < MOST; n++) {
            memcpy(values[0], values[1], count * sizeof(float));
            double u = now();
            times[n] = u - t;
            t = u;
        }
        print(times, n);
        return 0;
    }
    struct barrier *barrier = shared(sizeof *barrier);
    pid_t child = fork();
    int rank = child == 0;
    size_t length = copied && count > PIECE ? PIECE : count;
    float *own = copied ? malloc(count * sizeof(float)) : values[rank];
    if (!own) { perror("malloc"); exit(1); }
    double end = now() + seconds;
    while (1) {
        if (rank == 0 && (now() > end || n == MOST)) atomic_store(&barrier->stop, 1);
        wait_all(barrier);
        if (atomic_load(&barrier->stop)) break;
        memset(own, 0, count * sizeof(float)); /* freshly written by their rank, as gradients are */
        wait_all(barrier);
        double t = now();
        for (size_t first = 0; first < count; first += length) {
            size_t here = first + length < count ? length : count - first, half = here / RANKS;
            size_t from = rank ? half : 0, to = rank ? here : half, other = rank ? 0 : half, others = (rank ? half : here - half) * sizeof(float);
            if (copied) memcpy(values[rank] + other, own + first + other, others);
            wait_all(barrier);
            for (size_t start = from; start < to; start += BLOCK) {
                size_t stop = start + BLOCK < to ? start + BLOCK : to;
                if (copied)
                    sum_copied(own + first + start, values[!rank] + start, values[rank] + start, stop - start);
                else
                    for (size_t i = start; i < stop; i++) values[0][i] = values[1][i] = values[0][i] + values[1][i];
            }
            wait_all(barrier);
            if (copied) memcpy(own + first + other, values[!rank] + other, others);
        }
        times[n++] = now() - t;
    }
    if (rank) _exit(0);
    waitpid(child, NULL, 0);
    print(times, n);
    return 0;
}
