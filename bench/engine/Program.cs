using System.Globalization;
using MLDistributed.Engine.Bench;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
try
{
    return Run(args);
}
catch (Exception e)
{
    // Caught, so that what was started is ended on the way here.
    Console.Error.WriteLine($"{string.Join(' ', args)}: {e}");
    return 1;
}

static int Run(string[] args) => args switch
{
    ["train", .. var rest] => TrainBench.Run(rest),
    ["allreduce", .. var rest] => AllReduceBench.Run(rest),
    ["oversubscribed", .. var rest] => OversubscribedBench.Run(rest),
    ["hosts", .. var rest] => HostsBench.Run(rest),
    ["hosts-rank", .. var rest] => HostsBench.RunRank(rest),
    ["data", .. var rest] => DataBench.Run(rest),
    ["data-host", .. var rest] => DataHosts.RunHost(rest),
    ["memory", ..] => MemoryBench.Run(),
    ["gpu", .. var rest] => GpuCheck.Run(rest),
    ["gpu-rank", .. var rest] => GpuRank.Run(rest),
    ["train-rank", .. var rest] => TrainRank.Run(rest),
    ["allreduce-rank", .. var rest] => AllReduceRank.Run(rest),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("""
        MLDistributed.Engine.Bench COMMAND        (bench/run.sh runs it all, with the peers)
          train [ROUNDS] [MODEL..]       samples/s of one rank, two ranks, two that do not talk, and where a step's time goes; PyTorch DDP beside them
          allreduce [ROUNDS]             microseconds of an all-reduce of two ranks; plain C, MPICH and Gloo beside it
          hosts [ROUNDS]                 microseconds of an all-reduce of two hosts (network namespaces), bare and at 4 and 1 Gbit/s; Gloo beside it
          data [ROUNDS] [MB..]           seconds until a dataset is on four hosts, from a coordinator with a shaped link alone and from one another too
          oversubscribed [ROUNDS]        samples/s of 2, 4, 8 and 16 ranks on this machine's cores, and of 8 at random addresses
          gpu DEVICE SECONDS PYTHON [MODEL..]    one GPU beside PyTorch and the CPU; eng/gpu-check.sh runs it
          memory                         what ranks take of the host's memory, beside the arithmetic
        """);
    return 2;
}
