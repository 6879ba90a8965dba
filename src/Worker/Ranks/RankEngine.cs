using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Training;

namespace MLDistributed.Worker.Ranks;

/// <summary>What a rank process runs: the training, or a test's own.</summary>
/// <param name="Preload">Makes ready for the first attempt; says what this process can use.</param>
/// <param name="Run"><see cref="RankTraining.Run"/>.</param>
internal sealed record RankEngine(Func<RankMeans> Preload, Func<RankStart, IRankReporter, IRendezvous, CancellationToken, RankResult> Run)
{
    public static RankEngine Torch { get; } = new(PreloadTorch, RankTraining.Run);

    private static RankMeans PreloadTorch()
    {
        RankTraining.Preload();
        if (!TorchSharp.torch.cuda.is_available())
            return new RankMeans(HasCuda: false);
        var version = RankTraining.NcclVersion(out var fault);
        return new RankMeans(HasCuda: true, version ?? "", fault);
    }
}

/// <summary>What a rank process can use.</summary>
/// <param name="HasCuda">Whether CUDA devices.</param>
/// <param name="Nccl">Then, which version of NCCL; empty: none.</param>
/// <param name="NcclFault">Why none.</param>
internal sealed record RankMeans(bool HasCuda, string Nccl = "", string NcclFault = "");
