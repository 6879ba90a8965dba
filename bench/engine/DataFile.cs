namespace MLDistributed.Engine.Bench;

/// <summary>Random rows for a model, in a file that goes with this.</summary>
internal sealed class DataFile : IDisposable
{
    public DataFile(Model model) => TrainRank.WriteData(model, Path);

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"mldist-bench-{Guid.NewGuid():N}.arrow");

    public void Dispose() => File.Delete(Path);
}
