/* MPI_Allreduce in place, float32: microseconds, mean and median.
 *     mpicc -O3 -o allreduce_mpi allreduce_mpi.c && mpiexec -n 2 ./allreduce_mpi BYTES SECONDS */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (argc < 3) return 2;
    int rank, n = 0, stop = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    size_t count = strtoull(argv[1], NULL, 10) / sizeof(float);
    double seconds = atof(argv[2]);
    enum { MOST = 1000000 };
    double *times = malloc(MOST * sizeof *times);
    float *values = malloc(count * sizeof(float));
    memset(values, 0, count * sizeof(float));
    double end = MPI_Wtime() + seconds;
    while (1) {
        if (rank == 0) stop = MPI_Wtime() > end || n == MOST;
        MPI_Bcast(&stop, 1, MPI_INT, 0, MPI_COMM_WORLD);
        if (stop) break;
        memset(values, 0, count * sizeof(float));
        MPI_Barrier(MPI_COMM_WORLD);
        double t = MPI_Wtime();
        MPI_Allreduce(MPI_IN_PLACE, values, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        times[n++] = MPI_Wtime() - t;
    }
    if (rank == 0) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += times[i];
        qsort(times, n, sizeof *times, by_value);
        printf("%.3f %.3f\n", sum / n * 1e6, times[n / 2] * 1e6);
    }
    MPI_Finalize();
    return 0;
}
