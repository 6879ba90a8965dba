namespace MLDistributed.Engine.Bench;

/// <summary>
/// What ranks take of a host's memory for a module of 24 layers with AdamW: parameters once, gradients once a rank, two
/// moments divided by the ranks. Measured as the ranks' proportional set size, less that of the same ranks on a tiny module.
/// </summary>
internal static class MemoryBench
{
    private const double MiB = 1 << 20;

    public static int Run()
    {
        var deep = Model.Named("deep");
        using var data = new DataFile(deep);
        using var tinyData = new DataFile(Model.Named("tiny"));
        Console.WriteLine($"{deep.ParameterCount:N0} parameters, {deep.ParameterCount * sizeof(float) / MiB:N0} MiB.\n");
        Console.WriteLine("| ranks | measured, MiB | parameters + gradients + moments, MiB | measured / arithmetic | a rank, MiB |");
        Console.WriteLine("| --- | --- | --- | --- | --- |");
        foreach (var ranks in (int[])[1, 2, 4])
        {
            var measured = (Bytes(deep, data.Path, ranks) - Bytes(Model.Named("tiny"), tinyData.Path, ranks)) / MiB;
            var arithmetic = deep.ParameterCount * sizeof(float) * (1 + ranks + 2) / MiB;
            Console.WriteLine($"| {ranks} | {measured:N0} | {arithmetic:N0} | {measured / arithmetic:0.00} | {measured / ranks:N0} |");
        }

        return 0;
    }

    private static double Bytes(Model model, string data, int ranks) =>
        TrainBench.Start(model, data, ranks, RunMode.Connected, "memory").Sum(rank => rank[1]);
}
