using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Protocol;

/// <summary>A TorchSharp module of the user's own. What is in it shows when a rank has made it.</summary>
public sealed class TorchKind : IModuleKind
{
    /// <summary>The most numbers of such a module: a gibibyte of them, which is what a client fetches without knowing the layers.</summary>
    public const long MaxParameters = 1L << 28;

    private const int MaxNameLength = 1000;
    private readonly TorchModuleSpec _torch;

    internal TorchKind(TorchModuleSpec torch) => _torch = torch;

    /// <inheritdoc/>
    public int InputSize => _torch.InputSize;

    /// <inheritdoc/>
    public int OutputSize => _torch.OutputSize;

    /// <inheritdoc/>
    /// <remarks>Its rank looks.</remarks>
    public bool JoinsRows => false;

    /// <inheritdoc/>
    public Int128 ActivationsOfRow => _torch.OutputSize;

    /// <inheritdoc/>
    public IEnumerable<string> Errors(MlTask task)
    {
        if (task is MlTask.Binary or MlTask.Regression && _torch.OutputSize != 1)
            yield return $"Output size is {_torch.OutputSize}, expected 1 in {task.ToString().ToLowerInvariant()} training.";
        if (!ContentHash.TryParse(_torch.PackageId, out _))
            yield return $"Code package is \"{VisibleText.Shortened(_torch.PackageId)}\", expected {ContentHash.Expectation}.";
        foreach (var (what, name, isNeeded) in new[] { ("Module's assembly", _torch.Assembly, true), ("Module's type", _torch.Type, true), ("Type of the module's options", _torch.OptionsType, false) })
            if (name.Length > MaxNameLength || (isNeeded && name.Length == 0) || name.Any(char.IsControl))
                yield return $"{what} is \"{VisibleText.Shortened(name)}\", expected a name of {(isNeeded ? 1 : 0)} to {MaxNameLength:N0} characters.";
        if (_torch.Options.Length > ModuleOptions.MaxLength)
            yield return $"The module's options are {_torch.Options.Length:N0} characters of JSON, expected at most {ModuleOptions.MaxLength:N0}. Have the module read what is large from the data.";
    }

    /// <inheritdoc/>
    public (long Least, long Most) ModelBytes(JobSpec spec) => (1, (MaxParameters * sizeof(float)) + OnnxGraphReader.MaxBytesBesides);

    /// <inheritdoc/>
    public void CheckModel(byte[] onnx, JobSpec spec) => OnnxProgram.Read(onnx, spec);
}
