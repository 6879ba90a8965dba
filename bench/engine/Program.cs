using System.Globalization;
using MLDistributed.Engine.Bench;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
return args switch
{
    ["train", .. var rest] => TrainBench.Run(rest),
    ["allreduce", .. var rest] => AllReduceBench.Run(rest),
    ["train-rank", .. var rest] => TrainRank.Run(rest),
    ["allreduce-rank", .. var rest] => AllReduceRank.Run(rest),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("""
        MLDistributed.Engine.Bench COMMAND        (bench/run.sh runs it all, with the peers)
          train [ROUNDS] [MODEL..]       samples/s of one rank, two ranks, two that do not talk; PyTorch DDP beside them
          allreduce [ROUNDS]             microseconds of an all-reduce of two ranks; plain C, MPICH and Gloo beside it
        """);
    return 2;
}
