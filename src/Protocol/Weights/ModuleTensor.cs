namespace MLDistributed.Protocol.Weights;

/// <summary>A parameter, or running statistic, of a kind of module that can start from weights of others.</summary>
/// <param name="Name">Its name, by which a file of weights has it.</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="MayBeMissing">Whether a file may be without it: then its first values are the seed's, as a new head's.</param>
/// <param name="MayDiffer">The same where the file has one of another shape, as a head of other classes.</param>
public sealed record ModuleTensor(string Name, long[] Shape, bool MayBeMissing = false, bool MayDiffer = false)
{
    /// <summary>Its numbers.</summary>
    public long Length { get; } = Shape.Aggregate(1L, (a, b) => checked(a * b));
}

/// <summary>A kind of module that can start from weights of others: its tensors have names and shapes that are known without it.</summary>
public interface IPretrainedKind : IModuleKind
{
    /// <summary>All that a file of weights may have.</summary>
    IReadOnlyList<ModuleTensor> Tensors { get; }
}

/// <summary>Whether weights fit a module.</summary>
public static class PretrainedFit
{
    /// <summary>How many are named before the others are counted.</summary>
    public const int MostNamed = 100;

    /// <summary>All that does not fit, each a sentence with the name and both shapes; what the module has no place for is no misfit.</summary>
    /// <param name="module">What the module has.</param>
    /// <param name="shapeOf">The shape that the weights have of a name; null: none.</param>
    public static IReadOnlyList<string> Misfits(IEnumerable<ModuleTensor> module, Func<string, IReadOnlyList<long>?> shapeOf)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(shapeOf);
        var misfits = new List<string>();
        foreach (var tensor in module)
        {
            var shape = shapeOf(tensor.Name);
            if (shape is null ? !tensor.MayBeMissing && !tensor.MayDiffer : !shape.SequenceEqual(tensor.Shape) && !tensor.MayDiffer)
                misfits.Add($"Weights \"{tensor.Name}\" {(shape is null ? "are missing" : $"are [{string.Join(", ", shape)}]")}, expected [{string.Join(", ", tensor.Shape)}].");
        }

        return misfits.Count <= MostNamed ? misfits : [.. misfits.Take(MostNamed), $"{misfits.Count - MostNamed:N0} other weights do not fit either."];
    }
}
