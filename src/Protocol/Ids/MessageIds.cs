namespace MLDistributed.Protocol;

// What messages name, parsed: who makes a path, a key or a comparison of an id takes it from here. All throw a
// FormatException for a text that is none, which WireRules and JobSpecRules have refused before.

/// <summary>A file in the store.</summary>
public sealed partial class Artifact
{
    /// <summary><see cref="Id"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(Id);
}

/// <summary>What is to be sent.</summary>
public sealed partial class DownloadRequest
{
    /// <summary><see cref="Id"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(Id);
}

/// <summary>What is looked for.</summary>
public sealed partial class FindDatasetRequest
{
    /// <summary><see cref="DatasetId"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(DatasetId);
}

/// <summary>What is to be taken over.</summary>
public sealed partial class AdoptDatasetRequest
{
    /// <summary><see cref="DatasetId"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(DatasetId);
}

/// <summary>The model that a job starts from.</summary>
public sealed partial class StartingModel
{
    /// <summary><see cref="ModelId"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(ModelId);
}

/// <summary>The weights that a job starts from.</summary>
public sealed partial class PretrainedWeights
{
    /// <summary><see cref="FileId"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(FileId);
}

/// <summary>What stands around a job's network.</summary>
public sealed partial class ModelFrame
{
    /// <summary><see cref="FileId"/>, parsed.</summary>
    public ContentHash Hash => ContentHash.Parse(FileId);
}

/// <summary>A user's own module.</summary>
public sealed partial class TorchModuleSpec
{
    /// <summary><see cref="PackageId"/>, parsed.</summary>
    public ContentHash Package => ContentHash.Parse(PackageId);

    /// <summary>The numbers of a training row that go in as they are: ids, whose size means nothing, and labels.</summary>
    public IEnumerable<int> UnscaledSlots()
    {
        var labels = InputSize - Labels.Sum(l => l.Size);
        return ModuleInput.Places(Inputs.Concat(Labels)).Where(p => p.Input.KeyCount > 0 || p.Start >= labels).SelectMany(p => Enumerable.Range(p.Start, p.Input.Size));
    }
}

/// <summary>A named part of a row.</summary>
public sealed partial class ModuleInput
{
    /// <summary>Some parts, and where in a row each begins.</summary>
    public static IEnumerable<(ModuleInput Input, int Start)> Places(IEnumerable<ModuleInput> inputs)
    {
        var start = 0;
        foreach (var input in inputs)
        {
            yield return (input, start);
            start += input.Size;
        }
    }
}

/// <summary>What a job trains on.</summary>
public sealed partial class DataSpec
{
    /// <summary><see cref="DatasetId"/>, parsed.</summary>
    public ContentHash Dataset => ContentHash.Parse(DatasetId);

    /// <summary><see cref="ValidationDatasetId"/>, parsed; null: there is none.</summary>
    public ContentHash? ValidationDataset => ValidationDatasetId.Length == 0 ? null : ContentHash.Parse(ValidationDatasetId);
}
