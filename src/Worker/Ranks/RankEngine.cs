using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Training;

namespace MLDistributed.Worker.Ranks;

/// <summary>What a rank process runs: the training, or a test's own.</summary>
/// <param name="Preload">Makes ready for the first attempt; says whether CUDA can be used.</param>
/// <param name="Run"><see cref="RankTraining.Run"/>.</param>
internal sealed record RankEngine(Func<bool> Preload, Func<RankStart, IRankReporter, IRendezvous, CancellationToken, RankResult> Run)
{
    public static RankEngine Torch { get; } = new(PreloadTorch, RankTraining.Run);

    private static bool PreloadTorch()
    {
        RankTraining.Preload();
        return TorchSharp.torch.cuda.is_available();
    }
}
