using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Protocol;

/// <summary>A TorchSharp module of the user's own. What is in it shows when a rank has made it.</summary>
public sealed class TorchKind : IModuleKind
{
    /// <summary>The most numbers of such a module: a gibibyte of them, which is what a client fetches without knowing the layers.</summary>
    public const long MaxParameters = 1L << 28;

    /// <summary>The most keys that a column of ids can have: whole numbers up to it are exact in a row's numbers.</summary>
    public const int MaxKeyCount = 1 << 24;

    /// <summary>The most named inputs.</summary>
    public const int MaxInputs = 1000;

    private const int MaxNameLength = 1000;
    private const int MaxInputNameLength = 200;
    private static readonly string[] s_outputs = [OnnxMlpWriter.Score, OnnxMlpWriter.Probability];
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
        foreach (var error in InputErrors())
            yield return error;
    }

    private IEnumerable<string> InputErrors()
    {
        if (_torch.Inputs.Count > MaxInputs)
            yield return $"The module has {_torch.Inputs.Count:N0} inputs, expected at most {MaxInputs:N0}.";
        foreach (var input in _torch.Inputs.Take(MaxInputs))
        {
            if (input.Name.Length is 0 or > MaxInputNameLength || !input.Name.All(c => char.IsLetterOrDigit(c) || c == '_') || s_outputs.Contains(input.Name))
                yield return $"Input \"{VisibleText.Shortened(input.Name)}\" of the module has a name that its model cannot have, expected 1 to {MaxInputNameLength} letters, digits and underscores, and none of {string.Join(", ", s_outputs)}.";
            if (input.Size < 1)
                yield return $"Input \"{VisibleText.Shortened(input.Name)}\" of the module has {input.Size} numbers a row, expected at least 1.";
            if (input.KeyCount is < 0 or > MaxKeyCount)
                yield return $"Input \"{VisibleText.Shortened(input.Name)}\" of the module has {input.KeyCount:N0} keys, expected at most {MaxKeyCount:N0}, up to which a row's numbers are exact.";
        }

        if (_torch.Inputs.DistinctBy(i => i.Name).Count() != _torch.Inputs.Count)
            yield return "Two inputs of the module have the same name, expected a name for each.";
        if (_torch.Inputs.Count > 0 && _torch.Inputs.Sum(i => (long)i.Size) is var sum && sum != _torch.InputSize)
            yield return $"The module's inputs have {sum:N0} numbers a row, expected {_torch.InputSize:N0}, its input size.";
    }

    /// <inheritdoc/>
    public (long Least, long Most) ModelBytes(JobSpec spec) => (1, (MaxParameters * sizeof(float)) + OnnxGraphReader.MaxBytesBesides);

    /// <inheritdoc/>
    public void CheckModel(byte[] onnx, JobSpec spec) => OnnxProgram.Read(onnx, spec);
}
