namespace MLDistributed.Engine.Bench;

/// <summary>A model of the comparison; bench/peers/ddp.py has the same.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="Sizes">Inputs, hidden layers, classes.</param>
/// <param name="BatchSize">Rows a step and rank.</param>
internal sealed record Model(string Name, int[] Sizes, int BatchSize)
{
    public static readonly Model[] All = [new("mlp", [784, 1024, 1024, 10], 128), new("tiny", [64, 128, 10], 32)];
}
